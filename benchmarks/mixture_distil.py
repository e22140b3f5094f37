"""Train a mixture towards the next tokens of the model that it was made of; what was interrupted goes on."""

import math
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import kl_div

EVERY = 25
"""Steps after which the state is stored."""


class Training:
    """Adam on all weights but the embeddings, with its state in a file.

    Args:
        mixture: what is trained.
        rate: a step, relative to the root mean square of a parameter; it grows over the first tenth of the steps, and
            falls to 0 along a cosine.
        steps: their number.
        file: where the state is stored; one that is there already is read.
    """

    def __init__(self, mixture: nn.Module, rate: float, steps: int, file: Path):
        embeddings = mixture.get_input_embeddings().weight.requires_grad_(False)
        self._free = [p for p in mixture.parameters() if p is not embeddings]
        self._sizes = [max(float(p.detach().square().mean().sqrt()), 1e-3) for p in self._free]
        self._optimiser = torch.optim.Adam([{"params": [p]} for p in self._free], lr=0.0, betas=(0.9, 0.95))
        self._plan, self._file, self.done = (rate, steps), file, 0
        if file.is_file():
            state = torch.load(file, weights_only=True)
            assert state["plan"] == self._plan, f"{file} is of {state['plan']}, not of {self._plan}: remove it"
            self.done, self._sizes = state["done"], state["sizes"]
            self._optimiser.load_state_dict(state["optimiser"])
            with torch.no_grad():
                for parameter, value in zip(self._free, state["weights"], strict=True):
                    parameter.copy_(value)

    def step(self) -> None:
        """Take a step along the gradients, which are then cleared."""
        rate, steps = self._plan
        for group, size in zip(self._optimiser.param_groups, self._sizes, strict=True):
            grown = min(1.0, 10 * (self.done + 1) / steps)
            group["lr"] = rate * size * grown * 0.5 * (1 + math.cos(math.pi * self.done / steps))
        self._optimiser.step()
        self._optimiser.zero_grad()
        self.done += 1
        if self.done % EVERY == 0:
            self._save()

    def _save(self) -> None:
        state = {"plan": self._plan, "done": self.done, "sizes": self._sizes}
        state |= {"optimiser": self._optimiser.state_dict(), "weights": [p.detach() for p in self._free]}
        new = self._file.with_suffix(".new")
        torch.save(state, new)
        new.replace(self._file)


def distil(mixture: nn.Module, teacher: nn.Module, windows: Tensor, rate: float, file: Path) -> Iterator[str]:
    """Train a mixture on windows (n, T), one a step; yield a line on each.

    Args:
        mixture: what is trained.
        teacher: the model that it was made of.
        windows: token ids.
        rate: as `Training` takes it.
        file: where the state is stored on the way. The caller removes it once the mixture is stored.
    """
    training = Training(mixture, rate, len(windows), file)
    for window in windows[training.done :]:
        with torch.autocast("cpu", torch.bfloat16):
            with torch.no_grad():
                wanted = teacher(window[None], use_cache=False).logits.float().log_softmax(-1)
            found = mixture(window[None], use_cache=False).logits.float().log_softmax(-1)
        loss = kl_div(found, wanted, reduction="sum", log_target=True) / window.numel()
        loss.backward()
        training.step()
        yield f"step {training.done} of {len(windows)}: {loss.item():.3f} nats"
