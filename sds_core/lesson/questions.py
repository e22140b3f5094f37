"""The eight questions of the Walk, with what a teacher should know about each."""

from collections.abc import Callable
from dataclasses import dataclass

from sds_core.lesson import findings
from sds_core.lesson.evidence import NAMES, RUNS, Evidence
from sds_core.lesson.findings import Finding


@dataclass(frozen=True)
class Notes:
    """For the teacher."""

    minutes: int
    """Of a lesson of ninety, which also has Micro, the Layer lab, arriving and leaving: `docs/workshop.md`."""
    ask: str
    """Questions to ask before the reveal."""
    mistaken: str
    """A common mistake, and what to say about it."""


@dataclass(frozen=True)
class Share:
    """A prediction in whole per cent."""

    presets: tuple[int, ...]
    top: int
    """End of the ruler, if the answer lies well before it."""
    of: str
    """The whole of which the share is taken, said beside the prediction."""
    picture: str
    """The caption: the layer drawn, and the step it went through."""
    near: bool = False
    """Whether weights near zero are counted, and marked in a distribution; else entries of a mask are."""


@dataclass(frozen=True)
class Multiple:
    """A prediction of a perplexity, with some multiples of the last known one to begin from."""

    presets: tuple[tuple[float, str], ...]


@dataclass(frozen=True)
class Choice:
    """A prediction out of a few options; the finding says which is right."""

    options: tuple[tuple[str, str], ...]
    """Name, and a note that may be empty."""


@dataclass(frozen=True)
class Step:
    """One question; its answer comes from the examples."""

    title: str
    before: str
    """The background, in words that need no other page."""
    question: str
    guess: Share | Multiple | Choice
    """How the answer is predicted."""
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
        "A language model is made of layers. A layer is a table of numbers, its weights: it multiplies its inputs by "
        "them and adds up the results. Pruning sets some weights to zero, preferably those that hardly matter.",
        "How many weights are tiny, less than a tenth of the usual size?",
        Share((2, 10, 30), 40, "of all weights", "as trained", near=True),
        ("base-wanda",),
        findings.near_zero,
        "Weights cluster around zero, and a weight near zero adds little to the output of its layer, so perhaps many "
        "can be set to zero and need not be stored or multiplied any more.",
        ("weight", "layer", "pruning", "dense"),
        Notes(
            7,
            "If you had to cross out half the words of a book, which would you choose? Could people still read it?",
            "“Half the weights, half the time.” Not by itself: zeros save time and memory only where hardware and file "
            "format skip them. The question here is what a model can spare.",
        ),
    ),
    Step(
        "Which weights go?",
        "Pattern 2:4: of every four neighbouring weights, two become zero. The pruner Wanda keeps the two with the "
        "highest score, their size times the strength of their input.",
        "What will the kept weights look like?",
        Choice(
            (
                ("A bell, half as high", "weights of every size go"),
                ("A bell with a straight gap", "exactly the smaller half goes"),
                ("Two humps with slanting sides", "mostly, not only, small ones go"),
            )
        ),
        ("base-wanda",),
        findings.removed,
        "Two of every four must go even where all four are large, and a small weight on a strong input can matter more "
        "than a large one on a weak input.",
        ("2:4", "pattern", "pruner", "Wanda", "input norm"),
        Notes(
            7,
            "Four weights 5, 4, 3, 3 next to four weights 1, 1, 1, 1: which go? And if the inputs on the right are ten "
            "times as strong?",
            "“The large weights are the important ones.” A weight is multiplied by its input, so its size is only half "
            "the story. On the page Micro, everyone can work it out by hand.",
        ),
    ),
    Step(
        "What does it cost?",
        "A language model predicts every next word of a text. Its perplexity says how unsure it is: 20 is as unsure as "
        "if it had to choose among 20 words. Lower is better.",
        "Half of each layer’s weights are zero now. How high is the perplexity?",
        Multiple(((2, "twice"), (4, "4 times"), (8, "8 times"))),
        ("base-wanda",),
        findings.cost,
        "No layer is wrecked, but each works on what the one before outputs, so the errors build up through the whole "
        "model.",
        ("perplexity", "output error", "held-out text", "standard error"),
        Notes(
            7,
            "Each layer’s output is noticeably off. What do you expect after all of them, one behind the other?",
            "“Perplexity is a percentage of mistakes.” It is a number of choices: 20 means as unsure as among 20 "
            "equally likely words. Small models suffer much more than large ones.",
        ),
    ),
    Step(
        "Can the others help?",
        "Wanda leaves the kept weights as they are. The pruner SparseGPT sets just as many weights to zero, but "
        "adjusts the kept ones a little, so that they make up for those that are gone.",
        "What is SparseGPT’s perplexity, beside Wanda’s?",
        Multiple(((1.2, "higher"), (1, "the same"), (0.7, "lower"))),
        ("base-wanda", "base-sparsegpt"),
        findings.repair,
        "The inputs of a layer rise and fall together, so weights on similar inputs can do part of what a removed "
        "weight did.",
        ("SparseGPT", "correlation", "calibration", "perplexity", "standard error"),
        Notes(
            7,
            "Half a choir is missing. Should the others sing exactly as before?",
            "“The model is trained again.” No: a little calibration text passes through the model once, and the repair "
            "is computed layer by layer. Micro shows it column by column.",
        ),
    ),
    Step(
        "Why not fill in the zeros?",
        "The idea of Sparse-Dense-Sparse (SDS): after the first prune, let every weight move again, the zeros too, "
        "until the layer does what it did before any pruning. Then prune once more. The places that a prune keeps are "
        "its mask.",
        "Fill in once, prune again (round 1 of SDS-ADMM): how much of the mask is new?",
        Share((1, 10, 30), 40, "of the mask", "each square a weight; a line every four"),
        ("sds-wanda", "sds-admm-wanda"),
        findings.filled_in,
        "A pruned weight comes back no larger than it was, and at that size it lost before, so the next prune picks "
        "nearly the same mask and undoes the filling in.",
        ("SDS", "re-dense", "mask", "mask changed"),
        Notes(
            8,
            "You pack a suitcase, take everything out, and pack again by the same rule. What is different?",
            "“Then the paper’s SDS cannot work.” It gains in other ways: the kept weights are adjusted to each other, "
            "and its last phase lets single weights return. What plain filling in cannot do is choose anew.",
        ),
    ),
    Step(
        "What does a memory change?",
        "Now repeat this in rounds: fill in, prune, fill in, prune. But keep a memory: add up what every prune "
        "removes, and add that to the weights before the next prune chooses. This is ADMM; its name for the memory is "
        "the dual variable.",
        "How much of the final mask is new?",
        Share((1, 10, 30), 40, "of the mask", "each square a weight; a line every four"),
        ("sds-admm-wanda",),
        findings.dual,
        "A weight that the others cannot replace is missed in every round, so it grows in the memory until it wins its "
        "place back.",
        ("memory", "round", "mask", "mask changed"),
        Notes(
            8,
            "You travel with the same suitcase every week and note each time what you missed. How will you pack next "
            "time?",
            "“Any round is better than none.” After the first few rounds the mask can be worse than before. The Layer "
            "lab shows it round by round.",
        ),
    ),
    Step(
        "When is a layer ready to be pruned?",
        "While a layer is filled in, any weight may take any value, even those that the next prune will set to zero. "
        "As in question 1, near zero means less than a tenth of the usual size.",
        "Filled in for the last time, not yet pruned: how many weights are near zero?",
        Share((8, 25, 50), 80, "of all weights", "filled in, before the last prune", near=True),
        ("sds-admm-wanda",),
        findings.last_round,
        "Round by round the weights are pulled harder towards what the prune would keep, so those that must go are "
        "nearly zero by then, and pruning them costs almost nothing.",
        ("re-dense", "round", "near zero", "prune energy"),
        Notes(
            6,
            "Would you rather cut a branch that bears fruit, or one that the tree has already given up?",
            "“The gap in the picture is the pruning.” The blue curve is from before the prune: the weights moved there "
            "by themselves.",
        ),
    ),
    Step(
        "Is it really better?",
        "Four pruned models with exactly as many zeros: Wanda alone, SparseGPT alone, SDS, and SDS with the memory of "
        "question 6.",
        "Which is best at predicting a text that none of them has seen?",
        Choice(tuple((name, "") for name in (*NAMES.values(), "The best two are too close to call"))),
        RUNS,
        findings.best,
        "All were compared piece by piece on the same text, so it does not matter whether it is easy or hard; still "
        "it is one text and one small model, and another may decide otherwise.",
        ("perplexity", "held-out text", "standard error", "overfitting"),
        Notes(
            10,
            "What would you want to know before you believe it: which text, how much of it, what else was changed?",
            "“All of the gain is the new mask.” Part of it comes from solving for the kept weights, which would help "
            "the first mask too: the Layer lab shows that as “weights solved”, Compare as the control.",
        ),
    ),
)
