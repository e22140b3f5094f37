"""The README's example runs, its commands exist, and the map of the package is complete."""

import re
import shlex
from pathlib import Path

import pytest
import torch

from sds_core.commands.parser import build_parser

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
MAP = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def test_the_library_example_runs():
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names = {"W": torch.randn(8, 16), "X": torch.randn(16, 40)}
    exec(code, names)
    assert int(names["pruned"].mask.sum()) == 8 * 16 // 2
    assert names["pruned"].weight.shape == (8, 16)


def commands() -> list[list[str]]:
    """The arguments of every command line the README shows."""
    lines = re.findall(r"python -m sds_core (.*)", README)
    return [shlex.split(line, comments=True) for line in lines]


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_line_is_understood(words):
    assert build_parser().parse_args(words).do


@pytest.mark.parametrize("name", ["README.md", "benchmarks/README.md"])
def test_no_figure_is_left_to_be_filled_in(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    assert not re.search(r"\b(TODO|MEASURED|TABLES|COST|FIFTY|MEMORYSPARSEGPT)\b", text)


def mapped() -> list[str]:
    """Paths of the modules in the map of the package, in order."""
    folder, found = "", []
    for indent, name in re.findall(r"^(  |    )([\w]+(?:/|\.py)) ", MAP, re.MULTILINE):
        if name.endswith("/"):
            folder = name
        else:
            found.append(f"sds_core/{folder if len(indent) > 2 else ''}{name}")
    return found


def test_the_map_names_every_module_once():
    modules = [path.relative_to(ROOT).as_posix() for path in (ROOT / "sds_core").rglob("*.py")]
    assert sorted(mapped()) == sorted(path for path in modules if not path.endswith("__init__.py"))
