"""Shared parts of Micro's steps: the example, its matrices, the source code, and the button to the next step."""

from __future__ import annotations

import inspect
import textwrap
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator
from torch import Tensor

from pages.ui import layout
from pages.ui.pictures.micro import Matrix, Micro, mount
from sds_core.figures.style import per_cent
from sds_core.lesson import micro
from sds_core.pruning.layer_problem import LayerProblem, Pruned
from sds_core.pruning.methods import SDSAdmm
from sds_core.pruning.registry import Pruner, PrunerRegistry

Computed = tuple[Any, ...]
"""The functions and classes that a step has run, for `source`."""


@dataclass(frozen=True)
class Example:
    """One example and the results of the chosen pruner."""

    name: str
    """The pruner's."""
    pruners: PrunerRegistry
    seed: int

    @cached_property
    def problem(self) -> LayerProblem:
        return micro.example(self.seed)

    @cached_property
    def pruner(self) -> Pruner:
        return self.pruners.make(self.name)

    @cached_property
    def first(self) -> Pruned:
        """The result of the first prune."""
        return self.pruner.solve(self.problem, micro.PATTERN)

    @cached_property
    def row(self) -> int:
        """The row to predict, from 0."""
        return micro.telling_row(self.problem)

    def error(self, weight: Tensor) -> str:
        """Return the output error of a weight, in per cent."""
        return per_cent(float(self.problem.output_error(weight)))

    @cached_property
    def rounds(self) -> list[micro.ADMMRound]:
        """The dense phase."""
        return list(micro.rounds(self.problem, self.first, SDSAdmm()))


def matrix(
    values: Tensor,
    title: str,
    key: str,
    alt: str,
    *,
    faded: Tensor | None = None,
    lost: Tensor | None = None,
    returned: Tensor | None = None,
    **options: Any,
) -> Matrix:
    """Describe a matrix of the example.

    Args:
        values: (R, C).
        title, key, alt, options: as `Matrix` has them.
        faded, lost, returned: bool (R, C), the cells that are drawn so.
    """
    rows = tuple(map(tuple, values.tolist()))
    return Matrix(key, title, alt, rows, _cells(faded), _cells(lost), _cells(returned), **options)


def _cells(mask: Tensor | None) -> tuple[int, ...]:
    return () if mask is None else tuple(mask.flatten().nonzero().flatten().tolist())


def show(grids: DeltaGenerator, *matrices: Matrix, note: str | None = None, low: bool = False) -> None:
    """Draw the matrices of a step, and a sentence after them."""
    with grids:
        mount(Micro(matrices, note, low, layout.presenting()), key="micro")


def source(*functions: Any) -> None:
    """Show the source code that this step has run."""
    names = " and ".join(f"`{function.__qualname__}`" for function in functions)
    with st.popover("Source"):
        st.markdown(f"The source that computed this: {names}")
        text = "\n\n".join(textwrap.dedent(inspect.getsource(function)) for function in functions)
        st.code(text, height=420 if text.count("\n") > 22 else "content", width=760)


def next_step(label: str, step: str) -> None:
    """Show the button that leads to another step."""
    to = {"step": step}
    st.button(label, key="micro-next", type="primary", on_click=st.query_params.update, args=(to,), width="stretch")
