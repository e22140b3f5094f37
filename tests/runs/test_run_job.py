"""Whole runs on a tiny model; where processes are the point, in a worker as command line and app start it."""

import json
import math
import os
import shutil
import signal
import sys
import threading
import time
from dataclasses import replace

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from sds_core.comparison.compare import side_by_side
from sds_core.errors import SDSError
from sds_core.models import device as devices
from sds_core.models import tensor_files
from sds_core.models.calibration import calibration_windows, digest, evaluation_windows
from sds_core.models.device import device_name
from sds_core.models.load import load_model
from sds_core.pruning.perplexity import format_perplexity
from sds_core.reports.export import export
from sds_core.runs import checkpoint, layer_stats, lock, run_job
from sds_core.runs.branch import as_parent, branch
from sds_core.runs.config import Parent
from sds_core.runs.events import (
    BlockFinished,
    JobFinished,
    JobQueued,
    ModelLoaded,
    PerplexityMeasured,
    RunStarted,
    SparsityAllocated,
    of_kind,
)
from sds_core.runs.model_cache import ModelCache
from sds_core.runs.new_run import create
from sds_core.runs.run_command import command
from sds_core.runs.run_folder import open_run
from sds_core.runs.worker import launch, work
from tests.models.families import build, plain_inputs
from tests.models.folders import change_config
from tests.models.tokenizers import with_template
from tests.records import write_log
from tests.small_runs import config, disk_full_at, finish, work_here


def weights(run):
    """All stored tensors of a run, by file."""
    return {p.relative_to(run.folder).as_posix(): load_file(p) for p in sorted(run.folder.glob("phase?/*.safetensors"))}


def same(first, second):
    return first.keys() == second.keys() and all(
        torch.equal(first[file][name], second[file][name]) for file in first for name in first[file]
    )


def wait_for(run, kind, seconds=180):
    """Wait until an event of this kind is in the log."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if of_kind(run.log.read(), kind):
            return
        time.sleep(0.01)
    raise AssertionError(f"no {kind} in {run.log.read()}")


def test_result_equals_what_transformers_measures_after_export(finished, tiny_folder, tmp_path):
    folder = export(finished, str(tmp_path / "out"))
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    windows = evaluation_windows(load_model(str(tiny_folder)), finished.config.evaluation, 4, 32)
    with torch.inference_mode():
        losses = [float(model(window[None], labels=window[None]).loss) for window in windows]
    recorded = finished.result().perplexity["final"]
    assert recorded.losses == pytest.approx(losses, rel=1e-5)
    assert recorded.value == pytest.approx(math.exp(sum(losses) / 4), rel=1e-5)
    assert tokenizer("prune").input_ids == AutoTokenizer.from_pretrained(tiny_folder)("prune").input_ids
    zeros = sum(int((m.weight == 0).sum()) for n, m in model.named_modules() if n.endswith("_proj"))
    assert zeros >= finished.result().pruned == finished.result().prunable // 2
    card = (folder / "README.md").read_text()
    assert command(finished.config) in card
    assert format_perplexity(recorded.value) in card


def test_a_run_calibrates_on_the_windows_of_its_seed_and_not_on_held_out_ones(tiny_folder):
    run = finish(create(config(tiny_folder, method="base", samples=3, seed=5, held_out=2)))
    loaded = load_model(str(tiny_folder))
    windows = calibration_windows(loaded, run.config.calibration, 3, 32, 5, 2)
    assert len(windows) == 5 and run.model().calibration.sha256 == digest(windows[:3])
    stored = load_file(run.checkpoint("sparse", 0))
    layers = [name.removesuffix(".weight") for name in stored if name.endswith(".weight")]
    inputs = plain_inputs(loaded.model, windows[:3], [f"model.layers.0.{layer}" for layer in layers])
    for layer in layers:
        weight = loaded.model.get_submodule(f"model.layers.0.{layer}").weight.data
        scores = weight.double().abs() * inputs[f"model.layers.0.{layer}"].square().sum(0).sqrt()
        fours = scores.view(len(scores), -1, 4)
        kept = torch.zeros_like(fours, dtype=torch.bool).scatter_(2, fours.topk(2, dim=2).indices, True)
        assert torch.equal(checkpoint.unpacked_mask(stored[f"{layer}.mask"], weight.shape), kept.view_as(weight)), layer
    assert len(layers) == 7


def test_text_named_for_both_is_halved_on_record(tiny_folder):
    both = {"calibration": "python-docs", "evaluation": "python-docs", "method": "base", "pruner": "magnitude"}
    run = finish(create(config(tiny_folder, **both)))
    apart = ["python-docs@0-50%", "python-docs@50-100%"]
    for said in (run.model(), run.result()):
        assert [said.calibration.text, said.evaluation.text] == apart
    windows = evaluation_windows(load_model(str(tiny_folder)), "python-docs@50-100%", 4, 32)
    assert run.model().evaluation.sha256 == digest(windows)
    assert run.config.calibration == "python-docs", "what was asked for stays as it was written"


@pytest.fixture
def routed(tiny_folder, tmp_path):
    """The tiny model as a mixture of four experts."""
    folder = shutil.copytree(tiny_folder, tmp_path / "routed")
    settings = json.loads((folder / "config.json").read_text())
    settings = {name: value for name, value in settings.items() if name not in ("model_type", "architectures")}
    experts = {"num_local_experts": 4, "num_experts_per_tok": 2, "head_dim": 8}
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(AutoConfig.for_model("mixtral", **settings | experts)).save_pretrained(folder)
    return folder


def test_mostly_unprunable_model_needs_the_partial_option(routed, monkeypatch):
    monkeypatch.setattr("sds_core.models.structure.stacks", lambda model: {})  # as if experts could not be told
    attention, others = 2 * 32 * 32 + 2 * 16 * 32, 4 * 3 * 32 * 48 + 4 * 32  # others: the experts and their router
    run = create(config(routed, method="base"))
    work_here([run])
    share = round(100 * attention / (attention + others))
    assert f"only {share}% of the weights" in run.log.read()[-1].message
    assert "--partial" in run.log.read()[-1].message
    done = finish(create(config(routed, method="base", partial=True)))
    assert done.result().prunable == 3 * attention
    assert done.model().matrices == 3 * (attention + others)


def test_mixture_is_pruned_recorded_and_resumed_like_any_other(routed, monkeypatch):
    run = finish(create(config(routed, samples=2, length=16)))
    result, record = run.result(), layer_stats.load(run.folder)
    experts = {f"mlp.experts.{e}.{name}" for e in range(4) for name in ("gate_up_proj", "down_proj")}
    assert experts < set(record["linear"]) and record["linear"].nunique() == 12
    assert result.pruned * 2 == result.prunable == 3 * (2 * 32 * 32 + 2 * 16 * 32 + 4 * 3 * 32 * 48)
    last = [block for block in of_kind(run.log.read(), BlockFinished) if block.stage == result.last]
    few = [layer.linear for block in last for layer in block.layers if layer.scarcity == "few tokens"]
    assert few and all("experts" in label for label in few) and result.scarce["few tokens"] == len(few)
    assert f"{len(few)} expert layers got fewer calibration tokens" in result.scarce_tokens
    routes = result.last_perplexity.routes
    assert [one.block for one in routes.blocks] == [0, 1, 2] and 0 < routes.changed < 1
    assert result.dense_perplexity.routes is None and result.experts.endswith(routes.sentence)

    again = create(config(routed, samples=2, length=16))
    save = checkpoint.save

    def cancel_after_one(run, stage, block, tensors):
        run.cancel()
        return save(run, stage, block, tensors)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save", cancel_after_one)
        work_here([again])
    assert again.state() == "cancelled"
    assert same(weights(finish(again)), weights(run))
    assert again.result().last_perplexity == result.last_perplexity  # the dense model's routes come from the cache


def test_routes_of_the_dense_model_are_kept_and_a_broken_file_is_named(routed, tmp_path, monkeypatch):
    monkeypatch.setenv("SDS_CACHE", str(tmp_path / "cache"))
    first = finish(create(config(routed, method="base")))
    (path,) = (tmp_path / "cache" / "dense").glob("*.safetensors")
    path.unlink()
    second = finish(create(config(routed, method="base")))
    assert second.result().last_perplexity == first.result().last_perplexity and path.exists()
    path.write_bytes(b"no tensors")
    broken = create(config(routed, method="base"))
    work_here([broken])
    assert f"the dense result in {path} is broken" in broken.log.read()[-1].message


def test_an_export_never_overwrites(finished, tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(SDSError, match="in use"):
        export(finished, str(tmp_path))
    assert (tmp_path / "mine.txt").read_text() == "keep"


STUCK = f"""#!{sys.executable}
import sys, time
from sds_core.__main__ import main
from sds_core.runs import checkpoint

save = checkpoint.save
checkpoint.save = lambda run, stage, block, kept: time.sleep(600) if block.index else save(run, stage, block, kept)
main(sys.argv[3:])
"""
"""A Python for `python -m sds_core` that stores no block but the first."""


def test_a_killed_run_resumes_to_the_very_same_weights(finished, tiny_folder, tmp_path, monkeypatch):
    (tmp_path / "python").write_text(STUCK)
    (tmp_path / "python").chmod(0o700)
    run = create(config(tiny_folder))
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", str(tmp_path / "python"))
        process = launch([run])
    try:
        wait_for(run, BlockFinished)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait(10)
    assert run.state() == "interrupted"
    with open(run.log.path, "a") as file:
        file.write('{"kind": "blo')
    finish(run)
    assert same(weights(run), weights(finished))
    assert run.result().perplexity["final"] == finished.result().perplexity["final"]


def test_a_run_killed_before_its_result_only_measures_again(finished, tiny_folder):
    run = finish(create(config(tiny_folder)))
    (run.folder / "result.json").unlink()
    write_log(run, [event for event in run.log.read() if not isinstance(event, PerplexityMeasured | JobFinished)])
    blocks = len(run.checkpoints("final"))
    finish(run)
    assert len(of_kind(run.log.read(), BlockFinished)) == blocks
    assert run.result().perplexity == finished.result().perplexity


def test_a_flipped_bit_in_a_checkpoint_is_noticed(tiny_folder, tmp_path):
    run = finish(create(config(tiny_folder, method="base")))
    path = run.checkpoint("sparse", 1)
    data = bytearray(path.read_bytes())
    data[-7] ^= 1
    path.write_bytes(data)
    with pytest.raises(SDSError, match=r"block-001\.safetensors is not what was written"):
        export(run, str(tmp_path / "out"))


def test_full_disk_ends_the_run_and_keeps_finished_blocks(finished, tiny_folder, monkeypatch):
    real, written = tensor_files.save_file, []

    def fill_up(tensors, path, metadata=None):
        written.append(path)
        if len(written) == 2:
            raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
        real(tensors, path, metadata)

    run = create(config(tiny_folder))
    with monkeypatch.context() as patch:
        patch.setattr(tensor_files, "save_file", fill_up)
        work_here([run])
    assert run.state() == "failed"
    assert "No space left" in (recorded := run.log.read()[-1].message)
    assert "block-001.safetensors" in recorded
    assert [p.name for p in (run.folder / "phase3").iterdir()] == ["block-000.safetensors"]
    assert same(weights(finish(run)), weights(finished))


def test_cancelled_run_keeps_its_blocks_and_resumes(finished, tiny_folder, monkeypatch):
    real, run = checkpoint.save_tensors, create(config(tiny_folder))

    def cancel_then_write(path, tensors):
        run.cancel()
        real(path, tensors)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save_tensors", cancel_then_write)
        work_here([run])
    assert run.state() == "cancelled"
    assert [path.name for path in (run.folder / "phase3").iterdir()] == ["block-000.safetensors"]
    assert same(weights(finish(run)), weights(finished))


@pytest.mark.parametrize("method", ["sds", "sds-admm"])
def test_phases_one_by_one_equal_the_staged_run(tiny_folder, method):
    whole = finish(create(config(tiny_folder, method=method, schedule="staged")))
    run = finish(create(config(tiny_folder, method=method, schedule="staged", phase=1)))
    for phase in (2, 3):
        run = finish(create(branch(run.config, {}, as_parent(run, phase - 1))))
    assert same(weights(whole), weights(run))
    recorded = run.result().perplexity
    assert set(recorded) == {"dense", "sparse", "redense", "final"}
    assert {stage: recorded[stage].losses for stage in recorded} == {
        stage: value.losses for stage, value in whole.result().perplexity.items()
    }


def test_branches_share_a_phase_and_leave_it_alone(tiny_folder):
    first = finish(create(config(tiny_folder, method="sds", schedule="staged", phase=1)))
    before = weights(first)
    few = finish(create(branch(first.config, {"options": {"iterations": 1}}, as_parent(first, 1))))
    many = finish(create(branch(first.config, {"options": {"iterations": 50}}, as_parent(first, 1))))
    assert same(before, weights(first))
    assert not same(weights(few), weights(many))
    again = finish(create(branch(few.config, {"options": {"iterations": 50}}, as_parent(few, 1))))
    assert same(weights(again), weights(many)), "a second phase 2 from the same run is computed, not taken over"
    first.delete()
    assert few.result() is not None
    assert finish(create(branch(few.config, {}, as_parent(few, 2)))).state() == "finished"


def test_a_changed_model_file_is_named_on_resume(tiny_folder, tmp_path):
    model = tmp_path / "model"
    shutil.copytree(tiny_folder, model)
    run = finish(create(config(model)))
    (run.folder / "result.json").unlink()
    changed = json.loads((model / "generation_config.json").read_text()) | {"_note": 1}
    (model / "generation_config.json").write_text(json.dumps(changed))
    work_here([run])
    assert run.state() == "failed"
    assert "generation_config.json changed" in run.log.read()[-1].message


@pytest.mark.parametrize("which", ["calibration", "evaluation"])
def test_a_changed_text_is_named_on_resume(tiny_folder, tmp_path, which):
    texts = {name: tmp_path / f"{name}.txt" for name in ("calibration", "evaluation")}
    for path in texts.values():
        shutil.copy(tiny_folder / "text.txt", path)
    run = create(config(tiny_folder, method="base", **{name: str(path) for name, path in texts.items()}))
    with disk_full_at("block-001"):
        work_here([run])
    assert run.state() == "failed" and len(of_kind(run.log.read(), BlockFinished)) == 1
    texts[which].write_text(texts[which].read_text().swapcase())
    work_here([run])
    assert run.state() == "failed"
    assert f"cannot go on: the {which} text changed since it began" in run.log.read()[-1].message
    assert len(of_kind(run.log.read(), BlockFinished)) == 1


def test_a_resumed_run_has_the_threads_that_it_began_with(tiny_folder, monkeypatch):
    run = create(config(tiny_folder, method="base", threads=0))
    monkeypatch.setattr(devices, "usable_cores", lambda: 2)
    with disk_full_at("block-001"):
        work_here([run])
    monkeypatch.setattr(devices, "usable_cores", lambda: 1)
    finish(run)
    assert [event.threads for event in of_kind(run.log.read(), RunStarted)] == [2, 2]


def test_a_parent_that_has_changed_is_not_continued(tiny_folder, runs_root):
    first = finish(create(config(tiny_folder, method="sds", schedule="staged", phase=1)))
    planned = branch(first.config, {}, as_parent(first, 1))
    events = first.log.read()
    block = events.index(of_kind(events, BlockFinished)[1])
    write_log(first, [*events[:block], replace(events[block], sha256="of other weights"), *events[block + 1 :]])
    with pytest.raises(SDSError, match=f"phase 1 of run {first.id} has changed"):
        create(planned)
    assert [path.name for path in runs_root.iterdir() if path.is_dir()] == [first.id]


def test_a_run_shares_its_dense_result_with_others(tiny_folder, finished):
    runs = [create(config(tiny_folder, method=method)) for method in ("base", "adjusted", "sds-admm")]
    work_here(runs)
    assert [run.state() for run in runs] == ["finished"] * 3
    assert of_kind(runs[1].log.read(), JobQueued)
    assert same(weights(runs[2]), weights(finished)), "a run in company must equal the same run alone"
    dense = [run.result().perplexity["dense"].losses for run in runs]
    assert dense[0] == dense[1] == dense[2]


def test_weights_can_be_dropped_and_the_record_stays(tiny_folder):
    run = finish(create(config(tiny_folder, keep_weights=False, method="base")))
    assert not list(run.folder.glob("phase*"))
    assert list((run.folder / "distributions").glob("*.parquet"))
    with pytest.raises(
        SDSError, match=r"has no weights. Repeat it, keeping them: python -m sds_core run (?!.*no-keep)"
    ):
        export(run, str(run.folder / "out"))
    (run.folder / "phase1").mkdir()  # as if its worker had been killed between result and clean-up
    with pytest.raises(SDSError, match="finished already"):
        launch([run])
    assert not list(run.folder.glob("phase*"))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"model": "/nowhere/model"}, "no such model"),
        ({"pattern": "3:5"}, "does not divide the 32 inputs of layer model.layers.0.self_attn.q_proj"),
        ({"samples": 5000}, "too short for 5000 calibration windows and 1 held out: 160032 tokens are needed"),
        ({"calibration": "missing.txt"}, "no such text file"),
        ({"calibration": "self"}, "write-text"),
        ({"eval_length": 512}, "windows of 512 tokens are too long"),
        ({"exclude": "*.0.* *down"}, "no prunable layer matches --exclude: got '*down'"),
        ({"device": "cuda:99"}, "unknown device: got 'cuda:99'; allowed: auto, cpu"),
    ],
)
def test_user_errors_end_a_run_without_writing_anything(tiny_folder, changes, sentence, tmp_path, monkeypatch):
    monkeypatch.setenv("SDS_CACHE", str(tmp_path / "cache"))  # in which nobody has written a text yet
    run = create(config(tiny_folder, **changes))
    work_here([run])
    assert run.state() == "failed"
    assert sentence in run.log.read()[-1].message
    assert not list(run.folder.glob("phase*"))


def test_cure_for_an_indivisible_layer_applies(tiny_folder, tmp_path):
    folder = shutil.copytree(tiny_folder, tmp_path / "odd")
    build("llama", intermediate_size=50, vocab_size=288).save_pretrained(folder)
    cache = ModelCache(keep_dense=False)
    with pytest.raises(SDSError, match=r"divide the 50 inputs of layer model\.layers\.0\.mlp\.down_proj") as recorded:
        cache.context(config(folder))
    layers = str(recorded.value).rpartition("--exclude '")[2].rstrip("'.")
    context = cache.context(config(folder, exclude=layers))
    assert {linear.shape[1] for block in context.structure.blocks for linear in block.linears} == {32}


def test_run_resumes_in_its_first_precision(finished, tiny_folder, monkeypatch):
    asked = finish(create(config(tiny_folder, observation="bfloat16")))
    monkeypatch.setattr(run_job, "is_faster", lambda device: True)
    run = create(config(tiny_folder, observation="auto"))
    save = checkpoint.save

    def cancel_after_one(run, *args):
        run.cancel()
        return save(run, *args)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save", cancel_after_one)
        work_here([run])
    assert run.state() == "cancelled"
    monkeypatch.setattr(run_job, "is_faster", lambda device: False)
    finish(run)
    assert {event.observation for event in of_kind(run.log.read(), ModelLoaded)} == {"bfloat16"}
    assert same(weights(run), weights(asked)) and not same(weights(run), weights(finished))
    assert run.result().perplexity["dense"] == finished.result().perplexity["dense"]
    assert finished.model().observation == "model"


def test_start_tokens_and_absent_limits_are_respected(tiny_folder, tmp_path):
    folder = shutil.copytree(tiny_folder, tmp_path / "starting")
    change_config(folder, max_position_embeddings=-1)
    with_template(AutoTokenizer.from_pretrained(folder), "<s> $A").save_pretrained(folder)
    found = {}
    for bos in ("window", "text", "none"):
        run = finish(
            create(config(folder, bos=bos, method="base", pruner="magnitude", eval_length=400, eval_windows=2))
        )
        windows = evaluation_windows(load_model(str(folder)), run.config.evaluation, 2, 400, bos)
        loaded = next(event for event in run.log.read() if isinstance(event, ModelLoaded))
        assert loaded.bos == bos and loaded.evaluation.sha256 == digest(windows)
        found[bos] = windows[:, 0].tolist()
    assert found["window"] == [0, 0] and 0 not in found["text"] + found["none"]


def test_waiting_runs_of_one_worker_are_locked(tiny_folder, cache):
    device = lock.take(cache / f"{device_name(torch.device('cpu'))}.lock", "another-run")
    assert device is not None
    runs = [create(config(tiny_folder, method=method)) for method in ("base", "adjusted")]
    working = threading.Thread(target=work, args=(runs, [run.take_lock() for run in runs]))
    working.start()
    wait_for(runs[0], JobQueued)
    assert runs[0].state() == "queued"
    assert JobQueued(behind="another-run") in runs[0].log.read()
    for run in runs:
        with pytest.raises(SDSError, match="being worked on"):
            launch([run])
    os.close(device)
    working.join(60)
    for run in runs:
        assert run.state() == "finished"
        with pytest.raises(SDSError, match="finished already"):
            launch([run])


def test_run_is_finished_before_its_worker_is(tiny_folder, monkeypatch):
    first, second = (create(config(tiny_folder, method=method)) for method in ("base", "adjusted"))
    do, seen = run_job.run_job, []

    def noting(run, cache):
        seen.append((first.state(), second.state()))
        yield from do(run, cache)

    monkeypatch.setattr(run_job, "run_job", noting)
    work_here([first, second])
    assert seen == [("running", "queued"), ("finished", "queued")]


def test_internal_error_is_recorded_and_ends_the_worker(tiny_folder, monkeypatch):
    first, second, third = (create(config(tiny_folder, method="base", seed=seed)) for seed in range(3))
    do = run_job.run_job

    def breaking(run, cache):
        if run is second:
            raise RuntimeError("a defect")
        yield from do(run, cache)

    monkeypatch.setattr(run_job, "run_job", breaking)
    with pytest.raises(SystemExit):
        work_here([first, second, third])
    assert first.state() == "finished" and second.state() == "failed"
    recorded = second.log.read()[-1].message
    assert "internal error" in recorded and "a defect" in recorded and str(second.folder / "stderr.txt") in recorded
    assert "RuntimeError: a defect" in (second.folder / "stderr.txt").read_text()
    assert not (third.folder / "phase1").exists()


def test_a_run_id_opens_what_create_made(tiny_folder):
    run = create(config(tiny_folder))
    assert open_run(f"runs/{run.id}/").config == run.config


def test_branch_keeps_the_ratios_of_owl(tiny_folder):
    chosen = {"pattern": "60%", "allocation": "owl", "pruner": "wanda", "method": "sds"}
    whole = finish(create(config(tiny_folder, **chosen)))
    (event,) = of_kind(whole.log.read(), SparsityAllocated)
    blocks = of_kind(whole.log.read(), BlockFinished)
    assert len(set(event.ratios)) == len(blocks) > 1
    for ratio, block in zip(event.ratios, blocks, strict=True):
        for layer in block.layers:
            assert layer.pruned / layer.weights == pytest.approx(float(ratio), abs=0.04)
    first = finish(create(config(tiny_folder, **chosen, schedule="staged", phase=1)))
    second = finish(create(branch(first.config, {}, as_parent(first, 1))))
    allocations = [[e.ratios for e in of_kind(run.log.read(), SparsityAllocated)] for run in (first, second)]
    assert allocations == [[event.ratios]] * 2


def test_adjusted_blocks_record_their_final_weights(tiny_folder):
    alone = finish(create(config(tiny_folder, method="adjusted")))
    run = finish(create(config(tiny_folder, method="adjusted", reconstruct="block")))
    changes = [event.reconstruction for event in of_kind(run.log.read(), BlockFinished)]
    recorded = run.result().reconstruction
    assert recorded.of == len(changes) == 3 and alone.result().reconstruction is None
    assert recorded.before == pytest.approx(sum(one.before for one in changes) / 3)
    assert run.result().pruned == alone.result().pruned
    rows = layer_stats.load(run.folder)
    assert not rows.duplicated(["block", "linear", "stage", "round"]).any()
    final = rows[rows["stage"] == "final"].set_index("name")
    sparse = rows[rows["stage"] == "sparse"].set_index("name")
    assert set(final.index) == set(sparse.index)
    stored = list(weights(run).values())
    for _, row in final.iterrows():
        weight = stored[row["block"]][f"{row['linear']}.weight"]
        assert row["std"] == pytest.approx(float(weight.std(correction=0)), rel=1e-4)
    first = [name for name in final.index if final.loc[name, "block"] == 0]
    assert (final.loc[first, "mask_changed"] == 0).all()


def test_skipped_layers_stay_dense_through_phases_branches_and_export(tiny_folder, tmp_path):
    chosen = {"method": "sds", "options": {"iterations": 2, "adjust_iterations": 2}, "exclude": "*.1.* *down_proj"}
    run = finish(create(config(tiny_folder, **chosen, schedule="staged", phase=1)))
    for phase in (2, 3):
        run = finish(create(branch(run.config, {}, as_parent(run, phase - 1))))
    whole = finish(create(config(tiny_folder, **chosen, schedule="staged")))
    assert same(weights(whole), weights(run))
    skipped = run.result().excluded
    assert (
        skipped == {name: f"excluded by --exclude {'*.1.*' if '.1.' in name else '*down_proj'}" for name in skipped}
        and len(skipped) == 7 + 2
    )
    with pytest.raises(SDSError, match="keeps its parent's exclude"):
        branch(run.config, {"exclude": ""}, Parent(run.id, 2, "ab"))
    dense = load_model(str(tiny_folder)).model
    pruned = AutoModelForCausalLM.from_pretrained(export(run, str(tmp_path / "out")))
    its = dict(pruned.named_parameters())
    zeros = {name.removesuffix(".weight"): int((its[name] == 0).sum()) for name, p in its.items() if "_proj" in name}
    assert all(torch.equal(p, its[name]) for name, p in dense.named_parameters() if name[:-7] in skipped)
    assert {name for name, count in zeros.items() if count == 0} == set(skipped)
    result = run.result()
    assert result.pruned == sum(zeros.values()) == result.prunable / 2
    assert result.prunable == sum(its[f"{name}.weight"].numel() for name, count in zeros.items() if count)
    assert result.model_sparsity == sum(zeros.values()) / sum(p.numel() for p in dense.parameters())


def test_excluding_run_resumes_and_shares_its_model(tiny_folder, finished):
    chosen = {"exclude": "model.layers.0.* *.q_proj", "pattern": "60%", "allocation": "owl"}
    alone = finish(create(config(tiny_folder, **chosen)))
    runs = [create(config(tiny_folder, **chosen)), create(config(tiny_folder))]
    work_here(runs)
    assert same(weights(runs[0]), weights(alone)) and same(weights(runs[1]), weights(finished))
    events = alone.log.read()
    second = events.index(of_kind(events, BlockFinished)[1])
    write_log(alone, events[:second])
    (alone.folder / "result.json").unlink()
    before = weights(runs[0])
    assert same(weights(finish(alone)), before)


@pytest.mark.parametrize(
    "chosen",
    [
        {"method": "base", "allocation": "owl", "pattern": "60%"},
        {"method": "sds-admm", "options": {"rounds": 3}, "reconstruct": "block"},
        {"method": "sds", "schedule": "staged", "options": {"iterations": 2, "adjust_iterations": 2}},
    ],
    ids=lambda chosen: chosen["method"],
)
def test_weights_on_disk_give_the_same_bits_after_interruption(tiny_folder, tmp_path, monkeypatch, chosen):
    here = finish(create(config(tiny_folder, **chosen, weights="memory")))
    there = create(config(tiny_folder, **chosen, weights="disk"))
    monkeypatch.setenv("SDS_CACHE", str(tmp_path / "cache"))  # in which the dense model was not measured yet
    with disk_full_at("block-001"):
        work_here([there])
    assert there.state() == "failed"
    finish(there)
    assert same(weights(here), weights(there))
    assert here.result().perplexity == there.result().perplexity
    kinds = [run.model().weights for run in (here, there)]
    assert kinds == ["memory", "disk"]
    assert "--weights disk" in command(there.config)
    models = [
        AutoModelForCausalLM.from_pretrained(export(run, str(tmp_path / run.id))).state_dict() for run in (here, there)
    ]
    assert models[0].keys() == models[1].keys()
    assert all(torch.equal(tensor, models[1][name]) for name, tensor in models[0].items())


def test_runs_sharing_a_model_on_disk_start_dense(tiny_folder):
    runs = [create(config(tiny_folder, method="base", pruner=p, weights="disk")) for p in ("magnitude", "wanda")]
    work_here(runs)
    alone = finish(create(config(tiny_folder, method="base", pruner="wanda")))
    assert same(weights(runs[1]), weights(alone))
    assert runs[1].result().perplexity == alone.result().perplexity
    assert {row.run for row in side_by_side([*runs, alone])} == {run.id for run in (*runs, alone)}
