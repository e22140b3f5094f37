"""Importing a plugin file, and the checks on its results in a run."""

from pathlib import Path

import pytest
import torch

from sds_core.errors import SDSError
from sds_core.pruning.layer_problem import LayerProblem
from sds_core.pruning.pattern import NM, Unstructured
from sds_core.runs.plugin_file import TEMPLATE, content, load, outcomes

ROOT = Path(__file__).parents[2]
HEAD = """from dataclasses import dataclass
from sds_core.pruning.layer_problem import Pruned

@dataclass(frozen=True, kw_only=True)
class Mine:
"""
SOUND = (
    HEAD
    + """    power: float = 1.0

    def solve(self, problem, pattern):
        mask = pattern.mask(problem.weight.abs() ** self.power, "row")
        return Pruned(problem.weight * mask, mask)
"""
)
FROZEN = "@dataclass(frozen=True, kw_only=True)"
RETURN = "return Pruned(problem.weight * mask, mask)"
WIDE = LayerProblem.from_gram(torch.ones(2, 512), torch.eye(512))


def written(folder: Path, source: str, name: str = "mine.py") -> Path:
    path = folder / name
    path.write_text(source, encoding="utf-8")
    return path


def made(folder: Path, source: str = SOUND):
    return load(folder / "mine.py", source.encode()).make()


def on_wide_layers(statement: str) -> str:
    """A plugin that conforms on the suite's small layers and executes a statement on wider ones."""
    return SOUND.replace(RETURN, f"if problem.weight.shape[1] > 500: {statement}\n        {RETURN}")


def test_sound_plugin_loads_and_conforms(tmp_path):
    plugin = load(tmp_path / "mine.py", SOUND.encode())
    assert (plugin.cls.__name__, plugin.line) == ("Mine", 5)
    assert not [outcome for outcome in outcomes(plugin) if outcome.actual]
    pruner = plugin.make()
    assert pruner.plugin.power == 1.0 and pruner.scores(WIDE) is None
    assert pruner.solve(LayerProblem.from_gram(torch.eye(4), torch.eye(4)), NM(1, 2)).mask.sum() == 8


def test_template_conforms_and_follows_the_paper():
    path = ROOT / TEMPLATE
    plugin = load(path, content(path))
    assert not [outcome for outcome in outcomes(plugin) if outcome.actual]
    weight, norms = torch.tensor([[3.0, -1.0], [1.0, 0.0]]), torch.tensor([4.0, 9.0])
    scores = plugin.make().scores(LayerProblem.from_gram(weight, norms.square().diag()))
    expected = [[(3 / 4 + 3 / 4) * 2, (1 / 4 + 1) * 3], [(1 + 1 / 4) * 2, 0]]
    torch.testing.assert_close(scores, torch.tensor(expected))


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        (SOUND.replace("mask)\n", "mask\n"), "mine.py, line 10: '(' was never closed"),
        ("import nothing_like_this\n", "mine.py, line 1: ModuleNotFoundError: No module named 'nothing_like_this'"),
        ("\nraise SystemExit(3)\n", "mine.py, line 2: SystemExit: 3"),
        ("x = 1\n", "mine.py, line 1: there is no class with solve(problem, pattern)"),
        (SOUND + SOUND.replace("Mine", "Other"), "mine.py, line 15: Mine and Other are pruners"),
        (SOUND.replace(FROZEN, ""), "mine.py, line 5: Mine must be a dataclass"),
        (SOUND.replace("frozen=True, ", ""), "mine.py, line 5: Mine must be a dataclass: @dataclass(frozen=True"),
        (SOUND.replace(", kw_only=True", ""), "mine.py, line 5: the options of Mine must be keyword-only"),
        (SOUND.replace(" = 1.0", ""), "mine.py, line 5: the option power of Mine has no default"),
    ],
)
def test_invalid_plugin_is_refused_with_its_line(tmp_path, source, sentence):
    with pytest.raises(SDSError) as caught:
        load(tmp_path / "mine.py", source.encode())
    assert str(caught.value).startswith(sentence) and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["Mine.py", "1.py", "wanda.py", "a b.py", "mine.txt", "x" * 41 + ".py", "__init__.py"])
def test_bad_file_name_is_refused_before_import(tmp_path, name):
    with pytest.raises(SDSError, match=r"not a name for a plugin file|would hide the pruner wanda"):
        load(tmp_path / name, b"raise SystemExit")


def test_unreadable_file_is_refused(tmp_path):
    with pytest.raises(SDSError, match=r"mine\.py cannot be read: No such file"):
        content(tmp_path / "mine.py")
    with pytest.raises(SDSError, match=r"mine\.py, line 1: "):
        load(tmp_path / "mine.py", b"\xff\xfe\x00")


def test_invalid_result_on_a_real_layer_is_refused(tmp_path):
    pruner = made(tmp_path, on_wide_layers("mask[0, 0] = ~mask[0, 0]"))
    with pytest.raises(SDSError, match=r"Mine violates “sparsity”: expected the exact .*; got 51[13] of 1024"):
        pruner.solve(WIDE, Unstructured("0.5"))


@pytest.mark.parametrize(
    ("statement", "sentence"),
    [("[][1]", "IndexError: list index out of range"), ("raise SystemExit(3)", "SystemExit: 3")],
)
def test_exception_on_a_real_layer_names_its_line(tmp_path, statement, sentence):
    pruner = made(tmp_path, on_wide_layers(statement))
    with pytest.raises(SDSError, match=f"mine.py, line 10: {sentence}"):
        pruner.solve(WIDE, NM(2, 4))


def test_exception_in_scores_names_its_line(tmp_path):
    pruner = made(tmp_path, SOUND + "    def scores(self, problem):\n        return problem.missing\n")
    with pytest.raises(SDSError, match=r"line 12: AttributeError: .*'missing'"):
        pruner.scores(WIDE)


def test_memory_error_is_passed_on(tmp_path):
    with pytest.raises(MemoryError):
        made(tmp_path, on_wide_layers("raise MemoryError")).solve(WIDE, NM(2, 4))
