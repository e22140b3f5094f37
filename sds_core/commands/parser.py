"""The parser of the command line, put together from the files of this folder."""

import argparse

from sds_core.commands import internal, make, plugin, records, start, text


def build_parser() -> argparse.ArgumentParser:
    """Return the parser; the namespace it yields holds the function to call as `do`."""
    parser = argparse.ArgumentParser(
        prog="python -m sds_core", description="See what pruning does to a language model."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for module in (start, records, text, make, plugin, internal):
        module.add_commands(commands)
    return parser
