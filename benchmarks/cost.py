"""Cost of the methods: CPU time in units of one plain forward over the same calibration tokens, and peak memory.

    python benchmarks/cost.py [--model demo] [--tokens 8x1024] [--threads 1] [--methods …]

Each method runs in its own process, which keeps the peaks apart. The plain forward in float32 (blocks only) is timed in
each, and the median is the unit. Run nothing else meanwhile.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch

from sds_core.layer_result import LayerResult
from sds_core.models.calibration import calibration_windows
from sds_core.models.device import allow_fast_matmul, machine
from sds_core.models.load import load_model
from sds_core.models.stream import capture
from sds_core.models.structure import find_blocks
from sds_core.pruning.registry import PRUNERS
from sds_core.runs import layer_stats
from sds_core.runs.config import RunConfig
from sds_core.sds import Recipe, run_phase

METHODS = {
    "Wanda": {"method": "base", "pruner": "wanda"},
    "SparseGPT": {"method": "base", "pruner": "sparsegpt"},
    "Wanda + adjustment": {"method": "adjusted", "pruner": "wanda", "options": {"beta": 0.0}},
    "Wanda, bfloat16": {"method": "base", "pruner": "wanda", "observation": "bfloat16"},
    "SparseGPT, bfloat16": {"method": "base", "pruner": "sparsegpt", "observation": "bfloat16"},
    "sds": {"method": "sds", "pruner": "wanda"},
    "sds-admm, β = 0": {"method": "sds-admm", "pruner": "wanda", "options": {"beta": 0.0}},
    "sds-admm": {"method": "sds-admm", "pruner": "wanda"},
    "sds-admm, bfloat16": {"method": "sds-admm", "pruner": "wanda", "observation": "bfloat16"},
    "sds-admm, 6 rounds": {"method": "sds-admm", "pruner": "wanda", "options": {"rounds": 6, "rho_growth": 1.7}},
    "sds-admm, 6 rounds, bfloat16": {
        "method": "sds-admm",
        "pruner": "wanda",
        "observation": "bfloat16",
        "options": {"rounds": 6, "rho_growth": 1.7},
    },
    "sds-admm, 2 block epochs": {"method": "sds-admm", "pruner": "wanda", "reconstruct": "block"},
}

REFERENCE = 4.02
"""Forwards of SparseGPT as in locuslab/wanda @ 8e8fc87, its classes in its own loop, 8×1,024 tokens on one thread."""


def cpu() -> float:
    """Return the CPU seconds of this process, all threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def peak() -> int:
    """Return the highest resident memory of this process so far, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


class NothingDone:
    """A pass that starts at the first block."""

    finished = 0

    def restore(self, block) -> None:
        """Change nothing: no block is done."""


def one(name: str, model: str, samples: int, length: int, threads: int) -> dict:
    """Measure one method in this process."""
    torch.set_num_threads(threads)
    allow_fast_matmul(torch.device("cpu"))
    config = RunConfig(model=model, samples=samples, length=length, **METHODS[name])
    loaded = load_model(model)
    structure = find_blocks(loaded.model)
    windows = calibration_windows(loaded, config.calibration, samples, length, 0)
    device = torch.device("cpu")
    at_start = peak()

    began = cpu()
    stream = capture(structure, windows, device)
    for _ in structure.blocks:
        stream.advance()
    forward = cpu() - began
    del stream

    recipe = Recipe(
        pruner=PRUNERS[config.pruner](),
        method=config.made_method(),
        pattern=config.parsed_pattern(),
        reconstruction=config.reconstruction,
        bfloat16=config.observation == "bfloat16",
    )
    began, wall, recording = cpu(), time.monotonic(), 0.0
    for event in run_phase("fused", structure, windows, recipe, device, NothingDone()):
        if isinstance(event, LayerResult):
            mark = cpu()
            layer_stats.rows(event)
            recording += cpu() - mark
    return {
        "method": name,
        "machine": machine(),
        "forward": forward,
        "cpu": cpu() - began - recording,
        "recording": recording,
        "wall": time.monotonic() - wall,
        "loaded": at_start,
        "peak": peak(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="demo")
    parser.add_argument("--tokens", default="8x1024", help="calibration windows x tokens (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS), help="(default: all)")
    parser.add_argument("--only", help="measure one method in this process and print JSON")
    options = parser.parse_args()
    samples, length = map(int, options.tokens.split("x"))
    if options.only:
        print(json.dumps(one(options.only, options.model, samples, length, options.threads)))
        return
    shared = ["--model", options.model, "--tokens", options.tokens, "--threads", str(options.threads)]
    # Libraries take their threads from the environment when they are imported.
    alone = os.environ | {"OMP_NUM_THREADS": str(options.threads), "OMP_WAIT_POLICY": "PASSIVE"}
    found = []
    for name in options.methods:
        command = [sys.executable, __file__, *shared, "--only", name]
        done = subprocess.run(command, capture_output=True, text=True, env=alone)
        if done.returncode:
            sys.exit(done.stderr)
        found.append(json.loads(done.stdout.splitlines()[-1]))
        print(f"measured {name}", file=sys.stderr)
    unit = statistics.median(row["forward"] for row in found)
    print(
        f"{found[0]['machine']}; {options.tokens} tokens, threads: {options.threads}; one forward = {unit:.1f} CPU s\n"
    )
    print("| method | CPU, forwards | of it recording | × reference SparseGPT | wall s | peak MiB | of it loading |")
    print("|---|---|---|---|---|---|---|")
    for row in found:
        whole = (row["cpu"] + row["recording"]) / unit
        print(
            f"| {row['method']} | {whole:.2f} | {row['recording'] / unit:.2f} | {whole / REFERENCE:.2f} "
            f"| {row['wall']:.0f} | {row['peak']} | {row['loaded']} |"
        )


if __name__ == "__main__":
    main()
