"""The command line: sds COMMAND, or python -m sds_core COMMAND; `--help` lists the commands."""

import os
import sys

from sds_core.commands.parser import build_parser
from sds_core.errors import SDSError
from sds_core.runs import plugins


def sds() -> int:
    """Run a command of the console script `sds`."""
    return main(prog="sds")


def main(arguments: list[str] | None = None, prog: str = "python -m sds_core") -> int:
    """Run a command; return 0, or 1 with one sentence on standard error. Wrong usage exits with 2."""
    options = build_parser(prog).parse_args(arguments)
    try:
        if getattr(options, "pruners", None) is not None:
            plugins.use_folder(options.pruners)
        return options.do(options)
    except BrokenPipeError:  # the reader, such as `head`, closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except SDSError as error:
        print(f"error: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
