"""The command `check-pruner`: the conformance suite on one pruner file, on every device."""

import argparse
from pathlib import Path

from sds_core.models.device import pick_device
from sds_core.pruning.conformance import CHECKS, CPU
from sds_core.runs.plugin_file import content, load, outcomes


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the parser of `check-pruner`."""
    checking = commands.add_parser("check-pruner", help="run the conformance checks on a pruner plugin")
    checking.add_argument("file")
    checking.set_defaults(do=_check_pruner)


def _check_pruner(options: argparse.Namespace) -> int:
    path = Path(options.file).expanduser().resolve()
    plugin = load(path, content(path))
    print(f"{path.name}: {plugin.cls.__name__}, SHA-256 {plugin.sha256}")
    code = 0
    for device in dict.fromkeys([CPU, pick_device()]):
        found = {outcome.check: outcome for outcome in outcomes(plugin, device)}
        for name in CHECKS:
            word = "skip" if name not in found else "FAIL" if found[name].actual else "ok"
            print(
                f"{device.type:<6}{word:<6}{name:<18}{found[name].message if word == 'FAIL' else CHECKS[name].expected}"
            )
            code |= word == "FAIL"
    return int(code)
