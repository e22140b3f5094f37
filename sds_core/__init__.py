"""SDS Studio's engine: Sparse-Dense-Sparse pruning of causal language models (Li et al., arXiv 2408.10473).

Imports only go down: `pruning` (tensors) → `models` (Hugging Face) → `sds` (the method) → `runs` (folders and
processes) → `figures` → `lesson` → `reports` → `extras` → the command line and the pages.
"""

__version__ = "0.1.0"
