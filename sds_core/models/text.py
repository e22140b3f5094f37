"""Sources of text → windows of token ids, each of one fixed length, none overlapping another.

A source is written as `self`, `python-docs`, a path to a .txt file, or `hub:ID:CONFIG:SPLIT:COLUMN`; for a part of
it see `source.Part`.
"""

import hashlib
import os
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from sds_core.errors import SDSError
from sds_core.models.load import DEMO, LoadedModel, cache_folder, first_line
from sds_core.models.source import ALLOWED, PYTHON_DOCS, SELF, Part

DEMO_SELF_TEXT = Path(__file__).parents[1] / "assets" / "demo-self-text.safetensors"
HUB_CHARACTERS = 20_000_000
"""A hub data set is streamed up to this length; C4 has no end."""


def calibration_windows(loaded: LoadedModel, text: str, count: int, length: int, seed: int) -> Tensor:
    """Windows (count, length) chosen at random by `seed`, without overlap: calibration data.

    Raises:
        SDSError: the text is unknown, or too short (tokens needed and available are named).
    """
    slots = _slots(loaded, text, count, length)
    order = torch.randperm(len(slots), generator=torch.Generator().manual_seed(seed))
    return slots[order[:count]]


def evaluation_windows(loaded: LoadedModel, text: str, count: int, length: int) -> Tensor:
    """Windows (count, length) spread evenly over the text, in its order: held-out data."""
    if Part.parse(text).source == SELF:
        slots = _slots(loaded, text, count, length)
        return slots[:count]
    tokens = _tokens(loaded, text)
    _require(text, count * length, len(tokens))
    starts = [i * (len(tokens) - length) // max(count - 1, 1) for i in range(count)]
    return torch.stack([tokens[start : start + length] for start in starts])


def digest(windows: Tensor) -> str:
    """SHA-256 of token ids: the identity of calibration or evaluation data."""
    return hashlib.sha256(str(tuple(windows.shape)).encode() + windows.to(torch.int64).numpy().tobytes()).hexdigest()


def _slots(loaded: LoadedModel, text: str, count: int, length: int) -> Tensor:
    """The text cut into consecutive windows (n ≥ count, length)."""
    part = Part.parse(text)
    if part.source == SELF:
        windows = read_self_text(loaded)
        if part.stop is not None:
            raise SDSError("self-written text has no parts", got=text, allowed=SELF)
        if length > windows.shape[1] or count > len(windows):
            raise SDSError(
                f"{count} windows of {length} tokens were asked for; "
                f"the self-written text has {len(windows)} of {windows.shape[1]}",
                cure="ask for less, or write more with write-text",
            )
        return windows[:, :length]
    tokens = _tokens(loaded, text)
    _require(text, count * length, len(tokens))
    return tokens[: len(tokens) // length * length].view(-1, length)


def _require(text: str, needed: int, available: int) -> None:
    if available < needed:
        raise SDSError(
            f"the text {text} is too short: {needed} tokens are needed, {available} available",
            cure="ask for fewer or shorter windows, or take a longer text",
        )


def _tokens(loaded: LoadedModel, text: str) -> Tensor:
    """All tokens (n,) of the named part of a text."""
    part = Part.parse(text)
    words = _read(part.source)
    ids = loaded.tokenizer(words, verbose=False).input_ids
    vocabulary = loaded.model.config.get_text_config().vocab_size
    if ids and max(ids) >= vocabulary:
        raise SDSError(
            f"the tokenizer of {loaded.name} knows token {max(ids)}, its model only {vocabulary} of them",
            cure="model and tokenizer do not belong together: load a matching pair",
        )
    return part.cut(torch.tensor(ids, dtype=torch.int64))


def _read(source: str) -> str:
    """A source as one string; rows are stripped of their line end and joined by blank lines."""
    if source == PYTHON_DOCS:
        from pydoc_data.topics import topics

        return "\n\n".join(topics[name].strip() for name in sorted(topics))
    if source.startswith("hub:"):
        return "\n\n".join(_hub_rows(source))
    path = Path(source).expanduser()
    if path.suffix != ".txt":
        raise SDSError("unknown text", got=source, allowed=ALLOWED)
    try:
        return "\n\n".join(path.read_text(encoding="utf-8").removesuffix("\n").split("\n"))
    except FileNotFoundError:
        raise SDSError("there is no such text file", got=source) from None
    except (OSError, ValueError) as error:  # a ValueError: not UTF-8, or a zero byte in the name
        raise SDSError(f"the text file {source} cannot be read: {error}", allowed="a file in UTF-8") from error


def _hub_rows(source: str) -> list[str]:
    """Rows of a hub data set's column, streamed up to `HUB_CHARACTERS`."""
    from datasets import load_dataset

    fields = source.split(":")[1:]
    if len(fields) != 4 or not fields[0]:
        raise SDSError(
            "not a hub data set", got=source, allowed="hub:ID:CONFIG:SPLIT:COLUMN, such as hub:allenai/c4:en:train:text"
        )
    name, config, split, column = fields
    try:
        rows = load_dataset(name, config or None, split=split or "train", streaming=True)
        taken: list[str] = []
        total = 0
        for row in rows:
            if column not in row:
                raise SDSError(f"the data set {name} has no column {column!r}", allowed=", ".join(row))
            if not isinstance(row[column], str):
                raise SDSError(f"column {column!r} of the data set {name} holds no text", got=row[column])
            taken.append(row[column].rstrip("\n"))
            total += len(row[column])
            if total >= HUB_CHARACTERS:
                break
        return taken
    except (OSError, ValueError, ConnectionError) as error:
        raise SDSError(
            f"the data set {name} cannot be had: {first_line(error)}",
            cure="check its name and the network, or use self or a local .txt file",
        ) from error


def self_text_file(loaded: LoadedModel) -> Path:
    """Where the text that this model writes itself is kept."""
    return cache_folder() / "self-text" / f"{loaded.fingerprint[:16]}.safetensors"


def read_self_text(loaded: LoadedModel) -> Tensor:
    """The windows (n, T) that the model wrote itself.

    Raises:
        SDSError: it has not written any, or the file is broken.
    """
    path = self_text_file(loaded)
    if loaded.name == DEMO and not path.exists():
        path = DEMO_SELF_TEXT
    try:
        with safe_open(path, "pt") as file:
            return file.get_tensor("windows").to(torch.int64)
    except FileNotFoundError:
        raise SDSError(
            f"the model {loaded.name} has not written any calibration text yet",
            cure=f"run: python -m sds_core write-text --model {loaded.name} (minutes), or choose another text",
        ) from None
    except SafetensorError as error:
        raise SDSError(f"the self-written text in {path} is broken: {error}", cure="write it again") from error


def save_self_text(path: Path, windows: Tensor, metadata: dict[str, str]) -> None:
    """Store windows (n, T) with where they came from; two bytes a token where the vocabulary allows."""
    small = torch.uint16 if int(windows.max()) < 1 << 16 else torch.int32
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    save_file({"windows": windows.to(small).contiguous()}, partial, metadata=metadata)
    os.replace(partial, path)
