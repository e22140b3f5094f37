"""Find the folder that holds a model's files, given a hub id, a folder, a GGUF file or `demo`."""

import re
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import snapshot_download, try_to_load_from_cache
from huggingface_hub.constants import HF_HUB_CACHE
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, HTTPError, LocalEntryNotFoundError

from sds_core.errors import SDSError, first_line
from sds_core.files import DENIED, FULL, disk_error, total_size
from sds_core.models.companion_files import LICENCES, has_tokenizer
from sds_core.models.gguf_files import DEMO, demo_file
from sds_core.models.hub_reach import hub_reachable
from sds_core.models.model_files import ADAPTER, DESCRIPTION, refuse_unreadable
from sds_core.models.weight_files import CONFIG, INDEX, SINGLE, has_weights, shard_names
from sds_core.options import is_unicode

BESIDE = [*DESCRIPTION, *LICENCES]
"""Files to download beside the weights."""
ABSENT = (401, 403, 404)
"""Answers of the hub to who asks for what there is not, or not for them."""
_HUB_ADDRESS = re.compile(r"(?:https?|hf)://(?:huggingface\.co/|hf\.co/)?([\w.-]+(?:/(?!tree|blob|resolve)[\w.-]+)?)")
"""The address of a model's page on the hub, and the id in it."""


def find_model(name: str) -> Path:
    """Return the folder that holds a model's files, downloaded or converted first if need be.

    Raises:
        SDSError: there is no such model, or the hub cannot be reached.
    """
    if path := gguf_file(name):
        from sds_core.models.gguf_import import convert_gguf  # imports transformers, which only a conversion needs

        folder = convert_gguf(path)
    else:
        folder = model_folder(name) or _download_model(name)
    if not is_unicode(str(folder)):
        raise SDSError(f"the path of the model's folder, {folder}, is not UTF-8", cure="give it another name")
    return folder


def gguf_file(name: str) -> Path | None:
    """Return the GGUF file that a name refers to; None for another kind of model.

    Raises:
        SDSError: it is the demo and its wheel is not installed, or it cannot be a name.
    """
    return demo_file() if name == DEMO else path if (path := _path(name)).suffix == ".gguf" else None


def model_folder(name: str) -> Path | None:
    """Return the folder that a name refers to; None for a hub id.

    Raises:
        SDSError: there is no such folder, no model in it, only pointers to its files, or one that cannot be read.
    """
    path = _path(name)
    if not path.is_dir():
        if _is_hub_id(name):
            return None
        address = _HUB_ADDRESS.match(name)
        cure = f"name the model by its id: {address[1]}" if address else None
        allowed = "a hub id such as owner/name, a folder, a .gguf file or demo"
        raise SDSError("there is no such model folder or file", got=name, allowed=allowed, cure=cure)
    refuse_unreadable(path)
    refuse_adapter(path, name)
    if not (path / CONFIG).is_file():
        raise SDSError("this folder holds no model", got=name, allowed="config.json and *.safetensors in it")
    return path.resolve()


def _path(name: str) -> Path:
    try:
        path = Path(name).expanduser()
        path.is_dir()
    except (OSError, RuntimeError) as error:
        raise SDSError(f"not a model name: {first_line(error)}", got=name) from error
    return path


def cached_folder(name: str) -> Path | None:
    """Return the folder of a hub model in the local hub cache, complete or not; None if nothing is cached.

    Raises:
        SDSError: this cannot be a hub id.
    """
    try:
        found = try_to_load_from_cache(name, CONFIG)
    except HFValidationError:
        raise _not_a_name(name) from None
    return Path(found).parent if isinstance(found, str) else None


def cached_models() -> dict[str, int]:
    """Return the models in the local hub cache by id, with the bytes that they take."""
    found = {}
    for folder in sorted(Path(HF_HUB_CACHE).glob("models--*")):
        name = folder.name.removeprefix("models--").replace("--", "/")
        if any(map(_is_whole, folder.glob("snapshots/*"))):
            found[name] = total_size(folder.glob("blobs/*"))
    return found


def _is_whole(snapshot: Path) -> bool:
    """Whether a cached version has its configuration and weights; where the index of these is broken, it has none."""
    try:
        return (snapshot / CONFIG).is_file() and has_weights(snapshot)
    except SDSError:
        return False


def _is_hub_id(name: str) -> bool:
    return not (Path(name).is_absolute() or name.startswith((".", "~")) or name.count("/") > 1)


def download(name: str, files: Sequence[str], revision: str | None = None) -> Path:
    """Download files of a hub model into the local hub cache, unless they are there; return its folder there.

    Args:
        name: hub id.
        files: names or patterns of files at the top of the repository.
        revision: commit; None for the newest.

    Raises:
        SDSError: there is no such model, the hub cannot be reached, or the download breaks off.
    """
    try:
        where = snapshot_download(
            name,
            revision=revision,
            allow_patterns=list(files),
            ignore_patterns=["*/*"],
            etag_timeout=5,
            local_files_only=not hub_reachable(),
        )
        return Path(where)
    except HFValidationError:
        raise _not_a_name(name) from None
    except (HTTPError, OSError, RuntimeError) as error:  # of the client, of files, and of its part written in Rust
        if isinstance(error, OSError) and error.errno in (*FULL, *DENIED):
            raise disk_error(Path(HF_HUB_CACHE), error) from error
        cure = "check the name and the network (for a gated model set HF_TOKEN), or use demo or a local folder"
        if isinstance(error, LocalEntryNotFoundError):
            part = "completely " if cached_folder(name) else ""
            reason = f"it is not {part}on this machine and the hub is out of reach"
        elif isinstance(error, HfHubHTTPError) and error.response is not None:
            status = error.response.status_code
            reason = "the hub does not offer it" if status in ABSENT else f"the hub answers with status {status}"
        else:
            reason = f"the download broke off ({first_line(error)})"
            cure = "start again; what was downloaded is kept"
        raise SDSError(f"model {name!r} cannot be loaded: {reason}", cure=cure) from error


def _not_a_name(name: str) -> SDSError:
    allowed = "demo, a folder, a .gguf file or a hub id such as EleutherAI/pythia-160m"
    return SDSError("not a model name", got=name, allowed=allowed)


def is_complete(folder: Path) -> bool:
    """Whether a version of a hub model in the local hub cache has all that is loaded.

    Raises:
        SDSError: the index of its weights is broken.
    """
    return (folder / CONFIG).is_file() and has_weights(folder) and has_tokenizer(folder)


def require_hub(name: str) -> None:
    """Refuse a hub model of which a part must be downloaded, and cannot be.

    Raises:
        SDSError: the hub is out of reach.
    """
    if not hub_reachable():
        raise SDSError(
            f"model {name!r} cannot be loaded: it is not completely on this machine and the hub is out of reach",
            cure="check the network, or use demo or a local folder",
        )


def _download_model(name: str) -> Path:
    """Download a hub model's description and the one set of weights that is loaded; repositories may hold several."""
    folder = download(name, BESIDE)
    refuse_adapter(folder, name)
    if not has_weights(folder):
        download(name, [SINGLE], folder.name)
    if not has_weights(folder) and (folder / INDEX).is_file():
        download(name, shard_names(folder / INDEX), folder.name)
    if not is_complete(folder):
        require_hub(name)
    if not has_weights(folder):
        raise SDSError(
            f"model {name!r} has no safetensors",
            cure=f"if it has *.bin files, convert them: python -m sds_core convert {name} FOLDER",
        )
    return folder


def refuse_adapter(folder: Path, name: str) -> None:
    """Refuse a folder with an adapter: beside a model it would change the model, alone it is none.

    Raises:
        SDSError: there is one.
    """
    if not (folder / ADAPTER).is_file():
        return
    if has_weights(folder):
        raise SDSError(
            "this model has an adapter beside it",
            got=name,
            cure=f"remove {ADAPTER} if it is merged already, or merge it (peft: merge_and_unload) and save that",
        )
    raise SDSError(
        "this is an adapter, not a whole model",
        got=name,
        cure="merge it into its base model (peft: merge_and_unload) and save that",
    )
