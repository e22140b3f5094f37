"""Which models have written calibration text of their own, by the notes in the files that hold it."""

from pathlib import Path

from safetensors import SafetensorError, safe_open

from sds_core.models.cache import self_text_folder
from sds_core.models.gguf_files import DEMO


def has_written(name: str) -> bool:
    """Return whether a model has written a text here, under the name that it is asked for by now."""
    return name == DEMO or any(name == _writer(path) for path in self_text_folder().glob("*.safetensors"))


def _writer(path: Path) -> str:
    try:
        with safe_open(path, "np") as file:
            return (file.metadata() or {}).get("model", "")
    except (OSError, SafetensorError):  # broken, which a run that reads it says
        return ""
