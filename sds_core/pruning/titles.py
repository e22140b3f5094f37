"""The base pruners' names as their papers write them; importing this stays cheap, for pages that need no torch."""

TITLES = {"magnitude": "Magnitude", "wanda": "Wanda", "sparsegpt": "SparseGPT"}


def pruner_title(name: str) -> str:
    """Return a pruner's name for people; a plugin's is its own."""
    return TITLES.get(name, name)
