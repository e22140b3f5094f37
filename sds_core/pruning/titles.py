"""Names of pruners and methods that are needed without torch; importing this stays cheap."""

TITLES = {"magnitude": "Magnitude", "wanda": "Wanda", "sparsegpt": "SparseGPT"}
"""The base pruners' names as their papers write them."""
BASE, CHECKPOINT = "base", "checkpoint"
"""Names of the methods that add nothing: to a base pruner, and to a checkpoint that was pruned elsewhere."""


def pruner_title(name: str) -> str:
    """Return a pruner's name for people; a plugin's is its own."""
    return TITLES.get(name, name)
