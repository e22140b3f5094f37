"""The command `check-pruner`: the conformance suite on a plugin file, on every device."""

import argparse
import hashlib

from sds_core.files import user_path
from sds_core.models.device import pick_device
from sds_core.pruning.conformance import CHECKS, CPU
from sds_core.runs.plugin_check import run_suite
from sds_core.runs.plugin_file import content


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the parser of `check-pruner`."""
    checking = commands.add_parser("check-pruner", help="run the conformance checks on a pruner plugin")
    checking.add_argument("file")
    checking.set_defaults(do=_check_pruner)


def _check_pruner(options: argparse.Namespace) -> int:
    path = user_path(options.file).resolve()
    data, code = content(path), 0
    for device in dict.fromkeys([CPU, pick_device()]):
        result = run_suite(path, data, device)
        if device == CPU:
            print(f"{path.name}: {result.cls}, SHA-256 {hashlib.sha256(data).hexdigest()}")
        found = {outcome.check: outcome for outcome in result.outcomes}
        for name in CHECKS:
            word = "skip" if name not in found else "FAIL" if found[name].actual else "ok"
            print(
                f"{device.type:<6}{word:<6}{name:<18}{found[name].message if word == 'FAIL' else CHECKS[name].expected}"
            )
            code |= word == "FAIL"
    return int(code)
