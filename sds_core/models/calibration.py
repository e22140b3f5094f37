"""Windows of token ids for calibration and evaluation, all of one length, none overlapping another.

For how a text is named, see `text_spec`.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import add
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from sds_core.errors import SDSError
from sds_core.files import make_folder
from sds_core.models.cache import self_text_folder
from sds_core.models.encode import encode
from sds_core.models.gguf_files import DEMO
from sds_core.models.load import LoadedModel
from sds_core.models.special_tokens import check_vocabulary, special_tokens
from sds_core.models.tensor_files import save_tensors
from sds_core.models.text_reader import read_text
from sds_core.models.text_spec import SELF, TextPart, TextSpec, unwritten

DEMO_SELF_TEXT = Path(__file__).parents[1] / "assets" / "demo-self-text.safetensors"


def calibration_windows(
    loaded: LoadedModel, text: str, count: int, length: int, seed: int, held_out: int = 0, bos: str = "window"
) -> Tensor:
    """Draw windows (count + held_out, length) at random, without overlap.

    Each part of a mixture contributes its share (`TextSpec.counts`), in the order of the parts, and then its share of
    those held out.

    Args:
        loaded: its tokenizer reads the text.
        text: as `TextSpec.parse` reads it.
        count: number of windows.
        length: tokens in a window.
        seed: chooses the windows.
        held_out: number of further windows, that no solver will see.
        bos: where the tokenizer's start tokens go; every window of self-written text begins with one in any case.

    Raises:
        SDSError: the text is unknown, or too short (tokens needed and available are named).
    """

    def draw(part: TextPart, share: int, asked: str) -> Tensor:
        slots = _slots(loaded, part, share, length, asked, bos)
        order = torch.randperm(len(slots), generator=torch.Generator().manual_seed(seed))
        return slots[order[:share]]

    asked = f"{count} calibration windows" + (f" and {held_out} held out" if held_out else "")
    spec = TextSpec.parse(text)
    seen, apart = spec.counts(count), spec.shares(held_out)
    drawn = _of_parts(spec, list(map(add, seen, apart)), asked, draw)
    pairs = list(zip(drawn, seen, strict=True))
    return torch.cat([windows[:n] for windows, n in pairs] + [windows[n:] for windows, n in pairs])


def evaluation_windows(
    loaded: LoadedModel, text: str, count: int, length: int, bos: str = "window", rows: str = "stripped"
) -> Tensor:
    """Return windows (count, length) spread evenly over the text, or over each part of a mixture, in their order.

    Args:
        loaded: its tokenizer reads the text.
        text: as `TextSpec.parse` reads it.
        count: number of windows; 0 for every consecutive one, until what is left is shorter than a window.
        length: tokens in a window.
        bos: where the tokenizer's start tokens go.
        rows: as `read_text` takes it.

    Raises:
        SDSError: as for `calibration_windows`; of every window there is only one.
    """

    def spread(part: TextPart, share: int, asked: str) -> Tensor:
        if count == 0:
            return _slots(loaded, part, 1, length, asked, bos, rows)
        if part.source == SELF:
            return _slots(loaded, part, share, length, asked, bos)[:share]
        source = _tokens(loaded, part, length, bos, rows)
        _require(part, share, source, asked)
        last = len(source.tokens) - source.taken
        starts = [i * last // max(share - 1, 1) for i in range(share)]
        return source.windows(torch.stack([source.tokens[start : start + source.taken] for start in starts]))

    asked = f"{count} evaluation windows" if count else "an evaluation window"
    spec = TextSpec.parse(text)
    windows = torch.cat(_of_parts(spec, spec.counts(count) if count else spec.shares(0), asked, spread))
    if count == 0 and len(windows) == 1:
        why = f"the text {text} holds a single window of {length} tokens, whose perplexity has no error"
        raise SDSError(why, cure="take a longer text, or shorter windows: --eval-length")
    return windows


def _of_parts(
    spec: TextSpec, counts: Sequence[int], asked: str, windows: Callable[[TextPart, int, str], Tensor]
) -> list[Tensor]:
    """Return so many windows of each part; `asked` describes the whole for messages."""
    pairs, whole = zip(spec.parts, counts, strict=True), sum(counts)
    return [windows(part, n, asked if n == whole else f"{n} of {asked}") for part, n in pairs]


def digest(windows: Tensor) -> str:
    """SHA-256 of token ids, which identifies calibration or evaluation data."""
    return hashlib.sha256(str(tuple(windows.shape)).encode() + windows.to(torch.int64).numpy().tobytes()).hexdigest()


def _slots(
    loaded: LoadedModel, part: TextPart, count: int, length: int, asked: str, bos: str, rows: str = "stripped"
) -> Tensor:
    """A part of a text cut into consecutive windows (n ≥ count, length)."""
    if part.source == SELF:
        if part.stop is not None and not part.percent:
            raise SDSError("parts of self-written text are in per cent only", got=part, allowed=f"{SELF}@0-50%")
        windows = part.cut(read_self_text(loaded))
        if length > windows.shape[1] or count > len(windows):
            raise SDSError(
                f"{asked}, of {length} tokens each, were asked for; "
                f"the self-written text {part} has {len(windows)} of {windows.shape[1]}",
                cure="ask for less, or write more with write-text",
            )
        return windows[:, :length]
    source = _tokens(loaded, part, length, bos, rows)
    _require(part, count, source, asked)
    return source.windows(source.tokens[: len(source.tokens) // source.taken * source.taken].view(-1, source.taken))


@dataclass(frozen=True)
class _TokenSource:
    """The tokens of a part of a text, and how they become windows."""

    tokens: Tensor
    """Token ids (n,)."""
    before: Tensor
    """Token ids (b,) that begin every window."""
    taken: int
    """Tokens that a window takes from the text."""

    def windows(self, cut: Tensor) -> Tensor:
        """Return windows (m, b + taken): the start tokens, then a row of `cut` (m, taken)."""
        return torch.cat([self.before.expand(len(cut), -1), cut], dim=1)


def _require(part: TextPart, count: int, source: _TokenSource, asked: str) -> None:
    needed, available = count * source.taken, len(source.tokens)
    if available < needed:
        raise SDSError(
            f"the text {part} is too short for {asked}: {needed} tokens are needed, {available} available",
            cure="ask for fewer or shorter windows, or take a longer text",
        )


def _tokens(loaded: LoadedModel, part: TextPart, length: int, bos: str, rows: str) -> _TokenSource:
    """Tokenize a part of a text for windows of a length.

    Raises:
        SDSError: the start tokens fill a window, or the text cannot be read.
    """
    tokens = tokenize(loaded, read_text(part.source, rows))
    before = torch.tensor(special_tokens(loaded).before, dtype=torch.int64)
    none = before[:0]
    if bos == "none":
        return _TokenSource(part.cut(tokens), none, length)
    if bos == "text":
        return _TokenSource(part.cut(torch.cat([before, tokens])), none, length)
    if len(before) >= length:
        raise SDSError(
            f"windows of {length} tokens have no room after {len(before)} start tokens",
            cure="make them longer, or leave the start tokens out: --bos none",
        )
    return _TokenSource(part.cut(tokens), before, length - len(before))


def tokenize(loaded: LoadedModel, text: str) -> Tensor:
    """Return the token ids (n,) of a text, without special tokens.

    Raises:
        SDSError: the tokenizer fails or does not come to an end, or model and tokenizer do not belong together.
    """
    ids = encode(loaded, text)
    check_vocabulary(loaded, ids)
    return torch.tensor(ids, dtype=torch.int64)


def bos_used(loaded: LoadedModel, bos: str) -> str:
    """Return where start tokens go in the windows: nowhere for a tokenizer that adds none."""
    return bos if special_tokens(loaded).before else "none"


def self_text_file(loaded: LoadedModel) -> Path:
    """The file of the text that this model has written itself."""
    return self_text_folder() / f"{loaded.fingerprint[:16]}.safetensors"


def read_self_text(loaded: LoadedModel) -> Tensor:
    """The windows (n, T) that the model has written itself.

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
        raise unwritten(loaded.name) from None
    except SafetensorError as error:
        raise SDSError(f"the self-written text in {path} is broken: {error}", cure="write it again") from error


def save_self_text(path: Path, windows: Tensor, metadata: dict[str, str]) -> None:
    """Store windows (n, T) with a note of their origin, in two bytes a token if the vocabulary allows.

    Raises:
        SDSError: the file cannot be written.
    """
    small = torch.uint16 if int(windows.max()) < 1 << 16 else torch.int32
    make_folder(path.parent)
    save_tensors(path, {"windows": windows.to(small).contiguous()}, metadata)
