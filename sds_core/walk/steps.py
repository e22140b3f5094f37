"""The eight questions of the Walk, with what a teacher should know about each."""

from collections.abc import Callable
from dataclasses import dataclass

from sds_core.walk import findings
from sds_core.walk.findings import Evidence, Finding


@dataclass(frozen=True)
class Notes:
    """For the teacher."""

    minutes: int
    ask: str
    """What to ask before the reveal."""
    mistaken: str
    """What people commonly get wrong, and what to say to it."""


@dataclass(frozen=True)
class Step:
    """One question; its answer comes from the examples."""

    title: str
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
        "A language model is made of layers, and a layer is a table of numbers: its weights. How many of them are so "
        "small, within a tenth of their usual size (one standard deviation), that they can hardly matter?",
        ("Fewer than 2 of 100", "2 to 20 of 100", "More than 20 of 100"),
        ("base-wanda",),
        findings.near_zero,
        "Weights gather around zero, and a weight near zero adds little to what a layer puts out: so one hopes that "
        "many can be set to zero, and need not be stored or multiplied any more.",
        ("weight", "layer", "pruning", "dense"),
        Notes(
            8,
            "If you had to throw away half of all words in a book, which would you throw away? Could one still read "
            "it?",
            "“Half the weights, half the time.” Not by itself: zeros save time and memory only where hardware and file "
            "format skip them. Here it is about what a model can spare.",
        ),
    ),
    Step(
        "Which weights go?",
        "Wanda keeps, of every four neighbours, the two with the largest size × strength of their input (the pattern "
        "2:4). So half of the weights go. Are these simply the smaller half?",
        ("Yes, to 1 of 100", "Nearly: 1 to 10 of 100 were from the larger half", "No: more than 10 of 100"),
        ("base-wanda",),
        findings.which_go,
        "Two of every four must go even where all four are large, and a small weight on a strong input can matter more "
        "than a large one on a weak input.",
        ("2:4", "pattern", "Wanda", "input norm", "mask"),
        Notes(
            10,
            "Four weights 5, 4, 3, 3 beside four weights 1, 1, 1, 1: which go? And if the inputs are ten times as "
            "strong on the right?",
            "“The important weights are the large ones.” A weight is multiplied by its input, so its size is half of "
            "the story. The page Micro lets everyone do it by hand.",
        ),
    ),
    Step(
        "What does it cost?",
        "Half of the weights are zero now, and nothing else was changed. How surprised is the model by a text that it "
        "has not seen, that is, what became of its perplexity?",
        ("Less than twice the dense model’s", "2 to 5 times", "More than 5 times"),
        ("base-wanda",),
        findings.cost,
        "Each layer is only a little off, but every layer works on what the one before puts out, so the errors add up "
        "through the whole model.",
        ("perplexity", "output error", "held-out text"),
        Notes(
            8,
            "Each layer is off by a few per cent. What do you expect after all of them, one behind the other?",
            "“Perplexity is a percentage of mistakes.” It is a number of choices: 20 means as unsure as among 20 "
            "equally likely words. Small models suffer much more than large ones.",
        ),
    ),
    Step(
        "Can the others help?",
        "Wanda leaves the kept weights as they are. SparseGPT sets as many to zero, but lets the kept ones change, so "
        "that they stand in for the lost ones. What does that do to the perplexity?",
        ("It rises: the kept weights are no longer what training made them", "Nothing to speak of", "It falls"),
        ("base-wanda", "base-sparsegpt"),
        findings.repair,
        "Inputs of a layer go up and down together, so what one weight did can partly be done by the weights of inputs "
        "like its own.",
        ("SparseGPT", "correlation", "calibration"),
        Notes(
            10,
            "A choir loses half of its singers. Should those who stay sing exactly as before?",
            "“It is trained again.” No: there is one pass over a little calibration text and no training; the repair "
            "is computed layer by layer.",
        ),
    ),
    Step(
        "Why not fill in again?",
        "The idea of Sparse-Dense-Sparse: after the first prune every weight may move again, the pruned ones too, "
        "until the layer does what the dense one did. Then prune again. How much of the mask is new?",
        ("Less than 2 of 100 places", "2 to 10 of 100", "More than 10 of 100"),
        ("sds-wanda", "sds-memory-wanda"),
        findings.fill_in,
        "A pruned weight comes back at most as large as it was, and there it had lost already; so the next prune picks "
        "nearly the same mask, and the dense step alone is undone by it.",
        ("SDS", "re-dense", "mask changed"),
        Notes(
            12,
            "You pack a suitcase, take everything out and pack again by the same rule. What is different?",
            "“Then the paper’s SDS cannot work.” It gains in other ways: the kept weights are adjusted to each other, "
            "and its last phase lets single weights return. What a plain dense step cannot do is to choose anew.",
        ),
    ),
    Step(
        "What does a memory change?",
        "Now repeat: dense step, prune, dense step, prune. But what each prune throws away is written down and added "
        "before the next choice: a memory. How much of the mask is new in the end?",
        ("Less than 2 of 100 places", "2 to 5 of 100", "More than 5 of 100"),
        ("sds-memory-wanda",),
        findings.memory,
        "A weight that the others cannot replace is missed again in every round, so it grows in the memory until it "
        "wins its place back.",
        ("memory", "round", "mask changed"),
        Notes(
            12,
            "You travel every week with the same suitcase and note each time what you missed. What happens to the next "
            "packing?",
            "“Any round is better than none.” A mask that is chosen after the first few can be worse than the one "
            "before. The Layer lab shows it round by round.",
        ),
    ),
    Step(
        "When is it ready to be pruned?",
        "In the dense step nothing is forbidden, all weights may be what they like. What do they look like after the "
        "last round, before they are pruned for good?",
        (
            "A bell as before: fewer than 20 of 100 near zero",
            "In between: 20 to 40 of 100 near zero",
            "Two groups: more than 40 of 100 near zero",
        ),
        ("sds-memory-wanda",),
        findings.rounds,
        "Round by round the dense step is pulled harder towards what the prune would keep, so in the end the weights "
        "that must go are nearly zero already, and pruning them costs nearly nothing.",
        ("re-dense", "near zero", "prune energy"),
        Notes(
            10,
            "Would you rather cut a branch that carries fruit, or one that the tree has already given up?",
            "“The gap in the picture is the pruning.” The blue curve is before the prune: the weights went there by "
            "themselves.",
        ),
    ),
    Step(
        "Is it really better?",
        "All four have exactly as many zeros. On a text that none of them has looked at: which predicts it best?",
        (
            "Wanda alone",
            "SparseGPT alone",
            "SDS, starting from Wanda",
            "SDS with memory, starting from Wanda",
            "The best two are too close to tell",
        ),
        findings.RUNS,
        findings.better,
        "All were measured on the same windows of text and compared window by window, so an easy or hard text does not "
        "count; yet it is one text, one seed and one small model, and another may decide otherwise.",
        ("perplexity", "held-out text", "overfitting"),
        Notes(
            15,
            "What would you want to know before you believe it: which text, how many windows, what else was changed?",
            "“All of the gain is the new mask.” A part comes from solving for the kept weights, which the first mask "
            "could have too: the Layer lab shows that as “weights solved”, Compare as the control.",
        ),
    ),
)
