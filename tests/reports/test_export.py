"""Exported folders of several families: loaded by transformers alone they are the run's final model, to the bit."""

import json
import math
import re
import shutil
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from sds_core.models.calibration import evaluation_windows
from sds_core.models.companion_files import copy_companions
from sds_core.models.gguf_import import convert_gguf
from sds_core.models.load import load_model
from sds_core.models.structure import find_blocks
from sds_core.reports.export import export
from sds_core.runs.checkpoint import Checkpoints
from sds_core.runs.external import external_config
from sds_core.runs.new_run import create
from tests.fixtures import byte_level_tokenizer
from tests.models.families import LLAMA, build, build_any, randomised
from tests.models.folders import change_config, change_weights
from tests.models.gguf_files import write_gguf
from tests.small_runs import config, finish

TOKENS = {"vocab_size": 288, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
ROUTED = {**LLAMA, **TOKENS, "num_hidden_layers": 2, "num_experts": 4, "moe_topk": [2, 2], "head_dim": 8}


def tied() -> PreTrainedModel:
    return build("llama", tie_word_embeddings=True, **TOKENS)


def half() -> PreTrainedModel:
    return build("qwen3", **TOKENS).to(torch.bfloat16)


def routers() -> PreTrainedModel:
    settings = AutoConfig.for_model("hunyuan_v1_moe", **ROUTED)
    return randomised(AutoModelForCausalLM.from_config(settings, dtype=torch.float32))


CASES = {
    "Conv1D and tied": lambda: build("gpt2", **TOKENS),
    "tied": tied,
    "fused qkv": lambda: build("gpt_neox", **TOKENS),
    "bf16": half,
    "experts and routers": routers,
    "experts in one tensor": lambda: build_any("mixtral", **TOKENS),
    "experts transposed": lambda: build_any("gpt_oss", **TOKENS),
    "experts all multiplied at once": lambda: build_any("llama4_text", **TOKENS),
}


def saved(folder: Path, model: PreTrainedModel, **how: str) -> Path:
    model.save_pretrained(folder, **how)
    byte_level_tokenizer().save_pretrained(folder)
    return folder


def check(source: Path, out: Path, text: Path) -> PreTrainedModel:
    """Prune, export, load with transformers; compare with what the run stored and measured."""
    texts = {"calibration": f"{text}@0-4000", "evaluation": f"{text}@5000-9000"}
    run = finish(create(config(source, method="base", pruner="magnitude", partial=True, **texts)))
    dense = load_model(str(source)).model
    exported = AutoModelForCausalLM.from_pretrained(export(run, str(out))).eval()
    assert {p.dtype for p in exported.parameters()} == {p.dtype for p in dense.parameters()}
    stored, zeros, names = Checkpoints(run, "sparse"), 0, set()
    for block in find_blocks(exported).blocks:
        for linear in block.linears:
            kept = stored.sparse(linear)
            assert torch.equal(linear.weight.float(), kept.weight) and not kept.weight[~kept.mask].any()
            zeros += int((linear.weight == 0).sum())
            names.add(linear.parameter_name)
    assert zeros == run.result().pruned == run.result().prunable // 2
    theirs = dense.state_dict()
    assert all(torch.equal(t, theirs[name]) for name, t in exported.state_dict().items() if name not in names)
    assert len(names) < len(theirs)
    windows = evaluation_windows(load_model(str(source)), texts["evaluation"], 4, 32)
    with torch.inference_mode():
        losses = [float(exported(window[None], labels=window[None]).loss) for window in windows]
    measured = run.result().perplexity["sparse"]
    assert measured.losses == pytest.approx(losses, rel=1e-5 if exported.dtype == torch.float32 else 1e-2)
    assert math.isfinite(measured.value)
    return exported


@pytest.mark.parametrize("case", CASES)
def test_an_exported_model_is_the_runs_own(case: str, tiny_folder: Path, tmp_path: Path) -> None:
    model = CASES[case]()
    exported = check(saved(tmp_path / "model", model), tmp_path / "out", tiny_folder / "text.txt")
    ties = [m.get_input_embeddings().weight is m.get_output_embeddings().weight for m in (model, exported)]
    assert ties[0] == ties[1] == ("tied" in case)
    assert exported.dtype == model.dtype


def test_a_model_in_several_files_is_exported_whole(tiny_folder: Path, tmp_path: Path) -> None:
    folder = saved(tmp_path / "model", build("llama", **TOKENS), max_shard_size="30KB")
    assert len(list(folder.glob("model-*.safetensors"))) > 2
    check(folder, tmp_path / "out", tiny_folder / "text.txt")


def test_gguf_model_is_exported_like_any_other(tiny_folder: Path, tmp_path: Path) -> None:
    path = write_gguf(tiny_folder, tmp_path / "tiny.gguf")
    exported = check(path, tmp_path / "out", tiny_folder / "text.txt")
    assert not hasattr(exported.config, "quantization_config")
    assert convert_gguf(path) != tmp_path / "out"


@pytest.mark.parametrize("weights", ["memory", "disk"])
def test_card_counts_zeros_outside_the_masks(weights: str, tiny_folder: Path, tmp_path: Path) -> None:
    """A model in which 70 % of each layer are zero already, pruned by 50 %."""
    folder = shutil.copytree(tiny_folder, tmp_path / "sparse")

    def thin(tensors: dict[str, torch.Tensor]) -> None:
        for name, tensor in tensors.items():
            if "proj" in name:
                flat = tensor.view(-1)
                flat[flat.abs().argsort()[: round(0.7 * flat.numel())]] = 0

    change_weights(folder, thin)
    run = finish(create(config(folder, method="base", pruner="magnitude", pattern="50%", weights=weights)))
    out = export(run, str(tmp_path / "out"))
    stored = {name: t for file in out.glob("*.safetensors") for name, t in load_file(file).items()}
    zeros, total = sum(int((t == 0).sum()) for t in stored.values()), sum(t.numel() for t in stored.values())
    assert run.result().zeros == zeros > 1.39 * run.result().pruned and run.result().total == total
    assert f"| exactly zero, pruned or not | {zeros:,} of all weights ({zeros / total:.4%}) |" in (
        out / "README.md"
    ).read_text(encoding="utf-8")


def test_card_of_a_checkpoint_does_not_say_how_it_was_pruned(tiny_folder: Path, tmp_path: Path) -> None:
    pruned = export(finish(create(config(tiny_folder, method="base"))), str(tmp_path / "pruned"))
    its = finish(create(external_config(str(pruned), str(tiny_folder), config(tiny_folder).to_dict())))
    card = (export(its, str(tmp_path / "out")) / "README.md").read_text(encoding="utf-8")
    assert f"Pruned elsewhere, as found in {pruned}: how is not known." in card
    assert "without training" not in card and "calibrated on" not in card and "output errors observed on" in card


CODE = {"AutoConfig": "configuration_own.OwnConfig", "AutoModelForCausalLM": "modeling_own.OwnForCausalLM"}


@pytest.fixture
def furnished(tiny_folder: Path, tmp_path: Path) -> Path:
    """A model folder with all that people have in theirs, and fields that name code of its repository."""
    folder = shutil.copytree(tiny_folder, tmp_path / "furnished")
    (folder / "processor_config.json").write_text('{"processor_class":   "OwnProcessor"}')
    (folder / "preprocessor_config.json").write_text('{"size": 224,\n\n"image_mean": [0.5]}')
    (folder / "generation_config.json").write_text('{"bos_token_id": 0,  "eos_token_id": [0, 5], "temperature": 0.6}')
    (folder / "chat_template.jinja").write_text("{{ messages[0].content }}\r\n")
    (folder / "video_preprocessor_config.json").write_text("{broken")
    (folder / "LICENSE").write_bytes("Ωwn licence\n".encode())
    (folder / "modeling_own.py").write_text("raise SystemExit")
    tokenizer = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(
        json.dumps(tokenizer | {"tokenizer_class": "PreTrainedTokenizerFast"}, indent=5)
    )
    change_config(folder, auto_map=CODE, architectures=["OwnForCausalLM"], rope_theta=500.0, torch_dtype="float32")
    return folder


@pytest.mark.parametrize("weights", ["memory", "disk"])
def test_files_beside_the_weights_come_along_byte_for_byte(weights: str, furnished: Path, tmp_path: Path) -> None:
    run = finish(create(config(furnished, method="base", pruner="magnitude", weights=weights)))
    out = export(run, str(tmp_path / "out"))
    names = ("tokenizer.json", "tokenizer_config.json", "processor_config.json", "preprocessor_config.json")
    for name in (*names, "video_preprocessor_config.json", "generation_config.json", "chat_template.jinja", "LICENSE"):
        assert (out / name).read_bytes() == (furnished / name).read_bytes(), name
    assert not [path.name for path in out.iterdir() if path.suffix == ".py"]
    mine, its = (json.loads((folder / "config.json").read_text()) for folder in (out, furnished))
    changed = {"auto_map", "architectures", "tie_word_embeddings"}
    assert {key: mine[key] for key in mine if key not in changed} == {k: its[k] for k in its if k not in changed}
    assert mine["architectures"] == ["LlamaForCausalLM"] and "auto_map" not in mine
    for trusted in (False, True):
        loaded: PreTrainedModel = AutoModelForCausalLM.from_pretrained(out, trust_remote_code=trusted)
        assert type(loaded).__name__ == "LlamaForCausalLM"
        assert AutoTokenizer.from_pretrained(out, trust_remote_code=trusted)("half").input_ids


def test_code_that_a_tokenizer_names_does_not_come_along(furnished: Path, tmp_path: Path) -> None:
    path = furnished / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"auto_map": {"AutoTokenizer": ["own.Own", None]}}))
    copy_companions(furnished, tmp_path)
    assert "auto_map" not in json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert AutoTokenizer.from_pretrained(tmp_path, trust_remote_code=True)("half").input_ids


def test_every_file_of_a_tokenizer_comes_along(tmp_path: Path) -> None:
    sources = (Path(transformers.__file__).parent / "models").glob("*/tokenization_*.py")
    declared = re.compile(r'"\w+_file": "([\w.-]+)"')
    names = {name for path in sources for name in declared.findall(path.read_text(encoding="utf-8"))}
    assert {"tokenizer.json", "emoji.json", "spiece.model", "bpe.codes"} < names
    (tmp_path / "model").mkdir()
    (tmp_path / "out").mkdir()
    for name in (*names, "tekken.json", "notes.txt", "trainer_state.json"):
        (tmp_path / "model" / name).write_text("{}")
    copy_companions(tmp_path / "model", tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {*names, "tekken.json"}


def test_a_tokenizers_class_is_one_that_transformers_4_knows(tiny_folder: Path, tmp_path: Path) -> None:
    assert json.loads((tiny_folder / "tokenizer_config.json").read_text())["tokenizer_class"] == "TokenizersBackend"
    copy_companions(tiny_folder, tmp_path)
    assert json.loads((tmp_path / "tokenizer_config.json").read_text())["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert AutoTokenizer.from_pretrained(tmp_path)("half").input_ids == byte_level_tokenizer()("half").input_ids


@pytest.mark.parametrize("weights", ["memory", "disk"])
def test_shared_tensors_are_stored_once(weights: str, tiny_folder: Path, tmp_path: Path) -> None:
    folder = saved(tmp_path / "model", tied())
    change_weights(folder, lambda t: t.update({"lm_head.weight": t["model.embed_tokens.weight"].clone()}))
    texts = {"calibration": f"{tiny_folder}/text.txt@0-4000", "evaluation": f"{tiny_folder}/text.txt@5000-9000"}
    run = finish(create(config(folder, method="base", pruner="magnitude", weights=weights, **texts)))
    out = export(run, str(tmp_path / "out"))
    stored = [name for file in out.glob("*.safetensors") for name in load_file(file)]
    assert stored.count("model.embed_tokens.weight") == 1 and "lm_head.weight" not in stored
    model = AutoModelForCausalLM.from_pretrained(out)
    assert model.lm_head.weight is model.get_input_embeddings().weight
    assert torch.equal(model.lm_head.weight, load_model(str(folder)).model.lm_head.weight)


def test_configuration_has_precision_and_untied_head(tiny_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_folder, tmp_path / "model")
    change_config(folder, tie_word_embeddings=True)
    run = finish(create(config(folder, method="base", pruner="magnitude", dtype="bfloat16")))
    model = AutoModelForCausalLM.from_pretrained(export(run, str(tmp_path / "out")))
    assert model.dtype == torch.bfloat16 and model.lm_head.weight is not model.get_input_embeddings().weight


@pytest.mark.parametrize("name", ["gpt_neox", "gpt2", "llama"])
def test_model_on_disk_is_exported_with_its_source_tensors(name: str, tiny_folder: Path, tmp_path: Path) -> None:
    """Also where transformers calls a tensor otherwise than the files, as it does the head of GPT-NeoX."""
    folder = saved(tmp_path / "model", build(name, **TOKENS))
    texts = {"calibration": f"{tiny_folder}/text.txt@0-4000", "evaluation": f"{tiny_folder}/text.txt@5000-9000"}
    run = finish(create(config(folder, method="base", pruner="magnitude", weights="disk", **texts)))
    out = export(run, str(tmp_path / "out"))
    stored = {name: tensor for file in out.glob("*.safetensors") for name, tensor in load_file(file).items()}
    source = load_file(folder / "model.safetensors")
    assert stored.keys() == source.keys()
    assert set(stored) == set(json.loads((out / "model.safetensors.index.json").read_text())["weight_map"])
    changed = [name for name in source if not torch.equal(stored[name], source[name])]
    pruned = {
        f"{linear.name}.weight" for b in find_blocks(load_model(str(folder)).model).blocks for linear in b.linears
    }
    assert set(changed) == pruned
