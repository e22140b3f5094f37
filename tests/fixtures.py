"""Fixtures of all tests: one thread, a cache of their own, one tiny model on disk and runs of it."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from sds_core.lesson.evidence import RUNS, Evidence
from sds_core.lesson.example_runs import open_runs
from sds_core.models.text_reader import read_text
from sds_core.models.text_spec import PYTHON_DOCS
from sds_core.runs import examples, layer_stats, plugin_check
from sds_core.runs.new_run import create
from sds_core.runs.run_folder import Run
from tests.models.families import randomised
from tests.small_runs import config, finish, made_once

PROSE = (
    "The model reads a text and says which word it expects next. Pruning removes half of its weights; the dense phase "
    "lets every connection move again, and the next sparse phase finds that other weights are worth keeping. "
)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """One thread for torch: faster on models this small, and the same numbers everywhere."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The product's cache folder, empty at the start and nowhere near the user's."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SDS_CACHE", str(folder))
        yield folder


@pytest.fixture
def plugin_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of plugin pruners, named by `SDS_PRUNERS`."""
    folder = tmp_path / "pruners"
    folder.mkdir()
    monkeypatch.setenv("SDS_PRUNERS", str(folder))
    return folder


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model's folder. Read only: copy it before changing a file."""
    return made_once(tmp_path_factory, "tiny", save_tiny_model)


def save_tiny_model(folder: Path) -> Path:
    """Save what `load_model` loads: a random llama of three blocks, and a byte-level tokenizer of 288 tokens.

    In it lies `text.txt`, the beginning of `python-docs`: to tokenize all of that takes longer than to prune the model.
    """
    tokenizer = byte_level_tokenizer()
    tokenizer.save_pretrained(folder)
    (folder / "text.txt").write_text(read_text(PYTHON_DOCS)[:20_000], encoding="utf-8")
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.bos_token_id,
    )
    randomised(LlamaForCausalLM(config)).save_pretrained(folder)
    return folder


def byte_level_tokenizer() -> PreTrainedTokenizerFast:
    """288 tokens: a start token, all bytes, and the 31 commonest pairs of `PROSE`."""
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    raw.train_from_iterator(
        [PROSE],
        trainers.BpeTrainer(
            vocab_size=288, special_tokens=["<s>"], initial_alphabet=alphabet, show_progress=False, min_frequency=1
        ),
    )
    return PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="<s>", eos_token="<s>")


@pytest.fixture
def conformance_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Check plugins in this process: a tenth of a second instead of two. Nothing then stops what never ends."""

    def run(command, input, **_):
        sent = list[bytes]()
        path, device, limit = command[3:]
        send = lambda **message: sent.append(json.dumps(message).encode())
        plugin_check._run_here(Path(path), input, torch.device(device), int(limit), send)
        return SimpleNamespace(stdout=b"\n".join(sent), returncode=0)

    silent = SimpleNamespace(signal=lambda *_: None, alarm=lambda _: None, SIGALRM=None)
    monkeypatch.setattr(plugin_check, "signal", silent)
    monkeypatch.setattr(plugin_check, "subprocess", SimpleNamespace(run=run, PIPE=None, TimeoutExpired=TimeoutError))


@pytest.fixture
def runs_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of runs of the test's own."""
    monkeypatch.setenv("SDS_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


@pytest.fixture(scope="session")
def finished(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished fused `sds-admm` run; read only."""

    def make(folder: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SDS_RUNS", str(folder))
            finish(create(config(tiny_folder)))

    (made,) = made_once(tmp_path_factory, "one-finished", make).iterdir()
    return Run(shutil.copytree(made, tmp_path_factory.mktemp("finished") / made.name))  # with a lock of its own


@pytest.fixture
def evidence(walk_examples: Path, runs_root: Path, monkeypatch: pytest.MonkeyPatch) -> Evidence:
    """The four examples of the lesson, of the tiny model, opened."""
    monkeypatch.setattr(examples, "FOLDER", walk_examples)
    runs = open_runs(*RUNS)
    return Evidence(runs, {name: layer_stats.load(run.folder) for name, run in runs.items()})


@pytest.fixture(scope="session")
def walk_examples(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of the four runs that the Walk looks at, made with the tiny model and packed."""
    from sds_core.runs.archive import pack
    from tests.pages.conftest import tiny, work_off

    less = {"sds": {"iterations": 3}, "sds-admm": {"rounds": 3}}

    def make(folder: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SDS_RUNS", str(tmp_path_factory.mktemp("walk-runs")))
            for name in RUNS:
                method, _, pruner = name.rpartition("-")
                run = create(tiny(tiny_folder, method=method, pruner=pruner, options=less.get(method, {})))
                pack(work_off(run), folder / f"{name}.zip")

    return made_once(tmp_path_factory, "walk-examples", make)
