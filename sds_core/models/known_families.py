"""The model families that transformers knows, read from its source: importing it would take seconds."""

import ast
import importlib.util
from functools import cache
from pathlib import Path

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
