"""Copy the files beside a model's weights (tokenizer, templates, licence) to a changed copy of the model."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sds_core.errors import SDSError
from sds_core.files import parse_json, write_json
from sds_core.models import quantisation
from sds_core.models.weight_files import CONFIG, NAMED_FILE

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LICENCES = ("LICENSE*", "LICENCE*", "NOTICE*", "COPYING*", "USE_POLICY*")
"""A copy is under the model's licence; hubs keep it in a file of one of these names."""
TOKENIZERS = (
    *("tokenizer*.json", "tokenizer.model*", "*.model", "*.tiktoken", "vocab.*", "vocab-*.json", "*_vocab.json"),
    *("merges.txt", "tekken.json", "emoji.json", "byte_maps.json", "normalizer.json", "word_*.json", "dict.txt"),
    *("bpe.codes", "prophetnet.tokenizer"),
)
"""Files of which libraries make a tokenizer, whatever its family."""
WITHOUT_SENTENCEPIECE = ("tokenizer.json", "tekken.json", "tiktoken.model", "*.tiktoken", "vocab.*", "merges.txt")
"""Files of which transformers makes a tokenizer without that package, even where a `*.model` lies beside them."""
SETTINGS = (
    *("special_tokens_map.json", "added_tokens.json", "*.jinja", "chat_template*.json"),
    *("*processor_config.json", "generation_config.json"),
)
"""Files that complete a tokenizer, chat templates, settings of a processor and of generation."""
COMPANIONS = (*TOKENIZERS, *SETTINGS, "additional_chat_templates/*.jinja", *LICENCES)
"""What lies beside a model's weights and configuration."""
CODE = "auto_map"
"""The field that names classes in Python files of the model's repository, which are neither run nor copied."""
NEW_CLASS, OLD_CLASS = "TokenizersBackend", "PreTrainedTokenizerFast"
"""The class of a tokenizer held entirely in tokenizer.json: in transformers 5, and the name that version 4 knows."""


def has_tokenizer(folder: Path) -> bool:
    """Whether a folder holds a file of which a tokenizer can be made."""
    return any(any(folder.glob(pattern)) for pattern in TOKENIZERS)


def refuse_without_sentencepiece(folder: Path) -> None:
    """Refuse a tokenizer that only the package sentencepiece reads, where that is not installed.

    Raises:
        SDSError: it is one, as in Llama 2's own files.
    """
    others = any(any(folder.glob(pattern)) for pattern in WITHOUT_SENTENCEPIECE)
    if any(folder.glob("*.model")) and not others and not any(map(find_spec, ("sentencepiece", "tiktoken"))):
        raise SDSError(
            f"the tokenizer in {folder} needs the package sentencepiece",
            cure="install it with: pip install sentencepiece",
        )


def copy_companions(source: Path, target: Path) -> None:
    """Copy the files beside the weights from one model folder to another."""
    for path in _companions(source):
        copy = target / path.relative_to(source)
        copy.parent.mkdir(exist_ok=True)
        copy_portable(path, copy)


def copy_portable(path: Path, copy: Path) -> None:
    """Copy a file of a model, byte for byte but for two fields.

    One names code of the source folder: a program that trusts such code would look for it. The other names a
    tokenizer's class as transformers 5 alone knows it.
    """
    fields = _fields(path)
    portable = {name: value for name, value in fields.items() if name != CODE}
    if portable.get("tokenizer_class") == NEW_CLASS:
        portable["tokenizer_class"] = OLD_CLASS
    if portable != fields:
        write_json(copy, portable)
    else:
        shutil.copyfile(path, copy)


def write_config(source: Path, target: Path, model: PreTrainedModel) -> None:
    """Write the source's configuration without the fields that no longer apply.

    Another version of transformers may not read what this one would write, but reads the model's original file.

    Args:
        source: folder that the model was loaded from.
        target: folder with the configuration that `save_pretrained` wrote; it stays where the model is a part of what
            the source describes.
        model: the model.
    """
    fields, config = _fields(source / CONFIG), model.config
    if fields.get("model_type") != config.model_type:
        fields = _fields(target / CONFIG)
    for name in (CODE, NAMED_FILE, *quantisation.FIELDS):
        fields.pop(name, None)
    precision = "dtype" if "dtype" in fields else "torch_dtype"
    fields |= {"architectures": [type(model).__name__], precision: str(model.dtype).removeprefix("torch.")}
    text = config.get_text_config()
    part = fields if text is config else fields.get("text_config")
    if isinstance(part, dict) and hasattr(text, "tie_word_embeddings"):  # a separately stored head unties it
        part["tie_word_embeddings"] = text.tie_word_embeddings
    write_json(target / CONFIG, fields)


def _companions(folder: Path) -> Iterator[Path]:
    found = {path for pattern in COMPANIONS for path in folder.glob(pattern) if path.is_file()}
    yield from sorted(path for path in found if path.suffix not in (".py", ".safetensors", ".bin", ".gguf"))


def _fields(path: Path) -> dict[str, Any]:
    """Return the fields of a JSON file; none for any other, sound or not."""
    try:
        values = parse_json(path.read_bytes()) if path.suffix == ".json" else {}
    except ValueError:
        return {}
    return values if isinstance(values, dict) else {}
