"""Spoiled files and inputs of every kind, fed to what reads them; see `faults.py`."""

import contextlib
import io
import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from sds_core.errors import SDSError
from sds_core.models.cache import file_sha256
from sds_core.models.load import load_model
from sds_core.models.text_reader import read_text
from sds_core.models.text_spec import TextSpec
from sds_core.runs import layer_stats, typed_json
from sds_core.runs.archive import pack, unpack
from sds_core.runs.config import RunConfig
from sds_core.runs.event_log import from_line
from sds_core.runs.run_folder import Run, open_run, root
from sds_core.runs.run_result import RunResult
from tests.models.gguf_files import write_gguf

Outcomes = Iterator[tuple[str, str]]
"""Pairs of a kind of fault and what became of one."""


def flips(run: Run, count: int, dice: random.Random) -> Outcomes:
    """Flip one bit in each kind of file, and read what the file is for."""
    reads: dict[str, Callable[[], object]] = {
        "config.json": lambda: run.config,
        "result.json": run.result,
        "events.jsonl": lambda: run.log.read(),
        "distributions/fused-000.parquet": lambda: layer_stats.load(run.folder).to_csv(),
        "phase3/block-000.safetensors": lambda: file_sha256(run.checkpoint("final", 0)) == run.checkpoints("final")[0],
    }
    for name, read in reads.items():
        path, sound = run.folder / name, read()
        data = path.read_bytes()
        for _ in range(count):
            place, bit = dice.randrange(len(data)), dice.randrange(8)
            path.write_bytes(data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :])
            yield f"flipped bit: {name}", _reading(read, sound)
        path.write_bytes(data)


def _reading(read: Callable[[], object], sound: object) -> str:
    try:
        value = read()
    except SDSError:
        return "refused in a sentence"
    except Exception as error:  # noqa: BLE001, that is the finding
        return f"CRASH: {type(error).__name__}"
    if value is False:
        return "refused by its digest"
    return "no effect" if str(value) == str(sound) else "other numbers, unseen"


def hostile(run: Run, model: Path, count: int, dice: random.Random) -> Outcomes:
    """Feed spoiled inputs of every kind to what reads them."""
    packed, gguf = root().parent / "packed.zip", write_gguf(model, root().parent / "tiny.gguf")
    pack(run, packed)
    texts = {
        "config.json": (run.folder / "config.json").read_bytes(),
        "result.json": (run.folder / "result.json").read_bytes(),
        "event": run.log.path.read_bytes().splitlines()[1],
    }
    # Checksums would hide what is checked behind them.
    texts = {name: json.dumps(typed_json.load(stored)).encode() for name, stored in texts.items()}
    spoiled = root().parent / "spoiled"
    shutil.copytree(model, spoiled)

    def model_file(name: str) -> Callable[[bytes], object]:
        def read(data: bytes) -> object:
            (spoiled / name).write_bytes(data)
            try:
                return load_model(str(spoiled))
            finally:
                shutil.copy(model / name, spoiled / name)

        return read

    def gguf_file(data: bytes) -> object:
        (spoiled / "x.gguf").write_bytes(data)
        return load_model(str(spoiled / "x.gguf"))

    def archive_file(data: bytes) -> None:
        unpack(io.BytesIO(data)).delete()

    kinds: dict[str, tuple[bytes, Callable[[bytes], object]]] = {
        "run configuration": (texts["config.json"], _read_config),
        "result": (texts["result.json"], lambda data: RunResult.parse(data.decode())),
        "event": (texts["event"], from_line),
        "run id": (run.id.encode(), lambda data: open_run(data.decode("utf-8", "replace"))),
        "text name": (b"hub:a/b:c:d:e*2+x.txt@0-50%", lambda data: TextSpec.parse(data.decode("utf-8", "replace"))),
        "text": ("Übung".encode() * 9, _read_as_text),
        "archive": (packed.read_bytes(), archive_file),
        "safetensors": ((model / "model.safetensors").read_bytes(), model_file("model.safetensors")),
        "model configuration": ((model / "config.json").read_bytes(), model_file("config.json")),
        "tokenizer": ((model / "tokenizer.json").read_bytes(), model_file("tokenizer.json")),
        "GGUF": (gguf.read_bytes(), gguf_file),
    }
    for i in range(count):
        kind = list(kinds)[i % len(kinds)]
        data, read = kinds[kind]
        yield f"hostile {kind}", _fed(read, spoil(data, dice))


def _read_config(data: bytes) -> RunConfig:
    values = typed_json.load(data)
    if not isinstance(values, dict):  # as `Run.asked` does
        raise ValueError("not a table of options")
    return RunConfig.from_dict(values)


def _read_as_text(data: bytes) -> str:
    path = root().parent / "x.txt"
    path.write_bytes(data)
    return read_text(str(path))


def _fed(read: Callable[[bytes], object], data: bytes) -> str:
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            read(data)
    except (SDSError, ValueError):  # pieces of files are read with ValueErrors, which their readers name
        return "refused"
    except BaseException as error:  # noqa: BLE001, that is the finding
        return f"CRASH: {type(error).__name__}: {str(error)[:60]}"
    return "taken: another allowed value, or of no effect"


def spoil(data: bytes, dice: random.Random) -> bytes:
    """Return data with something wrong: bits, bytes, lengths, numbers."""
    place = dice.randrange(min(len(data), 4000))
    match dice.randrange(5):
        case 0:
            return data[:place]
        case 1:
            return data[:place] + bytes([data[place] ^ 1 << dice.randrange(8)]) + data[place + 1 :]
        case 2:
            return data[:place] + dice.randbytes(8) + data[place + 8 :]
        case 3:
            return data[:place] + b"[" * 100_000 + data[place:]
        case _:
            digits = [i for i, byte in enumerate(data[:4000]) if chr(byte).isdigit()] or [place]
            at = dice.choice(digits)
            return data[:at] + dice.choice([b"-1", b"null", b"1e999", b"9" * 400, b"true"]) + data[at + 1 :]
