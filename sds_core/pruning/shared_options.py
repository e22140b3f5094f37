"""Options that several methods share, each declared once; where defaults differ, a method sets its own."""

from sds_core.options import option


def alpha() -> float:
    return option(0.2, "Shrinkage of the Gram matrix towards its diagonal.", low=0, high=1)


def beta(default: float = 0.0) -> float:
    doc = """Share of the teacher in the target: 0 aims at the dense layer on the sparse model's inputs (the paper's
    SD), 1 at the dense layer on the dense model's inputs (KD). Above 0, a second, dense stream runs through the
    model."""
    return option(default, doc, low=0, high=1)


def sequential(default: bool = False) -> bool:
    doc = """Whether each layer sees the outputs of the pruned layers before it in its block; where memory is short,
    this costs up to two more forward passes."""
    return option(default, doc)


def adjust_iterations(default: int) -> int:
    return option(default, "Straight-through steps of weight adjustment.", low=0, high=10_000)


def learning_rate() -> float:
    return option(1.0, "Step length, in units of 1/λ_max.", low=1e-6, high=1)
