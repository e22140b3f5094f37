"""The command `app`: serve the Studio in the browser."""

import argparse
import os
import socket
import sys
from pathlib import Path

import psutil

from sds_core.errors import SDSError

LOOPBACK = "127.0.0.1"
ALONE = (LOOPBACK, "localhost", "::1")
"""Addresses that only this machine reaches."""
EVERYWHERE = ("0.0.0.0", "::")
PORT = 8501
"""Streamlit's default."""


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the parser of this file's command."""
    app = commands.add_parser("app", help="serve the Studio to a browser on this machine")
    app.add_argument(
        "--address",
        default=LOOPBACK,
        help="address to listen on; anything but loopback gives everyone who can connect your rights in the app",
    )
    app.add_argument("--port", type=int, default=PORT, help=f"(default: {PORT})")
    app.add_argument(
        "--class",
        action="store_true",
        dest="in_class",
        help="also serve a class on the next port: pages to look at and guess on, on the network, behind a join code",
    )
    app.set_defaults(do=_serve)


def _serve(options: argparse.Namespace) -> int:
    if options.in_class:
        if options.address != LOOPBACK:
            raise SDSError("the teacher's server of a class listens on this machine alone", cure="drop --address")
        from sds_core.commands.class_servers import serve  # loads the engine, which `sds app` does without

        return serve(app_file(), server_command(LOOPBACK, options.port), options.port + 1, _own_names())
    if options.address not in ALONE:
        print(
            f"warning: whoever reaches {options.address}:{options.port} may use the app as you can: start and delete "
            "runs, and read every text file and table of your account",
            file=sys.stderr,
            flush=True,
        )
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, *server_command(options.address, options.port)])


def server_command(address: str, port: int) -> list[str]:
    """Return the arguments of Python that serve the app; its other settings are in `.streamlit/` beside app.py."""
    command = ["-m", "streamlit", "run", str(app_file())]
    command += [f"--server.address={address}", f"--server.port={port}"]
    if address not in ALONE:
        command += [f"--server.allowedHosts={host}" for host in _own_names()]
    shown = socket.gethostname() if address in EVERYWHERE else address
    command.append(f"--browser.serverAddress={shown}")  # otherwise Streamlit may ask an external server for it
    return command


def app_file() -> Path:
    """Return the app's main file: inside the package in an installed wheel, beside it in a checkout."""
    package = Path(__file__).parents[1]
    installed = package / "app" / "app.py"
    return installed if installed.exists() else package.parent / "app.py"


def _own_names() -> list[str]:
    """Return this machine's names and IPv4 addresses; requests to other host names are refused (DNS rebinding)."""
    known = [address for card in psutil.net_if_addrs().values() for address in card]
    addresses = [address.address for address in known if address.family == socket.AF_INET]
    return sorted({"localhost", socket.gethostname(), *addresses})
