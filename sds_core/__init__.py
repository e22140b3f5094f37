"""SDS Studio's engine: Sparse-Dense-Sparse pruning of causal language models (Li et al., arXiv 2408.10473).

Imports only go down: `errors`, `files`, `subprocess_environment` and `options` → `pruning` (tensors) → `models`
(Hugging Face) → `layer_result`, `pass_plan`, `block_pass` and `sds` (the method) → `runs` (folders and processes) →
`comparison` → `texts` → `figures` → `lesson` → `reports` → `library` → `extras` → the command line and the pages.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sds_core.library import prune

__version__ = "0.1.0"
__all__ = ["prune"]


def __getattr__(name: str) -> Any:
    """Import `prune` on first use: it needs torch and transformers, which take seconds."""
    if name == "prune":
        from sds_core.library import prune

        return prune
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
