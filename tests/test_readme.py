"""Every page of text: their code runs, their commands parse, their links lead somewhere, the map is complete."""

import re
import shlex
from pathlib import Path

import pytest
import torch

from sds_core.commands.parser import build_parser
from sds_core.pruning.methods import METHODS, option_names
from tests import package_map

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), ROOT / "benchmarks" / "README.md", *(ROOT / "docs").glob("*.md")])
TEXTS = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in PAGES}
MAP = TEXTS["docs/architecture.md"]


def test_readme_stays_short():
    assert len(TEXTS["README.md"].split()) <= 700


def test_readme_gives_the_digits_of_the_results():
    rows = [
        line for line in TEXTS["README.md"].splitlines() if line.startswith(("| base pruner", "| `sds", "| control"))
    ]
    numbers = re.findall(r"\d+\.\d+", " ".join(rows))
    assert len(numbers) > 30 and set(numbers) <= set(re.findall(r"\d+\.\d+", TEXTS["docs/results.md"]))


def test_library_example_runs():
    (code,) = re.findall(r"```python\n(.*?)```", TEXTS["docs/plugins.md"], re.DOTALL)
    names = {"W": torch.randn(8, 16), "X": torch.randn(16, 40)}
    exec(code, names)
    assert int(names["pruned"].mask.sum()) == 8 * 16 // 2
    assert names["pruned"].weight.shape == (8, 16)


def commands() -> list[str]:
    """Arguments of every command line in a shell block, each once."""
    blocks = [block for text in TEXTS.values() for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL)]
    return sorted({line for block in blocks for line in re.findall(r"python -m sds_core (.*)", block)})


@pytest.mark.parametrize("line", commands())
def test_command_line_parses(line):
    assert build_parser().parse_args(shlex.split(line, comments=True)).do


def test_commands_for_other_models_name_a_text_that_is_there():
    parsed = [build_parser().parse_args(shlex.split(line, comments=True)) for line in commands()]
    runs = [one for one in parsed if one.do.__name__ in ("_run", "_inspect", "_compare", "_sweep")]
    others = [one for one in runs if getattr(one, "model", getattr(one, "dense", "demo")) != "demo"]
    assert len(others) > 1
    assert all(getattr(one, "preset", None) or getattr(one, "calibration", "self") != "self" for one in others)


def test_every_public_command_is_documented():
    shown = {line.split()[0] for line in commands()}
    hidden = {"work", "result", "examples"}
    (subparsers,) = [action.choices for action in build_parser()._actions if action.choices]
    assert set(subparsers) == shown | hidden


@pytest.mark.parametrize("page", TEXTS)
def test_links_lead_to_files(page):
    links = re.findall(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)", TEXTS[page])
    assert [link for link in links if not (ROOT / page).parent.joinpath(link).exists()] == []


@pytest.mark.parametrize("page", TEXTS)
def test_no_placeholder_is_left(page):
    assert not re.search(r"\b(TODO|FIXME|TBD|MEASURED)\b", TEXTS[page])


def test_methods_page_names_every_option():
    page = TEXTS["docs/methods.md"]
    options = {option.replace("_", "-") for method in METHODS for option in option_names(method)}
    assert [option for option in sorted(options) if f"`{option}`" not in page] == []
    assert [method for method in METHODS if f"`{method}`" not in page] == []


def test_way_of_one_weight_names_files_that_exist():
    paths = re.findall(r"`([\w/]+\.py)`", MAP)
    assert len(paths) > 15
    assert [path for path in paths if not any((base / path).exists() for base in (ROOT, ROOT / "sds_core"))] == []


def test_map_names_every_module_once():
    """`make map` writes it anew."""
    package = ROOT / "sds_core"
    modules = [path.relative_to(package).as_posix() for path in package.rglob("*.py") if path.name != "__init__.py"]
    assert sorted(package_map.names(MAP)) == sorted(modules)
