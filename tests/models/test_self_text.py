"""Text that a model writes: from its own distribution, the same for the same seed, longer files beginning alike."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor
from transformers import PreTrainedModel

from sds_core.errors import SDSError
from sds_core.models import self_text
from sds_core.models.calibration import calibration_windows, read_self_text, self_text_file
from sds_core.models.device import pick_device
from sds_core.models.load import load_model
from sds_core.models.self_text import BATCH, write_self_text, write_windows
from tests.models.families import VOCABULARY, build, build_any, memoryless
from tests.models.tokenizers import with_template


def written(model: PreTrainedModel, count: int, length: int, seed: int = 0, start: int = 7) -> Tensor:
    return torch.cat(list(write_windows(model, [start], count, length, seed)))


def test_windows_have_the_shape_and_start_token() -> None:
    windows = written(build("llama"), 5, 9)
    assert windows.shape == (5, 9) and windows.dtype == torch.int64
    assert (windows[:, 0] == 7).all()
    assert windows.min() >= 0 and windows.max() < VOCABULARY


def test_windows_come_in_batches_of_32() -> None:
    assert BATCH == 32
    batches = list(write_windows(build("llama"), [7], 70, 3, 0))
    assert [tuple(batch.shape) for batch in batches] == [(32, 3), (32, 3), (6, 3)]


def test_text_depends_on_the_seed_alone() -> None:
    model = build("llama")
    first = written(model, 5, 12, seed=1)
    torch.manual_seed(99)  # global state must not matter
    assert torch.equal(first, written(model, 5, 12, seed=1))
    other = written(model, 5, 12, seed=2)
    assert all(not torch.equal(a, b) for a, b in zip(first, other, strict=True))


def test_no_two_windows_of_a_file_are_equal() -> None:
    windows = written(build("llama"), 70, 12)
    assert len({tuple(window.tolist()) for window in windows}) == 70


def test_no_batch_of_a_seed_is_a_batch_of_the_next_seed() -> None:
    model = build("llama")
    second, next_seed = written(model, 64, 12, seed=0)[32:], written(model, 32, 12, seed=1)
    assert not {tuple(window.tolist()) for window in second} & {tuple(window.tolist()) for window in next_seed}


def test_longer_file_begins_with_the_shorter_one() -> None:
    model = build("llama")
    assert torch.equal(written(model, 70, 5)[:32], written(model, 32, 5))


def test_writing_leaves_the_global_random_numbers_alone() -> None:
    model = build("llama")
    before = torch.get_rng_state()
    written(model, 3, 4)
    assert torch.equal(torch.get_rng_state(), before)


def test_certain_model_writes_its_one_token() -> None:
    windows = written(memoryless({41: 0.0}), 4, 8)
    assert (windows[:, 1:] == 41).all() and (windows[:, 0] == 7).all()


def test_tokens_are_as_frequent_as_the_model_says() -> None:
    expected = {3: 0.7, 50: 0.2, 90: 0.1}
    windows = written(memoryless({token: math.log(p) for token, p in expected.items()}), 64, 33)
    drawn = windows[:, 1:].flatten()
    assert set(drawn.tolist()) == set(expected)
    for token, p in expected.items():  # four standard deviations of a binomial count
        assert abs(int((drawn == token).sum()) - p * len(drawn)) < 4 * math.sqrt(len(drawn) * p * (1 - p))


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma3_text", "bamba", "recurrent_gemma"])
def test_each_token_depends_on_all_tokens_before_it(name: str) -> None:
    """Logits so large that sampling is choosing the highest: compared with full forwards without a cache."""
    caps = {"gemma3_text": {"final_logit_softcapping": None}, "recurrent_gemma": {"logits_soft_cap": 1e9}}
    model = build_any(name, tie_word_embeddings=False, **caps.get(name, {}))
    model.get_output_embeddings().weight.data *= 1e4
    expected = torch.tensor([[7]])
    with torch.inference_mode():
        for _ in range(19):
            best = model(expected, use_cache=False).logits[:, -1].argmax(-1)
            expected = torch.cat([expected, best[:, None]], dim=1)
    assert len(set(expected[0].tolist())) > 3
    assert torch.equal(written(model, 2, 20), expected.expand(2, -1))


def test_end_of_text_does_not_end_a_window() -> None:
    model = memoryless({0: 0.0})
    assert model.config.eos_token_id == 0
    assert (written(model, 2, 10)[:, 1:] == 0).all()


@pytest.fixture
def on_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(self_text, "pick_device", lambda: pick_device("cpu"))


@pytest.mark.usefixtures("on_cpu")
def test_written_text_is_stored_where_the_source_self_looks(tiny_folder: Path) -> None:
    name = str(tiny_folder)
    loaded = load_model(name)
    lines = list(write_self_text(name, 40, 8, seed=3, out=None))
    path = self_text_file(loaded)
    assert lines == ["32 of 40 windows", "40 of 40 windows", str(path)]
    windows = read_self_text(loaded)
    assert torch.equal(windows, written(loaded.model, 40, 8, seed=3, start=loaded.tokenizer.bos_token_id))
    assert calibration_windows(loaded, "self", 40, 8, seed=0).shape == (40, 8)
    with safe_open(path, "pt") as file:
        origin = file.metadata()
    assert origin["model"] == name and origin["seed"] == "3" and origin["fingerprint"] == loaded.fingerprint
    path.unlink()


@pytest.mark.usefixtures("on_cpu")
def test_written_text_goes_where_it_is_asked_to(tiny_folder: Path, tmp_path: Path) -> None:
    *_, last = write_self_text(str(tiny_folder), 2, 8, seed=3, out=str(tmp_path / "own.safetensors"))
    with safe_open(last, "pt") as file:
        assert file.get_tensor("windows").shape == (2, 8)
    assert Path(last) == tmp_path / "own.safetensors"
    assert not self_text_file(load_model(str(tiny_folder))).exists()


def test_a_file_that_exists_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(SDSError, match="the output file already exists"):
        next(write_self_text("not even looked for", 2, 8, seed=0, out=str(tmp_path / "mine")))
    assert (tmp_path / "mine").read_text() == "mine"


@pytest.mark.parametrize("seed", [-1, 1 << 46, 1 << 64])
def test_a_seed_that_does_not_fit_is_refused(seed: int) -> None:
    with pytest.raises(SDSError, match=f"the seed is out of range: got '{seed}'"):
        next(write_self_text("not even looked for", 2, 8, seed=seed, out=None))


def test_the_largest_seed_writes() -> None:
    assert written(memoryless({41: 0.0}), 33, 4, seed=(1 << 46) - 1).shape == (33, 4)


@pytest.mark.parametrize(("count", "length"), [(0, 8), (-1, 8), (2, 1)])
def test_nothing_to_write_is_refused(tiny_folder: Path, count: int, length: int) -> None:
    with pytest.raises(SDSError, match=f"nothing to write: got '{count} windows of {length}'; allowed"):
        next(write_self_text(str(tiny_folder), count, length, seed=0, out=None))


@pytest.mark.usefixtures("on_cpu")
def test_windows_beyond_the_models_positions_are_refused(tiny_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SDSError, match=r"windows of 257 tokens are too long; allowed: .* knows 256"):
        next(write_self_text(str(tiny_folder), 1, 257, seed=0, out=str(tmp_path / "own.safetensors")))


@pytest.mark.usefixtures("on_cpu")
def test_written_texts_begin_like_read_ones(tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load_model(str(tiny_folder))
    loaded = replace(loaded, tokenizer=with_template(loaded.tokenizer, "A B $A <s>"))
    monkeypatch.setattr(self_text, "load_model", lambda _: loaded)
    out = str(tmp_path / "own.safetensors")
    list(write_self_text("tiny", 2, 6, seed=0, out=out))
    with safe_open(out, "pt") as file:
        windows = file.get_tensor("windows")
    assert windows.shape == (2, 6) and windows[:, :2].tolist() == 2 * [loaded.tokenizer("x").input_ids[:2]]
    with pytest.raises(SDSError, match="windows of 2 tokens have no room after 2 start tokens"):
        next(write_self_text("tiny", 2, 2, seed=0, out=None))


@pytest.mark.usefixtures("on_cpu")
def test_end_token_starts_a_text_without_start_token(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = replace(load_model(str(tiny_folder)), name="tiny")
    monkeypatch.setattr(self_text, "load_model", lambda _: loaded)
    loaded.tokenizer.bos_token = None
    loaded.tokenizer.eos_token = "A"
    out = str(tmp_path / "own.safetensors")
    list(write_self_text("tiny", 2, 4, seed=0, out=out))
    with safe_open(out, "pt") as file:
        assert file.get_tensor("windows")[:, 0].tolist() == 2 * [loaded.tokenizer("A").input_ids[0]]
    loaded.tokenizer.eos_token = None
    with pytest.raises(SDSError, match="the tokenizer of tiny has no token to begin or end a text with"):
        next(write_self_text("tiny", 2, 4, seed=0, out=None))
