"""A user's note on a run: one small file, since the record of a finished run is never rewritten.

The worker does not touch it, so writing needs no lock: of two concurrent writers the last one wins.
"""

from sds_core.errors import SDSError
from sds_core.files import disk_error, write_text
from sds_core.runs.run_folder import CONFIG, Run

FILE = "note.txt"
LONGEST = 2000
"""Maximum number of characters in a note."""


def read(run: Run) -> str:
    """Return a run's note; empty if there is none.

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
    """Store a run's note, atomically; an empty one removes it.

    Raises:
        SDSError: it is too long, the run is gone, or the disk is full.
    """
    text = text.strip()
    if len(text) > LONGEST:
        raise SDSError(f"a note of {len(text):,} characters is too long", allowed=f"{LONGEST:,}")
    if not (run.folder / CONFIG).exists():  # writing would recreate an empty folder
        raise SDSError(f"run {run.id} has been removed")
    if text:
        write_text(run.folder / FILE, text + "\n")
        return
    try:
        (run.folder / FILE).unlink(missing_ok=True)
    except OSError as error:
        raise disk_error(run.folder / FILE, error) from error
