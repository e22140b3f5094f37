"""Two servers for a class on one laptop: the teacher's on this machine alone, the class's on the network."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from sds_core.lesson.classroom import TEACHER, Classroom, create
from sds_core.lesson.evidence import RUNS
from sds_core.lesson.example_runs import open_runs
from sds_core.lesson.votes import VARIABLE
from sds_core.runs.examples import EXPERIMENT, unpack_all
from sds_core.subprocess_environment import PACKAGE_PARENT

LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"
"""Of a join code: none that is mistaken for another on a projector."""
LENGTH = 6
KEPT = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH", "OMP_NUM_THREADS", "VIRTUAL_ENV")
"""Environment variables passed on to the class's server: none holds a token of the teacher's."""


def serve(app: Path, teacher: list[str], port: int, hosts: list[str]) -> int:
    """Start both servers, and end both when one has ended or Ctrl+C is pressed.

    Args:
        app: the teacher's main script.
        teacher: words of Python that serve it.
        port: of the class's server.
        hosts: names and addresses of this machine that the class's server answers to.

    Raises:
        SDSError: the examples cannot be unpacked.
    """
    with tempfile.TemporaryDirectory(prefix="sds-class-") as place:
        code = "".join(secrets.choice(LETTERS) for _ in range(LENGTH))
        here = own_address()
        classroom = prepare(Path(place), f"http://{here}:{port}/{code}")
        print(f"The class joins at {classroom.address}", flush=True)
        script = app.parent / "pages" / "classroom" / "serve.py"
        theirs = [str(script), str(port), code, *dict.fromkeys([here, *hosts])]
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        servers = [
            subprocess.Popen([sys.executable, *theirs], cwd=place, env=environment(classroom, app)),
            subprocess.Popen([sys.executable, *teacher], env=os.environ | {TEACHER: place}),
        ]
        try:
            while all(server.poll() is None for server in servers):
                time.sleep(0.2)
            return max(server.poll() or 0 for server in servers)
        except KeyboardInterrupt:
            return 0
        finally:
            for server in servers:
                server.terminate()
            for server in servers:
                server.wait()


def prepare(place: Path, address: str) -> Classroom:
    """Put the examples into an empty folder for a class.

    Raises:
        SDSError: the disk is full, or this copy came without examples.
    """
    unpack_all()
    classroom = create(place, address, open_runs(*RUNS))
    classroom.share([EXPERIMENT])
    return classroom


def environment(classroom: Classroom, app: Path) -> dict[str, str]:
    """Return the environment of the class's server."""
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    folders = dict.fromkeys((VARIABLE, "HOME"), str(classroom.folder)) | {"SDS_RUNS": str(classroom.runs)}
    importable = os.pathsep.join(dict.fromkeys([str(app.parent), PACKAGE_PARENT]))
    return kept | folders | {"PYTHONPATH": importable, "HF_HUB_OFFLINE": "1"}


def own_address() -> str:
    """Return the address under which others on the network reach this machine; its name where there is no network."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:  # connecting one of these sends nothing
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return socket.gethostname()
        return str(probe.getsockname()[0])
