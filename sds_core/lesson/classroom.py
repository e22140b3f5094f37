"""A class on one laptop: the folder that its server reads, and the records that the teacher puts there to look at.

FOLDER/address           where the class finds it
       shared.json       names of the experiments to look at
       runs/<id>/        links to the record of each of their runs: configuration, log, result, distributions, lock
       walk/<example>/   the same of the examples that the Walk needs
       votes/votes.json  written by the class's server, the only file that it writes

Weights, notes and messages of workers are not linked. Importing this module stays cheap.
"""

import json
import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sds_core.files import disk_error, make_folder, write_json, write_text
from sds_core.lesson.votes import FILE, Votes, read_votes
from sds_core.runs.job_folder import LOCK
from sds_core.runs.run_folder import DISTRIBUTIONS, RECORD, Run, every_run

TEACHER = "SDS_TEACHER"
"""Names the folder to the teacher's server; `votes.VARIABLE` does to the class's."""
LINKED = (*RECORD, DISTRIBUTIONS, LOCK)
"""The files of a run that can be looked at."""


@dataclass(frozen=True)
class Classroom:
    """The folder of a class."""

    folder: Path

    @property
    def runs(self) -> Path:
        """Where the class's server finds runs."""
        return self.folder / "runs"

    @property
    def walk(self) -> Path:
        """Where it finds the examples of the Walk, by name."""
        return self.folder / "walk"

    @property
    def ballot(self) -> Path:
        """The file with the votes, in a folder of its own."""
        return self.folder / FILE

    @property
    def address(self) -> str:
        """The address that the class types."""
        return (self.folder / "address").read_text(encoding="utf-8")

    @property
    def votes(self) -> Votes:
        """The class's guesses so far."""
        return read_votes(self.ballot)

    @property
    def shared(self) -> list[str]:
        """Names of the experiments that the class may look at."""
        with suppress(OSError, ValueError):
            return json.loads((self.folder / "shared.json").read_text(encoding="utf-8"))
        return []

    def share(self, names: Iterable[str]) -> None:
        """Let the class look at these experiments and at no other.

        Raises:
            SDSError: the disk is full.
        """
        write_json(self.folder / "shared.json", sorted(names))
        self.refresh()

    def refresh(self) -> None:
        """Link the records of the shared experiments' runs, those too that were made since.

        Raises:
            SDSError: the disk is full.
        """
        shared = self.shared
        wanted = {run.id: run for run in every_run() if run.experiment in shared}
        for path in self.runs.iterdir():
            if path.name not in wanted:
                shutil.rmtree(path, ignore_errors=True)
        for name, run in wanted.items():
            link_record(run, self.runs / name)


def create(folder: Path, address: str, walk: dict[str, Run]) -> Classroom:
    """Prepare an empty folder for a class.

    Args:
        folder: an existing one.
        address: where the class finds its server.
        walk: the examples that the Walk needs, by name.

    Raises:
        SDSError: the disk is full.
    """
    found = Classroom(folder)
    for path in (found.runs, found.walk, found.ballot.parent):
        make_folder(path)
    write_text(folder / "address", address)
    for name, run in walk.items():
        link_record(run, found.walk / name)
    return found


def current() -> Classroom | None:
    """Return the class that this server was started for; None without one."""
    folder = os.environ.get(TEACHER)
    return Classroom(Path(folder)) if folder else None


def link_record(run: Run, folder: Path) -> None:
    """Link what of a run can be looked at; a link to a file that is not there yet leads to it once it is.

    Raises:
        SDSError: the disk is full.
    """
    try:
        folder.mkdir(exist_ok=True)
        for name in LINKED:
            with suppress(FileExistsError):
                (folder / name).symlink_to(run.folder / name)
    except OSError as error:
        raise disk_error(folder, error) from error
