"""Count the tokens of a text in a separate process, for the app.

A corrupt tokenizer may never return, or end its process by using up memory. Importing this stays cheap.
"""

import os
import subprocess
import sys
from pathlib import Path

from sds_core.errors import SDSError
from sds_core.subprocess_environment import with_package

TOKENIZER = "tokenizer.json"
LIMIT = 60
"""Seconds."""


def count_tokens(folder: Path, text: str) -> int | None:
    """Return the number of a text's tokens, special ones apart; None where only transformers can read the tokenizer.

    Raises:
        SDSError: the tokenizer fails, or does not return.
    """
    if not (folder / TOKENIZER).is_file():
        return None
    command = [sys.executable, "-m", __name__, str(folder / TOKENIZER)]
    cure = "download or save the model again"
    try:
        done = subprocess.run(
            command,
            input=text.encode(),
            capture_output=True,
            timeout=LIMIT,
            env=with_package(),
            check=False,
        )
    except subprocess.TimeoutExpired:
        what = f"the tokenizer in {folder} has not read {len(text):,} characters within {LIMIT} s"
        raise SDSError(what, cure=cure) from None
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines() or [f"exit code {done.returncode}"]
        raise SDSError(f"the tokenizer in {folder} fails: {said[-1]}", cure=cure)
    return int(done.stdout)


def _main() -> None:
    from tokenizers import Tokenizer  # the app itself only starts this

    tokenizer = Tokenizer.from_file(sys.argv[1])
    tokenizer.no_truncation()  # both may have been saved with it
    tokenizer.no_padding()
    counted = len(tokenizer.encode(sys.stdin.buffer.read().decode(), add_special_tokens=False))
    os.write(1, str(counted).encode())


if __name__ == "__main__":
    _main()
