"""Convert GGUF files, the demo model among them, to a folder of float32 safetensors in the user's cache."""

import functools
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel
from transformers.utils import GENERATION_CONFIG_NAME

from sds_core.errors import SDSError, first_line, is_fault_of_file
from sds_core.files import disk_error, make_folder, parse_json, require_space, write_json
from sds_core.models.free_memory import out_of_memory
from sds_core.models.gguf_files import check_gguf, converted_folder
from sds_core.models.loading_report import refuse_incomplete, refuse_not_finite_weights, refuse_unused
from sds_core.models.memory import rest_on_disk
from sds_core.models.model_config import build_skeleton
from sds_core.models.tensor_files import new_model_folder
from sds_core.models.weight_files import CONFIG

MERGED = re.compile(r"_(exps|projs)\.")
"""Tensors of all experts together, which the reader splits under other names."""
ROPE_FACTORS = "rope_freqs.weight"
VERSION = "transformers_version"
"""The field of a configuration that would make another version's conversion another model."""


def convert_gguf(path: Path) -> Path:
    """De-quantise a GGUF file into a folder in the user's cache, once for each state of the code; return that folder.

    Raises:
        SDSError: the file is missing or not a sound GGUF model, or the disk is too full.
    """
    check_gguf(path)
    target = converted_folder(path)
    if target.exists():  # asked first: the cache may be read-only
        return target
    make_folder(target.parent)
    try:
        with FileLock(f"{target}.lock", fallback_to_soft=False):
            if not target.exists():
                with new_model_folder(target) as folder, _each_once(path):
                    _dequantise(path, folder)
    except OSError as error:
        raise disk_error(target, error) from error
    return target


@contextmanager
def _each_once(path: Path) -> Iterator[None]:
    """Parse a GGUF file once inside the `with`, and make a table of names once.

    transformers parses it for each part of a model, and makes the table for each module, which takes seconds.
    """
    import gguf  # as slow as transformers; see `_unused_entries`

    parse, table = gguf.GGUFReader, gguf.get_tensor_name_map
    parsed = functools.cache(lambda: parse(path))
    names = vars(gguf)
    names["GGUFReader"] = lambda asked: parsed() if Path(asked).absolute() == path.absolute() else parse(asked)
    names["get_tensor_name_map"] = functools.cache(table)
    try:
        yield
    finally:
        names["GGUFReader"], names["get_tensor_name_map"] = parse, table


def _dequantise(path: Path, target: Path) -> None:
    """Write the model and the tokenizer of a GGUF file into an empty folder."""
    from gguf import GGUFReader  # as slow as transformers; see `_unused_entries`

    try:
        # The library prefers a tokenizer.json beside the file, and looks a mere name up in the current folder first.
        where = {"gguf_file": str(path.absolute()), "local_files_only": True, "trust_remote_code": False}
        skeleton = build_skeleton(path, AutoConfig.from_pretrained(target, **where), "float32")
        elements = sum(int(tensor.n_elements) for tensor in GGUFReader(path).tensors)
        require_space(target.parent, torch.float32.itemsize * elements)
        rest_on_disk("memory", path, skeleton, copies=1, converted=True)
        tokenizer = AutoTokenizer.from_pretrained(target, **where)
        loading: Any = AutoModelForCausalLM.from_pretrained(
            target, dtype=torch.float32, output_loading_info=True, **where
        )
        model, report = loading
        unused = _unused_entries(path, skeleton)
    except SDSError:
        raise
    except BaseException as error:  # errors of any type, and panics
        if not is_fault_of_file(error):
            raise
        raise out_of_memory(error) or SDSError(
            f"{path} is not a GGUF model that transformers can read: {first_line(error)}"
        ) from error
    refuse_incomplete(report, path)
    refuse_unused(unused, path)
    refuse_not_finite_weights(model, path)
    # The loader leaves its quantiser on the model, which then refuses to be saved.
    vars(model)["hf_quantizer"] = None
    del model.config.quantization_config
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)
    for name in (CONFIG, GENERATION_CONFIG_NAME):
        if (path := target / name).exists():
            write_json(path, {key: value for key, value in parse_json(path.read_bytes()).items() if key != VERSION})


def _unused_entries(path: Path, skeleton: PreTrainedModel) -> list[str]:
    """Tensors of a GGUF file, and scalings of its rotary embeddings, that transformers' reader leaves out."""
    from gguf import GGUFReader, dequantize  # only a GGUF file needs it, and importing it takes as long as transformers
    from transformers.modeling_gguf_pytorch_utils import (
        TENSOR_PROCESSORS,
        TensorProcessor,
        get_gguf_hf_weights_map,
        read_field,
    )

    reader = GGUFReader(path)
    (architecture,) = read_field(reader, "general.architecture")
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    factors = tensors.pop(ROPE_FACTORS, None)
    unused = list[str]()
    if factors is not None and (dequantize(factors.data, factors.tensor_type) != 1).any():
        unused.append(ROPE_FACTORS)
    scaling = read_field(reader, f"{architecture}.rope.scaling.type")
    if scaling and scaling[0] != "none" and architecture != "gpt-oss":
        unused.append(f"{architecture}.rope.scaling")
    if len(tensors) > len(list(skeleton.parameters())):  # finding the names takes seconds
        processor = TENSOR_PROCESSORS.get(architecture, TensorProcessor)(config=skeleton.config.to_dict())
        known = get_gguf_hf_weights_map(skeleton, processor)
        unused += [name for name in tensors if name not in known and not MERGED.search(name)]
    return unused
