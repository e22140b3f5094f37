"""The eight questions of the Walk, with what a teacher should know about each."""

from collections.abc import Callable
from dataclasses import dataclass

from sds_core.lesson import findings
from sds_core.lesson.findings import Evidence, Finding


@dataclass(frozen=True)
class Notes:
    """For the teacher."""

    minutes: int
    """Of a lesson of ninety, beside those for Micro, the Layer lab, arriving and leaving: `docs/workshop.md`."""
    ask: str
    """What to ask before the reveal."""
    mistaken: str
    """What people commonly get wrong, and what to say to it."""


@dataclass(frozen=True)
class Step:
    """One question; its answer comes from the examples."""

    title: str
    before: str
    """What one needs to know first, in words that need no other page."""
    question: str
    options: tuple[str, ...]
    """What the reader can predict; which is right, `find` says."""
    runs: tuple[str, ...]
    """The examples that `find` needs."""
    find: Callable[[Evidence], Finding]
    why: str
    """One sentence."""
    terms: tuple[str, ...]
    """Words of the glossary."""
    notes: Notes


STEPS = (
    Step(
        "Why prune?",
        "A language model is made of layers. A layer is a table of numbers, its weights: it multiplies what comes in "
        "by them, and adds up. Pruning sets some weights to zero, best those that hardly matter.",
        "How many weights are tiny, less than a tenth of the usual size?",
        ("Fewer than 2 of 100", "2 to 20 of 100", "More than 20 of 100"),
        ("base-wanda",),
        findings.near_zero,
        "Weights gather around zero, and a weight near zero adds little to what a layer puts out: so one hopes that "
        "many can be set to zero, and need not be stored or multiplied any more.",
        ("weight", "layer", "pruning", "dense"),
        Notes(
            7,
            "If you had to throw away half of all words in a book, which would you throw away? Could one still read "
            "it?",
            "“Half the weights, half the time.” Not by itself: zeros save time and memory only where hardware and file "
            "format skip them. Here it is about what a model can spare.",
        ),
    ),
    Step(
        "Which weights go?",
        "A pruner is a rule that says which weights go. The pruner Wanda gives each weight a score: its size times the "
        "strength of the input that it multiplies. Of every four weights side by side, the two with the highest scores "
        "stay (the pattern 2:4); the others, half of all, become zero.",
        "Is that simply the smaller half of the weights?",
        (
            "Yes: fewer than 1 of 100 are from the larger half",
            "Nearly: 1 to 10 of 100 are from the larger half",
            "No: more than 10 of 100 are from the larger half",
        ),
        ("base-wanda",),
        findings.which_go,
        "Two of every four must go even where all four are large, and a small weight on a strong input can matter more "
        "than a large one on a weak input.",
        ("2:4", "pattern", "pruner", "Wanda", "input norm"),
        Notes(
            7,
            "Four weights 5, 4, 3, 3 beside four weights 1, 1, 1, 1: which go? And if the inputs are ten times as "
            "strong on the right?",
            "“The important weights are the large ones.” A weight is multiplied by its input, so its size is half of "
            "the story. The page Micro lets everyone do it by hand.",
        ),
    ),
    Step(
        "What does it cost?",
        "Half of the weights are zero now, and nothing else was changed. A language model guesses every next word of a "
        "text. Its perplexity says how unsure it is: 1 is sure of every word, 50 is as unsure as among 50 words. Lower "
        "is better.",
        "On a text that the model has not seen: how much higher is the perplexity now?",
        ("Less than 2 times the old one", "2 to 5 times the old one", "More than 5 times the old one"),
        ("base-wanda",),
        findings.cost,
        "Each layer is only a little off, but every layer works on what the one before puts out, so the errors add up "
        "through the whole model.",
        ("perplexity", "output error", "held-out text", "standard error"),
        Notes(
            7,
            "Each layer is off by a few per cent. What do you expect after all of them, one behind the other?",
            "“Perplexity is a percentage of mistakes.” It is a number of choices: 20 means as unsure as among 20 "
            "equally likely words. Small models suffer much more than large ones.",
        ),
    ),
    Step(
        "Can the others help?",
        "Wanda leaves the kept weights as they are. The pruner SparseGPT sets as many weights to zero, but changes the "
        "kept ones a little, so that they stand in for the lost ones.",
        "What is its perplexity, beside Wanda’s?",
        (
            "Higher: the kept weights are no longer what training made them",
            "The same, as far as one can tell",
            "Lower: the kept weights can make up for some of the loss",
        ),
        ("base-wanda", "base-sparsegpt"),
        findings.repair,
        "Inputs of a layer go up and down together, so what one weight did can partly be done by the weights of inputs "
        "like its own.",
        ("SparseGPT", "correlation", "calibration", "perplexity"),
        Notes(
            7,
            "A choir loses half of its singers. Should those who stay sing exactly as before?",
            "“It is trained again.” No: there is one pass over a little calibration text and no training; the repair "
            "is computed layer by layer. Micro shows it column by column.",
        ),
    ),
    Step(
        "Why not fill in again?",
        "The idea of Sparse-Dense-Sparse (SDS): after the first prune every weight may move again, the zeros too, "
        "until the layer does what it did before any pruning. Then prune once more. The places that a prune keeps are "
        "its mask.",
        "Fill in once, prune again: how much of the mask is new?",
        ("Less than 2 of 100 places", "2 to 10 of 100 places", "More than 10 of 100 places"),
        ("sds-wanda", "sds-admm-wanda"),
        findings.fill_in,
        "A pruned weight comes back at most as large as it was, and at that size it had lost already; so the next "
        "prune picks nearly the same mask, and undoes what filling in has done.",
        ("SDS", "re-dense", "mask", "mask changed"),
        Notes(
            8,
            "You pack a suitcase, take everything out and pack again by the same rule. What is different?",
            "“Then the paper’s SDS cannot work.” It gains in other ways: the kept weights are adjusted to each other, "
            "and its last phase lets single weights return. What plain filling in cannot do is to choose anew.",
        ),
    ),
    Step(
        "What does a memory change?",
        "Now repeat it round by round: fill in, prune, fill in, prune. But keep a memory: what each prune throws away "
        "is added up, and added to the weights before the next prune chooses.",
        "How much of the mask is new in the end?",
        ("Less than 2 of 100 places", "2 to 5 of 100 places", "More than 5 of 100 places"),
        ("sds-admm-wanda",),
        findings.memory,
        "A weight that the others cannot replace is missed again in every round, so it grows in the memory until it "
        "wins its place back.",
        ("memory", "round", "mask", "mask changed"),
        Notes(
            8,
            "You travel every week with the same suitcase and note each time what you missed. What happens to the next "
            "packing?",
            "“Any round is better than none.” A mask that is chosen after the first few can be worse than the one "
            "before. The Layer lab shows it round by round.",
        ),
    ),
    Step(
        "When is it ready to be pruned?",
        "When a layer is filled in, nothing is forbidden: any weight may take any value, also those that the next "
        "prune will set to zero. Near zero is, as in question 1, less than a tenth of the usual size.",
        "Filled in for the last time, not yet pruned: what do the weights look like?",
        (
            "A bell as before: fewer than 20 of 100 near zero",
            "In between: 20 to 40 of 100 near zero",
            "Two groups: more than 40 of 100 near zero",
        ),
        ("sds-admm-wanda",),
        findings.rounds,
        "Round by round the weights are pulled harder towards what the prune would keep, so in the end those that must "
        "go are nearly zero already, and pruning them costs nearly nothing.",
        ("re-dense", "round", "near zero", "prune energy"),
        Notes(
            6,
            "Would you rather cut a branch that carries fruit, or one that the tree has already given up?",
            "“The gap in the picture is the pruning.” The blue curve is before the prune: the weights went there by "
            "themselves.",
        ),
    ),
    Step(
        "Is it really better?",
        "Four pruned models, all with exactly as many zeros: Wanda alone, SparseGPT alone, SDS, and SDS with the "
        "memory of question 6.",
        "Which predicts a text best that none of them has looked at?",
        (*findings.CALLED.values(), "The best two are too close to tell"),
        findings.RUNS,
        findings.better,
        "All were measured on the same pieces of text and compared piece by piece, so an easy or hard text does not "
        "count; yet it is one text, one seed and one small model, and another may decide otherwise.",
        ("perplexity", "held-out text", "standard error", "overfitting"),
        Notes(
            10,
            "What would you want to know before you believe it: which text, how much of it, what else was changed?",
            "“All of the gain is the new mask.” A part comes from solving for the kept weights, which the first mask "
            "could have too: the Layer lab shows that as “weights solved”, Compare as the control.",
        ),
    ),
)
