"""The class's server as a visitor meets it: join code, pages to look at, votes, hostile requests, closed doors."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest

from sds_core.commands.class_servers import environment
from sds_core.lesson import classroom
from sds_core.lesson.evidence import RUNS
from sds_core.lesson.example_runs import open_runs
from sds_core.runs import examples
from sds_core.runs.experiment import experiments
from tests.pages.session import Session

ROOT = Path(__file__).parents[2]
CODE = "abc234"
HOSTILE = ("../../../etc/passwd", "a" * 5000, "\u202e<img src=x>", "-1")


@pytest.fixture(scope="module")
def served(
    walk_examples: Path, stepped_folder: Path, finished_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[classroom.Classroom, str, Path]]:
    """A class that may look at one of two experiments; its folder, the address without the code, and its messages."""
    folder = tmp_path_factory.mktemp("class")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(examples, "FOLDER", walk_examples)
        patch.setenv("SDS_RUNS", str(tmp_path_factory.mktemp("walked")))
        room = classroom.create(folder, f"http://127.0.0.1:{port}/{CODE}", open_runs(*RUNS))
        patch.setenv("SDS_RUNS", str(stepped_folder))
        room.share([experiments()[0].name])
        patch.setenv("HF_TOKEN", "a secret")
        own = environment(room, ROOT / "app.py")
    script, said = ROOT / "pages" / "classroom" / "serve.py", folder.parent / "said.txt"
    with open(said, "w") as out:
        command = [sys.executable, str(script), str(port), CODE, "127.0.0.1"]
        process = subprocess.Popen(command, cwd=folder, env=own, stdout=out, stderr=out)
        try:
            deadline = time.monotonic() + 60
            while answer(f"{room.address}/_stcore/health") != 200:
                assert process.poll() is None and time.monotonic() < deadline, said.read_text()
                time.sleep(0.2)
            yield room, f"http://127.0.0.1:{port}", said
        finally:
            process.terminate()
            process.wait(60)


def answer(address: str, method: str = "GET", data: bytes | None = None) -> int:
    """The status of an answer; 0 where nobody answers."""
    try:
        with urllib.request.urlopen(urllib.request.Request(address, data, method=method)) as found:
            return found.status
    except urllib.error.HTTPError as error:
        return error.code
    except (urllib.error.URLError, ConnectionError):
        return 0


@pytest.fixture
def session(served) -> Iterator[Session]:
    opened = Session(served[0].address)
    yield opened
    opened.close()
    assert "refused" not in served[2].read_text()


def test_nothing_is_served_without_the_join_code(served):
    _, address, _ = served
    for path in ("/", "/walk", "/_stcore/health", "/_stcore/stream", "/xyz234/", "/media/a"):
        assert answer(address + path) == 404, path
    assert answer(f"{address}/{CODE}/") == 200


def test_the_address_of_a_page_serves_no_page_of_the_teacher(session):
    for page in ("text", "../studio"):
        seen = session.open(page)
        assert list(seen.pictures) in ([], ["start"]) and not seen.failed, page


def test_pages_show_what_is_shared(served, session):
    for picture in ("start", "walk", "lab", "studio", "compare"):
        seen = session.open("" if picture == "start" else picture)
        assert picture in seen.pictures and seen.said == [] and not seen.failed, (picture, seen.said)
    assert not session.open("micro", "step=again").failed
    assert session.open("studio", "details=1").pictures["details"]["stage"]


def test_hostile_addresses_reach_nothing(served, session, finished_folder):
    unshared = next(path.name for path in finished_folder.iterdir())
    for value in (*HOSTILE, unshared):
        for page, names in {
            "walk": ("step", "guess", "shown", "me"),
            "micro": ("seed", "pruner", "step", "round", "column"),
            "lab": ("pruner", "pattern", "rounds", "alpha", "dual", "round"),
            "studio": ("experiment", "run", "layer", "stage"),
            "compare": ("experiment", "runs", "ref", "a", "layer"),
        }.items():
            seen = session.open(page, urlencode(dict.fromkeys(names, value)) + "&details=1")
            assert not seen.failed, (page, value, seen.said)
            for picture in seen.pictures.values():
                picture.pop("view")  # repeats what was asked for
            assert unshared not in str(seen.pictures)


def test_guesses_before_the_reveal_are_votes(served, session):
    room = served[0]
    seen = session.open("walk", "step=3")
    for guess, shown in [("10", False), ("20", False), ("20", True), ("30", False), ("../..", False)]:
        session.pick(seen, "walk", step=3, guess=guess, shown=shown)
    again = Session(room.address)  # the page loaded anew: the voter is in the address
    again.open("walk", session.query)
    again.close()
    late = session.open("walk", "step=4&shown=1")  # its answer is known
    session.pick(late, "walk", step=4, guess="10", shown=False)
    session.pick(session.open("walk", "step=2"), "walk", step=2, guess="zz", shown=False)
    deadline = time.monotonic() + 10
    while room.votes.voters == 0 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert room.votes.voters == 1 and room.votes.steps == {"3": {"20": 1}}
    assert [path.name for path in room.ballot.parent.iterdir()] == ["votes.json"]


def test_nothing_can_be_uploaded(served, session):
    address = f"{served[0].address}/_stcore/upload_file/{'0' * 36}/1"
    assert answer(address, "PUT", b"x") in (400, 403, 405, 413) and answer(address, "DELETE") in (400, 403, 405)


def test_the_process_knows_no_token(served):
    assert "HF_TOKEN" not in environment(served[0], ROOT / "app.py") and "SDS_PRUNERS" not in os.environ


def test_the_doors_are_closed(served, tmp_path):
    """Whatever code ran in that process: no file elsewhere, no process, no connection, no other module of ours."""
    room = served[0]
    (tmp_path / "secret.txt").write_text("secret")
    code = f"""
import os, shutil, socket, subprocess, sys
from pathlib import Path
sys.path.insert(0, {str(ROOT)!r})
from sds_core.errors import SDSError
from sds_core.lesson import votes
from sds_core.runs.run_folder import Run, ids
from pages.classroom import guard
folder, run = Path({str(room.folder)!r}), {str(next(room.runs.iterdir()))!r}
guard.close([folder, Path({str(ROOT / "pages")!r})], folder / "votes")
def listen():
    with socket.socket() as one: one.connect(("127.0.0.1", 9))
tries = [
    lambda: open({str(tmp_path / "secret.txt")!r}).read(),
    lambda: open({str(room.folder)!r} + "/votes/../../../etc/passwd").read(),
    lambda: open(b"/etc/passwd").read(),
    lambda: os.open("/etc/passwd", os.O_RDONLY),
    lambda: os.listdir({str(tmp_path)!r}),
    lambda: open(run + "/config.json", "a"),
    lambda: (folder / "runs" / "new").mkdir(),
    lambda: (folder / "votes" / "votes.json").rename(folder / "runs" / "x"),
    lambda: Run(Path(run)).delete(),
    lambda: Run(Path(run)).cancel(),
    lambda: shutil.rmtree(run),
    lambda: os.remove(run + "/config.json"),
    lambda: subprocess.run(["true"]),
    lambda: os.system("true"),
    lambda: os.fork(),
    lambda: os.execv("/bin/true", ["true"]),
    listen,
    lambda: __import__("sds_core.runs.new_run"),
    lambda: os.symlink("/etc", folder / "votes" / "etc"),
    lambda: os.chmod(run + "/config.json", 0),
]
for number, one in enumerate(tries):
    try: one()
    except (PermissionError, SDSError): continue
    print("possible:", number)
open(run + "/config.json").read(); votes.Ballot(folder / votes.FILE)._write(); ids()
print("closed")
"""
    own = environment(room, ROOT / "app.py")
    done = subprocess.run([sys.executable, "-B", "-c", code], env=own, cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.split() == ["closed"], done.stdout + done.stderr
