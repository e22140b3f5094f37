"""One file with a pruner of one's own: what is wrong with it is told with its line."""

from pathlib import Path

import pytest
import torch

from sds_core.errors import SDSError
from sds_core.pruning.layer_problem import LayerProblem
from sds_core.pruning.pattern import NM, Unstructured
from sds_core.runs.plugin_file import TEMPLATE, accept, outcomes, read

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


def written(folder: Path, source: str, name: str = "mine.py") -> Path:
    path = folder / name
    path.write_text(source, encoding="utf-8")
    return path


def accepted(folder: Path, source: str = SOUND):
    return accept(folder / "mine.py", source.encode())


def test_a_sound_file_is_read_and_conforms(tmp_path):
    own = read(written(tmp_path, SOUND))
    assert (own.cls.__name__, own.line, own.cls().power) == ("Mine", 5, 1.0)
    assert not [outcome for outcome in outcomes(own) if outcome.actual]
    mask = accepted(tmp_path).cls().solve(LayerProblem.from_gram(torch.eye(4), torch.eye(4)), NM(1, 2)).mask
    assert mask.sum() == 8


def test_the_template_conforms_and_is_the_papers_formula():
    own = read(ROOT / TEMPLATE)
    assert not [outcome for outcome in outcomes(own) if outcome.actual]
    weight, norms = torch.tensor([[3.0, -1.0], [1.0, 0.0]]), torch.tensor([4.0, 9.0])
    told = own.cls().scores(LayerProblem.from_gram(weight, norms.square().diag()))
    expected = [[(3 / 4 + 3 / 4) * 2, (1 / 4 + 1) * 3], [(1 + 1 / 4) * 2, 0]]
    torch.testing.assert_close(told, torch.tensor(expected))


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        (SOUND.replace("mask)\n", "mask\n"), "mine.py, line 10: '(' was never closed"),
        ("import nothing_like_this\n", "mine.py, line 1: ModuleNotFoundError: No module named 'nothing_like_this'"),
        ("\nraise SystemExit(3)\n", "mine.py, line 2: SystemExit: 3"),
        ("x = 1\n", "mine.py, line 1: there is no class with solve(problem, pattern)"),
        (SOUND + SOUND.replace("Mine", "Other"), "mine.py, line 15: Mine and Other are pruners"),
        (SOUND.replace(FROZEN, ""), "mine.py, line 5: Mine has to be a dataclass"),
        (SOUND.replace("frozen=True, ", ""), "mine.py, line 5: Mine has to be a dataclass: @dataclass(frozen=True"),
        (SOUND.replace(", kw_only=True", ""), "mine.py, line 5: the options of Mine have to be keywords"),
        (SOUND.replace(" = 1.0", ""), "mine.py, line 5: the option power of Mine has no default"),
    ],
)
def test_what_is_no_pruner_is_a_sentence_with_its_line(tmp_path, source, sentence):
    with pytest.raises(SDSError) as caught:
        read(written(tmp_path, source))
    assert str(caught.value).startswith(sentence) and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["Mine.py", "1.py", "wanda.py", "a b.py", "mine.txt", "x" * 41 + ".py", "__init__.py"])
def test_a_name_that_cannot_be_or_is_taken_is_refused_before_anything_runs(tmp_path, name):
    with pytest.raises(SDSError, match=r"cannot be called this|would hide the pruner wanda"):
        read(written(tmp_path, "raise SystemExit", name))


def test_a_file_that_cannot_be_read_is_a_sentence(tmp_path):
    with pytest.raises(SDSError, match=r"mine\.py cannot be read: No such file"):
        read(tmp_path / "mine.py")
    (tmp_path / "mine.py").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SDSError, match=r"mine\.py, line 1: "):
        read(tmp_path / "mine.py")


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("return 1 / 0", "mine.py, line 5: Mine fails the check “structure”: expected a Pruned"),
        ("return 1 / 0", "got mine.py, line 10: ZeroDivisionError: division by zero. See all checks: python -m"),
        (
            "return Pruned(problem.weight, mask)",
            "mine.py, line 5: Mine fails the check “zeros”: expected zero weights wherever",
        ),
        ("return Pruned(0.5 * problem.weight * mask, mask)", "fails the check “ratio 0”"),
        ("problem.weight.mul_(mask); " + RETURN, "fails the check “no side effects”"),
    ],
)
def test_what_does_not_conform_is_not_accepted(tmp_path, body, sentence):
    with pytest.raises(SDSError) as caught:
        accepted(tmp_path, SOUND.replace(RETURN, body))
    assert sentence in str(caught.value)


def test_what_only_a_large_layer_shows_stops_the_run_there(tmp_path):
    late = "if problem.weight.shape[1] > 500: mask[0, 0] = ~mask[0, 0]"
    pruner = accepted(tmp_path, SOUND.replace(RETURN, f"{late}\n        {RETURN}")).cls()
    wide = LayerProblem.from_gram(torch.ones(2, 512), torch.eye(512))
    with pytest.raises(SDSError, match=r"Mine violates “sparsity”: expected the exact sparsity .*; got 51[13] of 1024"):
        pruner.solve(wide, Unstructured("0.5"))
    raising = SOUND.replace(RETURN, f"if problem.weight.shape[1] > 500: [][1]\n        {RETURN}")
    with pytest.raises(SDSError, match="line 10: IndexError: list index out of range"):
        accepted(tmp_path, raising).cls().solve(wide, NM(2, 4))


def test_memory_that_runs_out_is_said_elsewhere(tmp_path):
    raising = SOUND.replace(RETURN, f"if problem.weight.shape[1] > 500: raise MemoryError\n        {RETURN}")
    with pytest.raises(MemoryError):
        accepted(tmp_path, raising).cls().solve(LayerProblem.from_gram(torch.ones(2, 512), torch.eye(512)), NM(2, 4))
