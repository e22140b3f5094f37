"""The model families that transformers knows, read from its source: importing it would take seconds."""

import ast
import importlib.util
from functools import cache
from pathlib import Path

from sds_core.errors import SDSError

CAUSAL = "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES"
"""Its table of causal language models."""


def library_folder() -> Path:
    """Return the folder of transformers."""
    found = importlib.util.find_spec("transformers")
    assert found and found.origin
    return Path(found.origin).parent


@cache
def causal_families() -> frozenset[str]:
    """Return the model types that have a causal language model; empty if the table cannot be found."""
    source = library_folder() / "models" / "auto" / "modeling_auto.py"
    try:
        tree = ast.parse(source.read_text(encoding="utf-8"))
    except (OSError, SyntaxError):
        return frozenset()
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == CAUSAL:
            names = (pair.elts[0] for pair in ast.walk(node) if isinstance(pair, ast.Tuple) and pair.elts)
            return frozenset(str(name.value) for name in names if isinstance(name, ast.Constant))
    return frozenset()


def refuse_encoder_decoder(is_encoder_decoder: object, folder: Path) -> None:
    """Refuse a model that reads one text and writes another, such as T5 or BART: a part of it would be left out.

    Args:
        is_encoder_decoder: the field of that name in its configuration.
        folder: the model's folder.

    Raises:
        SDSError: it is one.
    """
    if is_encoder_decoder is True:
        allowed = "a causal language model, which is a decoder alone"
        raise SDSError(f"the model in {folder} is an encoder with a decoder", allowed=allowed)
