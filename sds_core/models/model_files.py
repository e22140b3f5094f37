"""The files in a folder that make up a model: which they are, whether they can be read, and which have changed."""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path, PurePath

from sds_core.errors import SDSError
from sds_core.files import refuse_pointer
from sds_core.models.companion_files import SETTINGS, TOKENIZERS
from sds_core.models.quantisation import SIDE_FILES
from sds_core.models.weight_files import CONFIG, weight_files
from sds_core.options import is_unicode

ADAPTER = "adapter_config.json"
DESCRIPTION = [CONFIG, ADAPTER, "*.index.json", *SIDE_FILES, *TOKENIZERS, *SETTINGS]
"""Files of configuration and tokenizer that libraries read; a note beside them is no part of the model."""


def model_files(folder: Path) -> list[Path]:
    """The files that make up the model in a folder, by name: description files, and the weights that are loaded."""
    return sorted([*description_files(folder), *weight_files(folder)])


def description_files(folder: Path) -> list[Path]:
    """A model's files of configuration and tokenizer; no library looks for one whose name is not UTF-8."""
    return [path for path in folder.iterdir() if path.is_file() and _describes(path.name) and is_unicode(path.name)]


def _describes(name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in DESCRIPTION)


def changed_files(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Return the names of a model's files whose digest is another than before, or that are gone.

    New files change nothing; nor does what older records count to a model, such as a note beside it.
    """
    names = [name for name, sha256 in before.items() if now.get(name) != sha256]
    return [name for name in names if name.endswith(".safetensors") or _describes(PurePath(name).name)]


def refuse_unreadable(folder: Path) -> None:
    """Refuse a folder in which a file of a model cannot be read, or is only a link or a pointer to what is not there.

    Raises:
        SDSError: there is such a file; it is named.
    """
    try:
        for file in sorted(folder.iterdir()):
            if not (_describes(file.name) or file.suffix == ".safetensors"):
                continue
            if file.is_file():
                refuse_pointer(file)
            elif file.is_symlink() and not file.exists():
                raise SDSError(
                    f"{file} is a link to a file that is not there",
                    cure="copy the folder with its links followed: cp -rL",
                )
    except OSError as error:
        raise SDSError(f"{error.filename} cannot be read: {error.strerror}") from error
