"""Find the folder that holds a model's files, given a hub id, a folder, a GGUF file or `demo`."""

from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from sds_core.errors import SDSError, first_line
from sds_core.models.gguf_import import DEMO, convert_gguf, demo_file

MODEL_FILES = ["*.safetensors", "*.json", "*.txt", "*.model", "*.jinja"]
"""Files that make up a model: they are downloaded, and their digests identify it."""


def find_model(name: str) -> Path:
    """Return the folder that holds a model's files, downloaded or converted first if need be.

    Raises:
        SDSError: there is no such model, or the hub cannot be reached.
    """
    if name == DEMO:
        return convert_gguf(demo_file())
    try:
        path = Path(name).expanduser()
        is_folder = path.is_dir()
    except (OSError, RuntimeError) as error:
        raise SDSError(f"not a model name: {first_line(error)}", got=name) from error
    if path.suffix == ".gguf":
        return convert_gguf(path)
    if is_folder:
        if not (path / "config.json").is_file():
            raise SDSError("this folder holds no model", got=name, allowed="config.json and *.safetensors in it")
        return path.resolve()
    if path.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
        raise SDSError("there is no such model folder or file", got=name)
    return _download(name)


def model_files(folder: Path) -> list[Path]:
    """The files that make up the model in a folder, by name."""
    return sorted(path for path in folder.iterdir() if path.is_file() and any(map(path.match, MODEL_FILES)))


def _download(name: str) -> Path:
    """Download a hub model into the local hub cache, unless it is there; return its folder."""
    try:
        return Path(snapshot_download(name, allow_patterns=MODEL_FILES, ignore_patterns=["*/*"], etag_timeout=5))
    except HFValidationError:
        raise SDSError(
            "not a model name", got=name, allowed="demo, a folder, a .gguf file or a hub id such as facebook/opt-125m"
        ) from None
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        refused = isinstance(error, HfHubHTTPError) and error.response is not None
        reason = "the hub does not offer it" if refused else "it is not on this machine and the hub is out of reach"
        raise SDSError(
            f"model {name!r} cannot be loaded: {reason}",
            cure="check the name and the network (for a gated model set HF_TOKEN), or use demo or a local folder",
        ) from error
