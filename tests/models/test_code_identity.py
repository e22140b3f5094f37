"""What a cached result depends on: versions of libraries, and the sources that compute."""

import importlib.metadata
import shutil
from pathlib import Path

import pytest
import transformers

import sds_core
from sds_core.models import code_identity as module
from sds_core.models.code_identity import LIBRARIES, code_identity, families
from tests.models.families import build, build_any


@pytest.fixture
def copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Copies of the sources that count, which a test may change."""
    for package, folders in (
        (sds_core, ("models", "pruning", "runs")),
        (transformers, ("integrations", "models/llama")),
    ):
        source, target = Path(package.__file__).parent, tmp_path / package.__name__
        for folder in folders:
            shutil.copytree(source / folder, target / folder, ignore=shutil.ignore_patterns("__pycache__"))
        for path in source.glob("*.py"):
            shutil.copy(path, target)
    monkeypatch.setattr(sds_core, "__file__", str(tmp_path / "sds_core" / "__init__.py"))
    monkeypatch.setattr(module, "library_folder", lambda: tmp_path / "transformers")
    return tmp_path


@pytest.mark.parametrize(
    "changed",
    [
        "sds_core/models/evaluate.py",
        "sds_core/pruning/perplexity.py",
        "transformers/models/llama/modeling_llama.py",
        "transformers/masking_utils.py",
        "transformers/integrations/sdpa_attention.py",
    ],
)
def test_a_changed_module_that_computes_makes_another_identity(copies: Path, changed: str) -> None:
    before = code_identity(["llama"])
    assert code_identity(["llama"]) == before
    with open(copies / changed, "a", encoding="utf-8") as file:
        file.write("\n# changed\n")
    assert code_identity(["llama"]) != before


def test_modules_that_do_not_compute_change_nothing(copies: Path) -> None:
    before = code_identity()
    for path in ("sds_core/runs/names.py", "transformers/models/llama/modeling_llama.py"):
        (copies / path).write_text("")
    assert code_identity() == before


def test_a_family_is_no_path() -> None:
    assert code_identity(["../../..", "/etc", "**"]) == code_identity()


@pytest.mark.parametrize("library", LIBRARIES)
def test_every_library_that_computes_counts(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before, version = code_identity(), importlib.metadata.version
    monkeypatch.setattr(module.importlib.metadata, "version", lambda name: "0" if name == library else version(name))
    assert code_identity() != before


def test_families_of_a_model_are_those_of_its_modules() -> None:
    assert families(build("llama")) == ("llama",) and families(build_any("openai-gpt")) == ("openai",)
    for family in families(build("gemma3_text")):
        assert (Path(transformers.__file__).parent / "models" / family / f"modeling_{family}.py").exists()
