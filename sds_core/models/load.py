"""Load and check a causal language model with its tokenizer. No code of the model's repository is executed."""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import GENERATION_CONFIG_NAME

from sds_core.errors import SDSError, first_line, is_fault_of_file
from sds_core.files import cache_folder
from sds_core.models.cache import file_sha256
from sds_core.models.companion_files import refuse_without_sentencepiece
from sds_core.models.converted_weights import ConvertedWeights
from sds_core.models.find_model import find_model
from sds_core.models.free_memory import out_of_memory
from sds_core.models.loading_report import (
    PLAIN_DTYPES,
    is_leftover,
    refuse_differences,
    refuse_not_finite_weights,
    refuse_other_shapes,
    refuse_quantised,
)
from sds_core.models.memory import rest_on_disk
from sds_core.models.model_config import build_skeleton, read_config
from sds_core.models.model_files import model_files
from sds_core.models.quantisation import restore_or_refuse
from sds_core.models.weight_files import WeightFiles
from sds_core.models.weight_store import DiskWeightStore, WeightStore, placeholder, stored_blocks


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A model on the CPU in its own precision, with its tokenizer and the identity of its files."""

    name: str
    """As the user wrote it."""
    folder: Path
    """Where its files are."""
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    sha256: dict[str, str]
    """Digest of every weight, configuration and tokenizer file, by file name."""
    store: WeightStore
    """Where the weights of its blocks rest between uses."""

    @property
    def fingerprint(self) -> str:
        """One digest for all files together."""
        return hashlib.sha256(repr(sorted(self.sha256.items())).encode()).hexdigest()


def load_model(name: str, dtype: str = "auto", weights: str = "memory", copies: int = 1) -> LoadedModel:
    """Load a causal language model onto the CPU.

    Args:
        name: a hub id, a folder, a GGUF file or `demo`.
        dtype: `auto` for the model's own precision, or another such as `float32`.
        weights: where the weights of its blocks rest: `memory`; `disk`, to be read when they are used; or `auto`,
            memory if it has room for the weights and for work.
        copies: how many copies of the weights there will be in memory.

    Raises:
        SDSError: there is no such model, it cannot be reached, its files are not sound, or memory is too small.
    """
    folder = find_model(name)
    config = read_config(folder)
    restored = restore_or_refuse(config, folder)
    files = WeightFiles(folder)
    if dtype == "auto" and config.dtype is None:
        dtype = _stored_dtype(files)
    skeleton = build_skeleton(folder, config, dtype)
    on_disk = rest_on_disk(weights, folder, skeleton, copies)
    try:
        if on_disk:
            stored = ConvertedWeights(files, skeleton)
            model, report = _load_non_block_weights(skeleton, config, stored, dtype)
        else:
            model, report = _load_whole(folder, config, dtype)
    except SDSError:
        raise
    except Exception as error:  # a corrupt file makes the libraries raise errors of any type
        raise out_of_memory(error) or _not_loadable(folder, error) from error
    refuse_differences(report, model, files, restored)
    _record_untied(model)
    if on_disk:
        store: WeightStore = DiskWeightStore(model, stored, cache_folder())
    else:
        refuse_not_finite_weights(model, folder)
        store = WeightStore()
    tokenizer = _load_tokenizer(folder)
    sha256 = {path.name: file_sha256(path) for path in model_files(folder)}
    return LoadedModel(name, folder, model.eval(), tokenizer, sha256, store)


def _stored_dtype(files: WeightFiles) -> str:
    """Return the precision of the first weight, as transformers takes it where the configuration names none.

    Raises:
        SDSError: all weights are quantised.
    """
    plain = [name for name, stored in files.dtypes.items() if stored in PLAIN_DTYPES]
    if not plain:
        refuse_quantised(files.shapes, files.folder)
        return "auto"  # there are no weights, which is refused with their names
    return str(files.get(plain[0]).dtype).removeprefix("torch.")


def _load_whole(folder: Path, config: PreTrainedConfig, dtype: str) -> tuple[PreTrainedModel, dict[str, Any]]:
    loading: Any = AutoModelForCausalLM.from_pretrained(
        folder,
        config=config,
        dtype=dtype,
        trust_remote_code=False,
        use_safetensors=True,
        local_files_only=True,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # they are refused by name
    )
    return loading


def _load_non_block_weights(
    skeleton: PreTrainedModel, config: PreTrainedConfig, stored: ConvertedWeights, dtype: str
) -> tuple[PreTrainedModel, dict[str, Any]]:
    """Load all weights but those of the blocks, which become placeholders; transformers builds and checks the model.

    Returns:
        The model, and the loader's report.

    Raises:
        SDSError: blocks share weights, or a parameter of a block cannot be made of what the files hold.
    """
    files = stored.files
    in_blocks: dict[str, nn.Parameter] = {}
    for _, parameters in stored_blocks(skeleton):
        in_blocks |= parameters
    shapes = {name: tuple(parameter.shape) for name, parameter in in_blocks.items()}
    odd = [name for name, shape in shapes.items() if stored.shapes.get(name) != shape]
    refuse_other_shapes(odd, shapes, skeleton, files)
    shared = len({id(parameter) for parameter in in_blocks.values()}) < len(in_blocks)
    if odd or shared or hasattr(config, "quantization_config"):
        raise SDSError(
            f"the weights in {files.folder} are not stored one by one as the model uses them"
            + (f", first {odd[0]}" if odd else ""),
            cure="save the model again, or load it into memory: --weights memory",
        )
    wanted: Any = config.dtype if dtype == "auto" else getattr(torch, dtype)
    weights = {name: placeholder(parameter, wanted) for name, parameter in in_blocks.items()}
    weights |= _read_outside(in_blocks, skeleton, stored)
    loading: Any = type(skeleton).from_pretrained(
        None,
        config=config,
        state_dict=weights,
        dtype=wanted,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # they are refused by name
    )
    model, report = loading
    if (files.folder / GENERATION_CONFIG_NAME).is_file():
        model.generation_config = GenerationConfig.from_pretrained(files.folder)
    return model, report


def _read_outside(in_blocks: Collection[str], skeleton: PreTrainedModel, stored: ConvertedWeights) -> dict[str, Tensor]:
    """Return the stored tensors outside the blocks; zeros that take no memory for those of blocks the model lacks."""
    files, taken = stored.files, stored.sources(in_blocks)
    lists = tuple({f"{name}." for name, module in skeleton.named_modules() if isinstance(module, nn.ModuleList)})
    outside = [name for name, shape in files.shapes.items() if name not in taken and not is_leftover(name, shape)]
    known = stored.sources(skeleton.state_dict())  # of buffers of blocks too, which stay in memory
    beside = {name for name in outside if name.startswith(lists) and name not in known}
    weights = {name: torch.zeros(()).expand(files.shapes[name]) for name in beside}
    return weights | dict(files.read(name for name in outside if name not in beside))


def _record_untied(model: PreTrainedModel) -> None:
    """Correct a configuration that ties the head to the embeddings although the files hold a separate head."""
    head, embeddings = model.get_output_embeddings(), model.get_input_embeddings()
    config = model.config.get_text_config()
    if getattr(config, "tie_word_embeddings", False) and head is not None and head.weight is not embeddings.weight:
        config.tie_word_embeddings = False


def _load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    refuse_without_sentencepiece(folder)
    try:
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except BaseException as error:  # as above; a panic in the library is not an Exception
        if not is_fault_of_file(error):
            raise
        raise out_of_memory(error) or SDSError(
            f"the model in {folder} has no tokenizer that can be loaded: {first_line(error)}",
            cure="it needs tokenizer.json, or the tokenizer files of its family",
        ) from error


def _not_loadable(folder: Path, error: Exception) -> SDSError:
    return SDSError(
        f"the model in {folder} cannot be loaded: {first_line(error)}",
        cure="it needs config.json, tokenizer files and *.safetensors of a causal language model of transformers",
    )
