"""Where a method's time goes: its largest parts, by the function of ours that is innermost.

    python benchmarks/parts.py [--method sds-admm] [--tokens 8x1024] [--parts 10]

Works the method off as `cost.py` does, on one thread, while a second one notes every 5 ms where the first is. The plain
forward that is the unit is among the replays. Run nothing else meanwhile.
"""

import argparse
import os
import sys
import threading
from collections import Counter
from pathlib import Path
from types import FrameType

os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}  # read when torch is imported
sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.cost import METHODS, one

OURS = str(Path(__file__).parents[1] / "sds_core")
SECONDS = 0.005


def innermost(frame: FrameType | None) -> str:
    """Return the innermost function of ours on a stack, with its file; empty if there is none."""
    while frame:
        code = frame.f_code
        if code.co_filename.startswith(OURS):
            return f"`{code.co_qualname}` ({Path(code.co_filename).relative_to(OURS)})"
        frame = frame.f_back
    return ""


def watch(thread: int, seen: Counter[str], ended: threading.Event) -> None:
    """Count where a thread is, again and again, until the event."""
    while not ended.wait(SECONDS):
        seen[innermost(sys._current_frames().get(thread))] += 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", choices=METHODS, default="sds-admm")
    parser.add_argument("--model", default="demo")
    parser.add_argument("--tokens", default="8x1024", help="calibration windows x tokens (default: %(default)s)")
    parser.add_argument("--parts", type=int, default=10)
    options = parser.parse_args()
    samples, length = map(int, options.tokens.split("x"))
    seen, ended = Counter[str](), threading.Event()
    watcher = threading.Thread(target=watch, args=(threading.get_ident(), seen, ended))
    watcher.start()
    try:
        found = one(options.method, options.model, samples, length, threads=1)
    finally:
        ended.set()
        watcher.join()
    passed = {name: count for name, count in seen.items() if "models/load" not in name and name}
    forwards = (found["forward"] + found["cpu"] + found["recording"]) / found["forward"]
    print(
        f"{found['machine']}; {options.method}, {options.tokens} tokens; one forward = {found['forward']:.1f} CPU s\n"
    )
    print("| part | share | forwards |\n|---|--:|--:|")
    for name, count in Counter(passed).most_common(options.parts):
        share = count / sum(passed.values())
        print(f"| {name} | {share:.1%} | {share * forwards:.2f} |")


if __name__ == "__main__":
    main()
