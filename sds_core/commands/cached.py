"""The command `cached`: models and data sets in the local hub cache, which need no download."""

import argparse

from sds_core.files import in_units
from sds_core.models.find_model import cached_models
from sds_core.models.hub_data_sets import cached_data_sets


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the parser of `cached`."""
    listing = commands.add_parser("cached", help="list models and data sets in the hub cache, with sizes")
    listing.set_defaults(do=_cached)


def _cached(options: argparse.Namespace) -> int:
    """Print a line for every model as --model takes it, and for every text of a data set as --calibration does."""
    for name, size in cached_models().items():
        print(f"{'model':<10}{in_units(size):>9}  {name}")
    for data_set in cached_data_sets():
        for text in data_set.texts:
            print(f"{'data set':<10}{in_units(data_set.size):>9}  {text}")
    return 0
