"""A checkpoint pruned elsewhere, opened against its dense model."""

import json
import shutil
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM

from sds_core.__main__ import main
from sds_core.comparison.outcomes import outcome_of
from sds_core.comparison.ranking import rank
from sds_core.errors import SDSError
from sds_core.models.load import load_model
from sds_core.models.structure import find_blocks
from sds_core.reports.export import export, pruned_model
from sds_core.reports.report import rendered
from sds_core.runs import external, layer_stats
from sds_core.runs.config import RunConfig
from sds_core.runs.events import BlockFinished, of_kind
from sds_core.runs.external import ExternalCheckpoint, external_config
from sds_core.runs.new_run import create
from sds_core.runs.run_command import command
from sds_core.runs.run_folder import ids, open_run
from tests.fixtures import byte_level_tokenizer
from tests.models.families import LLAMA, randomised
from tests.small_runs import config, finish, work_here

SMALL = "--samples 3 --length 32 --eval-windows 4 --eval-length 32 --threads 1"


def look(folder, dense, **changes):
    values = config(dense).to_dict() | changes
    return create(external_config(str(folder), str(dense), values))


@pytest.fixture(scope="module")
def pruned(tiny_folder, tmp_path_factory):
    """A finished 2:4 run of our own, and its export."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SDS_RUNS", str(tmp_path_factory.mktemp("pruned")))
        run = finish(create(config(tiny_folder, method="base", pruner="magnitude")))
        return run, export(run, str(tmp_path_factory.mktemp("out") / "pruned"))


def launch_here(runs):
    """Seconds instead of a process of its own."""
    work_here(runs)
    return SimpleNamespace(poll=lambda: 0, wait=lambda: 0)


def spoil(folder, target, change):
    """A copy of a model whose weights were changed."""
    shutil.copytree(folder, target)
    weights = load_file(target / "model.safetensors")
    change(weights)
    save_file(weights, target / "model.safetensors", metadata={"format": "pt"})
    return target


def test_exported_checkpoint_is_inspected_again(pruned, tiny_folder):
    made, folder = pruned
    run = finish(look(folder, tiny_folder))
    mine, its = made.result(), run.result()
    assert run.config.pattern == "2:4" and its.other_differing_tensors == ()
    for name in ("pruned", "prunable", "sparsity", "model_sparsity", "last"):
        assert getattr(its, name) == getattr(mine, name)
    for stage in ("dense", "sparse"):
        assert its.perplexity[stage].losses == mine.perplexity[stage].losses
    same = ["block", "linear", "stage", "zeros", "loss", "held_out", "std", "columns"]
    frames = [layer_stats.load(r.folder)[same].sort_values(same[:3]).reset_index(drop=True) for r in (made, run)]
    assert frames[0].equals(frames[1])
    files = run.model().sha256
    assert files["model.safetensors"] == load_model(str(tiny_folder)).sha256["model.safetensors"]
    assert files["checkpoint/model.safetensors"] == load_model(str(folder)).sha256["model.safetensors"]
    assert not list(run.folder.glob("phase*")), "its weights are kept where they lie"
    model = pruned_model(run).model
    assert all(
        torch.equal(p, q) for p, q in zip(model.parameters(), pruned_model(made).model.parameters(), strict=True)
    )
    (ranking,) = rank([outcome_of(made), outcome_of(run)], [])
    assert ranking.pattern == "2:4" and ranking.claims[0].log_ratio == 0
    assert "existing checkpoint" in rendered(run)[".html"]


def test_command_line_equals_the_run_it_creates(pruned, tiny_folder, capsys, runs_root, monkeypatch):
    monkeypatch.setattr("sds_core.commands.follow.launch", launch_here)
    text = tiny_folder / "text.txt"
    texts = ["--calibration", f"{text}@0-4000", "--evaluation", f"{text}@5000-9000"]
    words = ["inspect", str(pruned[1]), "--dense", str(tiny_folder), *texts, *SMALL.split()]
    assert main(words) == 0
    assert "pattern 2:4: 11,520 of 23,040 prunable weights are zero (50.0000%)" in capsys.readouterr().out
    (folder,) = runs_root.iterdir()
    run = open_run(folder.name)
    assert RunConfig.from_dict(run.raw_config()) == run.config
    assert "--method checkpoint" in command(run.config) and f"--checkpoint {pruned[1]}" in command(run.config)


def test_ratio_dense_layers_and_other_changes_are_reported(tiny_folder, tmp_path):
    def change(weights):
        generator = torch.Generator().manual_seed(0)
        for name, weight in weights.items():
            if "layers.0" in name and "_proj" in name:
                weight[torch.rand(weight.shape, generator=generator) < 0.37] = 0
        weights["model.norm.weight"] *= 1.5

    folder = spoil(tiny_folder, tmp_path / "other", change)
    run = finish(look(folder, tiny_folder))
    zeros = {n: int((w == 0).sum()) for n, w in load_file(folder / "model.safetensors").items() if "_proj" in n}
    first = sum(load_file(folder / "model.safetensors")[n].numel() for n in zeros if "layers.0" in n)
    assert run.config.pattern == f"{100 * round(sum(zeros.values()) / first, 4):g}%"
    assert run.result().pruned == sum(zeros.values())
    assert run.result().other_differing_tensors == ("model.norm.weight",)
    for event in of_kind(run.log.read(), BlockFinished):
        for layer in event.layers:
            assert layer.pruned == zeros[f"model.layers.{event.block}.{layer.linear}.weight"]
    windows = torch.randint(288, (1, 12))
    with torch.inference_mode():
        assert torch.equal(pruned_model(run).model(windows).logits, load_model(str(folder)).model(windows).logits)


def test_what_cannot_be_a_pruned_copy_is_refused(pruned, tiny_folder, tmp_path):
    def narrower(weights):
        for name, weight in weights.items():
            weights[name] = (
                weight[:40]
                if weight.shape == (48, 32)
                else weight[:, :40].contiguous()
                if "down_proj" in name
                else weight
            )

    shutil.copytree(tiny_folder, tmp_path / "copy")
    cases = {
        str(tiny_folder): "the checkpoint is the dense model itself",
        str(tmp_path / "copy"): r"nothing in .*copy is pruned: no layer has 1% zeros.*after --dense",
        str(tmp_path / "gone"): "there is no such model folder",
    }
    for folder, message in cases.items():
        with pytest.raises(SDSError, match=message):
            look(folder, tiny_folder)
    settings = json.loads((tiny_folder / "config.json").read_text()) | {"intermediate_size": 40}
    narrow = spoil(tiny_folder, tmp_path / "narrow", narrower)
    (narrow / "config.json").write_text(json.dumps(settings))
    with pytest.raises(SDSError, match=r"its model\.layers\.0\.mlp\.gate_proj\.weight is \(40, 32\), .* is \(48, 32\)"):
        look(narrow, tiny_folder)


def test_layers_that_are_zero_as_a_whole_are_told(tiny_folder, tmp_path):
    name = "model.layers.1.mlp.up_proj"
    removed = spoil(tiny_folder, tmp_path / "removed", lambda weights: weights[f"{name}.weight"].zero_())
    with pytest.raises(SDSError, match=f"all pruned layers of .* are zero as a whole, first {name}"):
        look(removed, tiny_folder)


def test_missing_folder_is_reported_before_loading_the_dense_model(tiny_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(external, "load_model", lambda *_: pytest.fail("a model was loaded"))
    with pytest.raises(SDSError, match="nowhere"):
        external_config(str(tmp_path / "nowhere"), str(tiny_folder), {})


def test_wrong_pattern_is_refused_naming_the_actual_one(pruned, tiny_folder):
    _, folder = pruned
    asked = {"method": "checkpoint", "pruner": "none", "checkpoint": str(folder), "pattern": "1:4", "weights": "memory"}
    run = create(config(tiny_folder, **asked))
    work_here([run])
    assert "does not hold the pattern 1:4. Take the one it holds: --pattern 2:4" in run.log.read()[-1].message


@pytest.mark.parametrize("given", [{"method": "checkpoint"}, {"checkpoint": "x"}, {"pruner": "none"}])
def test_the_three_options_go_together(given):
    with pytest.raises(SDSError, match=r"go together.*sds_core inspect"):
        RunConfig(**given)


def prune_2_of_4(weight):
    """Zero the two smallest of every four neighbours along the last axis."""
    groups = weight.view(*weight.shape[:-1], -1, 4)
    groups.scatter_(-1, groups.abs().argsort(-1)[..., :2], 0)


@pytest.fixture(scope="module")
def mixture(tmp_path_factory):
    """A Mixtral whose experts are stored as one tensor each way, and copies pruned 2:4 in the routers alone, also in
    the experts, and also in the attention, with their numbers of zeros."""
    folder = tmp_path_factory.mktemp("mixture")
    options = LLAMA | {"num_local_experts": 4, "num_experts_per_tok": 2, "vocab_size": 288}
    model = randomised(AutoModelForCausalLM.from_config(AutoConfig.for_model("mixtral", **options)))
    zeros = {}
    for name, part in (("dense", ()), ("routers", ("gate",)), ("experts", ("experts",)), ("all", ("self_attn",))):
        for key, parameter in model.named_parameters():
            if any(f".{word}." in key for word in part):
                prune_2_of_4(parameter.data)
        model.save_pretrained(folder / name)
        byte_level_tokenizer().save_pretrained(folder / name)
        stored = load_file(folder / name / "model.safetensors").values()
        zeros[name] = sum(int((tensor == 0).sum()) for tensor in stored), sum(tensor.numel() for tensor in stored)
    return folder, zeros


def test_zeros_in_experts_are_reported_beside_the_masks(mixture, tiny_folder, capsys, monkeypatch, runs_root):
    folder, zeros = mixture
    texts = f"--calibration {tiny_folder}/text.txt@0-4000 --evaluation {tiny_folder}/text.txt@5000-9000 --partial"
    monkeypatch.setattr("sds_core.commands.follow.launch", launch_here)
    assert main(["inspect", str(folder / "all"), "--dense", str(folder / "dense"), *texts.split(), *SMALL.split()]) == 0
    (run,) = map(open_run, ids())
    result, (count, total) = run.result(), zeros["all"]
    prunable = 3 * (32 * 32 * 2 + 16 * 32 * 2 + 4 * 3 * 32 * 48)
    assert (result.pruned, result.prunable) == (prunable // 2, prunable)
    assert (result.zeros, result.total) == (count, total) and count / total > 0.35
    assert f"prunable weights are zero (50.0000%), {count:,} of all {total:,} ({count / total:.4%})" in (
        capsys.readouterr().out
    )


def test_a_checkpoint_pruned_in_its_experts_alone_is_opened(mixture):
    folder, _ = mixture
    assert look(folder / "experts", folder / "dense").config.pattern == "2:4"
    dense = load_model(str(folder / "dense"))
    pruned = ExternalCheckpoint(str(folder / "experts"), dense, find_blocks(dense.model)).pruned_layers()
    assert len(pruned) == 3 * 4 * 2 and all(".mlp.experts." in name for name in pruned)
    assert all((mask.view(len(mask), -1, 4).sum(-1) == 2).all() for mask in pruned.values())


def test_checkpoint_pruned_only_in_routers_is_refused(mixture):
    folder, zeros = mixture
    count, total = zeros["routers"]
    where = r"model\.layers\.0\.mlp\.gate\.weight \(50\.00%\)"
    with pytest.raises(SDSError, match=f"{count / total:.2%} of all weights of .* are zero, but no .* {where}"):
        look(folder / "routers", folder / "dense")
