"""A model is checked before a run is made, without transformers; what would load is never refused."""

import json
import subprocess
import sys
from pathlib import Path

import huggingface_hub.constants
import pytest

from sds_core.errors import SDSError
from sds_core.models import companion_files
from sds_core.models.check_model import check_calibration, check_local, check_model
from sds_core.models.known_families import causal_families
from sds_core.models.load import load_model
from tests.models.families import FAMILIES
from tests.models.folders import change_config
from tests.models.gguf_files import write_gguf


def test_a_sound_folder_is_accepted_with_its_size(tiny_folder: Path) -> None:
    found = check_local(str(tiny_folder))
    assert found and found.folder == tiny_folder.resolve()
    assert found.weight_bytes == (tiny_folder / "model.safetensors").stat().st_size


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda f: (f / "config.json").write_text("{"), "bad configuration"),
        (lambda f: (f / "config.json").write_text("[]"), "not a table of settings"),
        (lambda f: (f / "config.json").unlink(), "this folder holds no model"),
        (lambda f: change_config(f, model_type="t5"), "bad configuration .*model_type: got 't5'"),
        (lambda f: change_config(f, model_type="of-its-own-code"), "bad configuration .*of-its-own-code"),
        (lambda f: change_config(f, quantization_config={"quant_method": "gptq"}), r"quantised \(gptq\)"),
        (lambda f: (f / "model.safetensors").unlink(), "neither model.safetensors nor"),
        (
            lambda f: (f / "model.safetensors").write_bytes((f / "model.safetensors").read_bytes()[:-9]),
            "cannot be read",
        ),
        (lambda f: (f / "tokenizer.json").write_text('{"model": 3}'), "the tokenizer in .* cannot be read"),
        (lambda f: [one.unlink() for one in f.glob("tokenizer*")], "has no tokenizer"),
        (lambda f: (f / "adapter_config.json").write_text("{}"), "an adapter beside it"),
    ],
)
def test_a_spoiled_folder_is_refused_by_name(folder: Path, spoil, said: str) -> None:
    spoil(folder)
    with pytest.raises(SDSError, match=said):
        check_local(str(folder))


def test_a_tokenizer_of_sentencepiece_names_the_package_that_it_needs(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "tokenizer.json").rename(folder / "tokenizer.model")  # as Llama 2's own files have it
    monkeypatch.setattr(companion_files, "find_spec", lambda _: None)
    for ask in (check_local, load_model):
        with pytest.raises(SDSError, match=r"needs the package sentencepiece\. .*: pip install sentencepiece"):
            ask(str(folder))
    monkeypatch.setattr(companion_files, "find_spec", lambda name: name == "sentencepiece")
    assert check_local(str(folder))


def test_an_index_must_name_files_that_are_there(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    files = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    index = {"metadata": {}, "weight_map": files}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(SDSError, match="00002-of-00002"):
        check_local(str(folder))


def test_families_that_the_product_replays_are_known() -> None:
    known = {family.model_type or name for name, family in FAMILIES.items()}
    assert known <= causal_families()


def test_a_gguf_file_is_known_by_its_first_bytes(tiny_folder: Path, tmp_path: Path) -> None:
    good, bad = write_gguf(tiny_folder, tmp_path / "good.gguf"), tmp_path / "bad.gguf"
    bad.write_bytes(b"PK\3\4 and more")
    assert check_local(str(good)).weight_bytes == good.stat().st_size
    with pytest.raises(SDSError, match="is not a GGUF file"):
        check_local(str(bad))
    with pytest.raises(SDSError, match="there is no such GGUF file"):
        check_local(str(tmp_path / "gone.gguf"))


def test_absent_hub_model_is_left_to_the_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    assert check_local("someone/model") is None
    with pytest.raises(SDSError, match="out of reach"):
        check_model("someone/model")
    with pytest.raises(SDSError, match="not a model name"):
        check_local("a b")


def test_checking_needs_no_transformers() -> None:
    code = "import sys; import sds_core.models.check_model; print('transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"


def test_own_text_is_missed_where_no_model_has_written_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDS_CACHE", str(tmp_path))
    for name, text in (("demo", "self"), ("org/model", "python-docs"), ("/folder", "words.txt")):
        check_calibration(name, text)
    for text in ("self", "self@0-50%", "python-docs*3+self"):
        with pytest.raises(SDSError, match="org/model has not written any calibration text"):
            check_calibration("org/model", text)
    (tmp_path / "self-text").mkdir()
    (tmp_path / "self-text" / "0123.safetensors").touch()
    check_calibration("org/model", "self")  # it may be its own: its files tell
