"""A user's note on a run: one small file, since the record of a finished run is never rewritten.

The worker does not touch it, so writing needs no lock: of two who write at once the last one stays, whole.
"""

from sds_core.errors import SDSError
from sds_core.files import write_text
from sds_core.runs.run_folder import Run

FILE = "note.txt"
LONGEST = 2000
"""Characters of a note."""


def read(run: Run) -> str:
    """A run's note; empty where there is none.

    Raises:
        SDSError: the file is broken.
    """
    try:
        return (run.folder / FILE).read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise SDSError(f"the note of run {run.id} is broken: {error}", cure=f"delete its {FILE}") from error


def write(run: Run, text: str) -> None:
    """Keep a note with a run, atomically; an empty one takes it away.

    Raises:
        SDSError: it is too long, the run is gone, or the disk is full.
    """
    text = text.strip()
    if len(text) > LONGEST:
        raise SDSError(f"a note of {len(text):,} characters is too long", allowed=f"{LONGEST:,}")
    if not (run.folder / "config.json").exists():  # writing would bring an empty folder back
        raise SDSError(f"run {run.id} has been removed")
    if text:
        write_text(run.folder / FILE, text + "\n")
    else:
        (run.folder / FILE).unlink(missing_ok=True)
