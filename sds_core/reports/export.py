"""A finished run as a model folder that `AutoModelForCausalLM.from_pretrained` loads, with a model card."""

from pathlib import Path

from huggingface_hub import ModelCard, ModelCardData

from sds_core.comparison.claims import short
from sds_core.comparison.references import claims_about
from sds_core.errors import SDSError
from sds_core.files import make_folder, require_space, user_path
from sds_core.models.companion_files import copy_companions, write_config
from sds_core.models.tensor_files import new_model_folder
from sds_core.pruning.methods import METHODS
from sds_core.pruning.perplexity import format_perplexity
from sds_core.runs.names import last_stage, made_by, name_of
from sds_core.runs.planned import repeat
from sds_core.runs.pruned_model import pruned_model
from sds_core.runs.run_folder import Run

BOS_WORDS = {"window": "at the start of every window", "text": "at the start of the text", "none": "none"}
"""How the card says where start tokens stand."""


def export(run: Run, folder: str) -> Path:
    """Write the pruned model, the files beside it and a card made from the record into a new folder; return it.

    Raises:
        SDSError: the run is not finished or has no weights, the folder is in use, its model has changed.
    """
    target = user_path(folder).resolve()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise SDSError("the folder to export to is in use", got=folder, allowed="a new or empty folder")
    loaded = pruned_model(run, run.config.weights)
    make_folder(target.parent)
    require_space(target.parent, sum(p.numel() * p.element_size() for p in loaded.model.parameters()))
    with new_model_folder(target) as made:
        loaded.store.save(loaded.model, made)
        copy_companions(loaded.folder, made)
        write_config(loaded.folder, made, loaded.model)
        _card(run).save(made / "README.md")
    return target


def _card(run: Run) -> ModelCard:
    """Return the model card: the method, its options and its results, from the record."""
    result, config = run.finished_result(), run.config
    made = made_by(config, last_stage(config))
    name, method, windows = name_of(config), METHODS[made.method], len(result.dense_perplexity.losses)
    observed = "output errors observed on" if config.checkpoint else "calibrated on"
    lines = [
        f"# {name}, {config.pattern}, of {config.model}",
        "",
        f"Pruned elsewhere, as found in {config.checkpoint}: how is not known."
        if config.checkpoint
        else f"Pruned {'' if result.distillation else 'without training '}by {name}"
        + (" (Sparse-Dense-Sparse: Li et al., arXiv 2408.10473)." if method.redenses else "."),
        *(["", result.distillation.sentence] if result.distillation else []),
        "",
        "| | |",
        "|---|---|",
        f"| pruned weights | {result.pruned:,} of {result.prunable:,} prunable ({result.sparsity:.4%}) |",
        f"| of all weights | {result.model_sparsity:.4%} of {result.total:,} |",
        f"| exactly zero, pruned or not | {result.zeros:,} of all weights ({result.zero_share:.4%}) |",
    ]
    for stage, measured in result.perplexity.items():
        lines.append(f"| perplexity, {stage} | {format_perplexity(measured.value)} |")
    for role, against in claims_about(run).items():
        verdict = "" if role == "dense" else f", {against.claim.verdict}"
        lines.append(f"| × {against.name}, ± windows ± seeds | {short(against.claim)}{verdict} |")
    lines += [
        f"| measured on | {config.texts[1]}, {windows} windows of {config.eval_length} tokens |",
        f"| start tokens in windows | {BOS_WORDS[run.model().bos]} |",
        f"| {observed} | {config.texts[0]}, {config.samples} windows of {config.length} tokens |",
        "",
        "Zeros are stored like any other weight: the files are as large as the dense model's, and speed needs kernels "
        "that know the pattern.",
        "",
        "```",
        *repeat(config),
        "```",
    ]
    data = ModelCardData(library_name="transformers", pipeline_tag="text-generation", tags=["pruning", "sparse"])
    return ModelCard(f"---\n{data.to_yaml()}\n---\n\n" + "\n".join(lines) + "\n")
