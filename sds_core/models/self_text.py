"""Text that the model writes itself, for calibration without a dataset (the text source `self`)."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from transformers import GenerationConfig, PreTrainedModel

from sds_core.errors import SDSError
from sds_core.files import new_file, require_writable
from sds_core.models.calibration import save_self_text, self_text_file
from sds_core.models.code_identity import code_identity, families
from sds_core.models.device import pick_device
from sds_core.models.generate import generate
from sds_core.models.load import load_model
from sds_core.models.model_config import refuse_long_windows
from sds_core.models.special_tokens import start_tokens

BATCH = 32
"""Windows generated side by side. It decides which window gets which random number: another value, another text."""

APART = 100_003
"""Distance of the random generators of one seed and the next."""
SEEDS = 1 << 46
"""Times `APART` they fit 64 bits."""


def write_windows(
    model: PreTrainedModel, start: Sequence[int], count: int, length: int, seed: int
) -> Iterator[torch.Tensor]:
    """Sample `count` windows from the model at temperature 1, in batches of up to 32.

    Every window begins with the tokens `start`; after an end-of-text token the model begins a new text, as in its
    training data. Each batch has its own random generator, so the first windows do not depend on `count`, up to whole
    batches.

    Yields:
        int64 tensors of shape (batch, length) on the CPU.
    """
    for first in range(0, count, BATCH):
        prompts = torch.tensor(start).expand(min(BATCH, count - first), -1)
        with _no_generation_settings(model):
            own_seed = seed * APART + first // BATCH
            yield generate(model, prompts, 1.0, own_seed, max_new_tokens=length - len(start), pad_token_id=start[0])


@contextmanager
def _no_generation_settings(model: PreTrainedModel) -> Iterator[None]:
    """Set the model's own settings aside, such as penalties and end tokens: they would change what it writes."""
    own, model.generation_config = model.generation_config, GenerationConfig()
    try:
        yield
    finally:
        model.generation_config = own


def write_self_text(name: str, count: int, length: int, seed: int, out: str | None) -> Iterator[str]:
    """Let a model write its calibration text, and store it where the source `self` is read from, or at `out`.

    Yields:
        A line of progress after each batch, then the file's name.

    Raises:
        SDSError: the numbers are out of range, `out` exists, the model knows fewer positions, the tokenizer has no
            token to begin a text with, or the file cannot be written, which is checked in advance as far as possible.
    """
    if count < 1 or length < 2:
        raise SDSError("nothing to write", got=f"{count} windows of {length}", allowed="1 or more windows of 2 or more")
    if not 0 <= seed < SEEDS:
        raise SDSError("the seed is out of range", got=seed, allowed=f"0 to {SEEDS - 1}")
    own = new_file(out) if out else None
    loaded = load_model(name)
    path = own or self_text_file(loaded)
    require_writable(path)
    start, model = start_tokens(loaded), loaded.model
    refuse_long_windows(model.config, length, name)
    if len(start) >= length:
        raise SDSError(f"windows of {length} tokens have no room after {len(start)} start tokens", cure="longer ones")
    torch.nn.Module.to(model, pick_device())
    batches = []
    for batch in write_windows(model, start, count, length, seed):
        batches.append(batch)
        yield f"{sum(map(len, batches))} of {count} windows"
    origin = {"model": name, "seed": str(seed), "start": " ".join(map(str, start)), "temperature": "1"}
    origin |= {"code": ", ".join(code_identity(families(model))), "fingerprint": loaded.fingerprint}
    try:
        save_self_text(path, torch.cat(batches), origin)
    except SDSError as error:  # minutes of work are not thrown away
        rescued = Path(tempfile.mkdtemp(prefix="sds-text-")) / path.name
        save_self_text(rescued, torch.cat(batches), origin)
        cure = f"the text is kept in {rescued}: move it to {path} once that can be written"
        raise SDSError(error.what, cure=cure) from error
    yield str(path)
