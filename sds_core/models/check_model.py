"""Check a model before a run is created: its configuration, the headers of its weight files, its tokenizer, its text.

Importing this stays cheap: transformers is not needed. Faults that only loading reveals are left to the run; nothing
that would load is refused.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from sds_core.errors import SDSError, first_line, is_fault_of_file
from sds_core.files import parse_json
from sds_core.models.cache import self_text_folder
from sds_core.models.companion_files import has_tokenizer, refuse_without_sentencepiece
from sds_core.models.find_model import (
    cached_folder,
    download,
    gguf_file,
    is_complete,
    model_folder,
    refuse_adapter,
    require_hub,
)
from sds_core.models.gguf_files import DEMO, check_gguf, converted_folder
from sds_core.models.known_families import causal_families, refuse_encoder_decoder
from sds_core.models.quantisation import method_in, refuse
from sds_core.models.text_spec import TextSpec, unwritten
from sds_core.models.token_count import TOKENIZER
from sds_core.models.weight_files import (
    CONFIG,
    NAMED_FILE,
    WeightFiles,
    refuse_other_weights,
    weight_files,
)


@dataclass(frozen=True)
class LocalModel:
    """A model whose files are on this machine."""

    folder: Path | None
    """Where they are; None for a GGUF file that is not converted yet."""
    weight_bytes: int
    """Size of its weights."""


def check_model(name: str) -> None:
    """Check a model; of a hub model that is not here, only the configuration is downloaded.

    Raises:
        SDSError: there is no such model, its files are not sound, or the hub cannot be reached.
    """
    if check_local(name) is None:
        folder = download(name, [CONFIG])
        require_hub(name)
        _check_config(folder)


def check_calibration(name: str, text: str) -> None:
    """Check that a model which shall be calibrated on its own text can have written one.

    Which of the written texts is this model's own is known only once its files have been read.

    Raises:
        SDSError: no model but the demo has a text of its own on this machine.
    """
    if TextSpec.parse(text).has_own and name != DEMO and not any(self_text_folder().glob("*")):
        raise unwritten(name)


def check_local(name: str) -> LocalModel | None:
    """Check a model's files on this machine; None where it must be downloaded first.

    Raises:
        SDSError: there is no such model, or its files are not sound.
    """
    if path := gguf_file(name):
        check_gguf(path)
        folder = converted_folder(path)
        return LocalModel(folder, weight_bytes(folder)) if folder.is_dir() else LocalModel(None, path.stat().st_size)
    named = model_folder(name)
    found = named or cached_folder(name)
    if found is None or (named is None and not is_complete(found)):
        return None
    refuse_adapter(found, name)
    _check_config(found)
    size = weight_bytes(found)
    _check_tokenizer(found)
    return LocalModel(found, size)


def weight_bytes(folder: Path) -> int:
    """Return the size of a model's weights, of which only names and shapes are read.

    Raises:
        SDSError: a file is missing or cut off.
    """
    WeightFiles(folder)
    return sum(path.stat().st_size for path in weight_files(folder))


def _check_config(folder: Path) -> None:
    allowed = "the configuration of a causal language model of transformers, without code of its own"
    try:
        fields = parse_json((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SDSError(f"bad configuration in {folder}: {first_line(error)}", allowed=allowed) from error
    if not isinstance(fields, dict):
        raise SDSError(f"bad configuration in {folder}: it is not a table of settings", allowed=allowed)
    refuse_encoder_decoder(fields.get("is_encoder_decoder"), folder)
    refuse_other_weights(fields.get(NAMED_FILE), folder)
    parts = _parts(fields)
    family = fields.get("model_type")
    known = causal_families()
    if family is None or (known and not any(part.get("model_type") in known for part in parts)):
        raise SDSError(f"bad configuration in {folder}: model_type", got=family or "none", allowed=allowed)
    refuse(method_in(parts, folder), folder)


def _parts(fields: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a configuration's settings: those of the whole, and those of its text model, if it has one."""
    text = fields.get("text_config")
    return [fields, text] if isinstance(text, dict) else [fields]


def _check_tokenizer(folder: Path) -> None:
    if _has_json(folder):
        _read_tokenizer(folder)
    elif not has_tokenizer(folder):
        raise SDSError(
            f"the model in {folder} has no tokenizer",
            cure=f"it needs {TOKENIZER}, or the tokenizer files of its family",
        )
    refuse_without_sentencepiece(folder)


def _has_json(folder: Path) -> bool:
    return (folder / TOKENIZER).is_file()


def _read_tokenizer(folder: Path) -> Tokenizer:
    try:
        return Tokenizer.from_file(str(folder / TOKENIZER))
    except BaseException as error:  # a panic in the library is not an Exception
        if not is_fault_of_file(error):
            raise
        raise SDSError(
            f"the tokenizer in {folder} cannot be read: {first_line(error)}", cure="download or save the model again"
        ) from error
