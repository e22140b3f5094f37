"""The parser of the command line, put together from the files of this folder."""

import argparse

from sds_core.commands import app, cached, internal, make, plugin, records, start, text


def build_parser(prog: str = "python -m sds_core") -> argparse.ArgumentParser:
    """Return the parser; the namespace it yields holds the function to call as `do`.

    Args:
        prog: the command as the user typed it, for the help.
    """
    parser = argparse.ArgumentParser(prog=prog, description="See what pruning does to a language model.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for module in (app, start, records, text, cached, make, plugin, internal):
        module.add_commands(commands)
    return parser
