"""A model's losses over windows, replayed block by block, are those of plain forward passes."""

from collections.abc import Generator

import numpy as np
import pytest
import torch

from sds_core.errors import SDSError
from sds_core.models.evaluate import ROWS, evaluate
from sds_core.models.structure import find_blocks
from sds_core.pruning.perplexity import Perplexity
from tests.models.families import build, plain_logits, texts

CPU = torch.device("cpu")


def finish(walk: Generator[int, None, Perplexity]) -> tuple[list[int], Perplexity]:
    """What a generator yields, and what it returns."""
    yielded = []
    while True:
        try:
            yielded.append(next(walk))
        except StopIteration as end:
            return yielded, end.value


@pytest.mark.parametrize("name", ["llama", "gpt2"])
@pytest.mark.parametrize("length", [2, 20, ROWS, ROWS + 1, ROWS + 2, 2 * ROWS + 50])
def test_losses_are_those_of_a_plain_forward(name: str, length: int) -> None:
    longest = {"llama": "max_position_embeddings", "gpt2": "n_positions"}[name]
    model = build(name, **{longest: 1024})
    windows = texts(3, length)
    probabilities = plain_logits(model, windows).double().softmax(-1).numpy()
    chosen = np.array(
        [[probabilities[n, t, windows[n, t + 1]] for t in range(length - 1)] for n in range(len(windows))]
    )
    steps, perplexity = finish(evaluate(find_blocks(model), windows, CPU))

    assert steps == [0, 1, 2]
    assert perplexity.tokens == length - 1
    np.testing.assert_allclose(perplexity.losses, -np.log(chosen).mean(axis=1), rtol=1e-5)
    assert len(set(perplexity.losses)) == 3
    assert perplexity.value == pytest.approx(np.exp(-np.log(chosen).mean()), rel=1e-5)


def test_the_library_agrees_on_the_loss_of_each_window() -> None:
    model = build("opt")
    windows = texts(2)
    with torch.inference_mode():
        expected = [float(model(window[None], labels=window[None]).loss) for window in windows]
    _, perplexity = finish(evaluate(find_blocks(model), windows, CPU))
    assert perplexity.losses == pytest.approx(expected, rel=1e-5)


def test_a_loss_that_is_no_number_is_refused_with_its_window() -> None:
    model = build("llama")
    model.lm_head.weight.data.fill_(torch.nan)
    with pytest.raises(SDSError, match="evaluation window 0 is not a number"):
        finish(evaluate(find_blocks(model), texts(), CPU))


def test_uniform_model_has_the_vocabularys_perplexity() -> None:
    model = build("llama")
    model.lm_head.weight.data.zero_()
    _, perplexity = finish(evaluate(find_blocks(model), texts(), CPU))
    assert perplexity.value == pytest.approx(96, rel=1e-5)


def test_pruning_between_two_evaluations_is_seen() -> None:
    model = build("llama")
    windows = texts()
    structure = find_blocks(model)
    _, dense = finish(evaluate(structure, windows, CPU))
    model.model.layers[1].mlp.down_proj.weight.data.zero_()
    _, pruned = finish(evaluate(structure, windows, CPU))
    assert abs(dense.losses[0] - pruned.losses[0]) > 1e-3


def test_windows_side_by_side_have_the_losses_of_windows_in_turn() -> None:
    model = build("llama")
    alone = finish(evaluate(find_blocks(model), texts(5), CPU))
    torch.set_num_threads(2)
    try:
        assert finish(evaluate(find_blocks(model), texts(5), CPU)) == alone
    finally:
        torch.set_num_threads(1)
