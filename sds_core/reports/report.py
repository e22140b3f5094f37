"""Report a finished run as one self-contained HTML file: figures, tables, and all it takes to repeat and cite it.

Its numbers go into files beside it: the statistics of every layer as CSV, the whole record as JSON.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from sds_core.comparison.claims import words
from sds_core.comparison.references import claims_about
from sds_core.errors import SDSError
from sds_core.figures import layer as layer_figures
from sds_core.figures.error_map import error_map
from sds_core.figures.markup import html
from sds_core.figures.style import Figure
from sds_core.files import make_folder, require_space, user_path, write_text
from sds_core.pruning.perplexity import format_perplexity, format_ratio
from sds_core.pruning.stages import STAGE_NAMES
from sds_core.reports.report_numbers import as_csv, as_json
from sds_core.runs import layer_stats, note
from sds_core.runs.events import ModelLoaded
from sds_core.runs.excluded_layers import ExcludedLayers, excluded_layers
from sds_core.runs.names import name_of
from sds_core.runs.planned import repeat
from sds_core.runs.run_folder import Run
from sds_core.runs.run_result import RunResult
from sds_core.runs.typed_json import to_json

POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
"""The browser itself refuses any request that the file might make."""
STYLE = """
@page { size: A4; margin: 14mm }
body { font: 15px/1.45 system-ui, sans-serif; color: #1d2127; background: #fff; max-width: 680px; margin: 2em auto;
  padding: 0 1em }
h1 { font-size: 1.6em } h2 { font-size: 1.15em; margin-top: 1.8em; break-after: avoid }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; vertical-align: top; padding: .2em .8em .2em 0; border-bottom: 1px solid #d9dde3;
  overflow-wrap: anywhere }
tr, figure, pre { break-inside: avoid }
figure { margin: 1em 0; width: 680px; max-width: 100% } figcaption { color: #555b65; font-size: .93em }
pre, code { font: 13px/1.4 ui-monospace, monospace; white-space: pre-wrap; overflow-wrap: anywhere }
.note { white-space: pre-wrap; overflow-wrap: anywhere }
@media print { body { margin: 0; padding: 0; max-width: none } .modebar { display: none !important } }
"""
SPACE = 64 << 20
"""Bytes that a report and its files may take."""


def rendered(run: Run) -> dict[str, str]:
    """The contents of a report's files by their suffix: .html, .csv and .json.

    Raises:
        SDSError: the run is not finished.
    """
    result = run.finished_result()
    layers = layer_stats.load(run.folder)
    model = run.model()
    return {
        ".html": _page(run, result, model, layers),
        ".csv": as_csv(layers),
        ".json": as_json(run, result, model, layers),
    }


def report(run: Run, file: str) -> list[Path]:
    """Write FILE.html and beside it FILE.csv and FILE.json; returns the three.

    Raises:
        SDSError: the run is not finished, the name does not end in .html, or one of the files exists.
    """
    page = user_path(file).resolve()
    if page.suffix.lower() != ".html":
        raise SDSError("a report is one HTML file", got=file, allowed="a name that ends in .html")
    paths = [page, page.with_suffix(".csv"), page.with_suffix(".json")]
    if existing := [path.name for path in paths if path.exists()]:
        raise SDSError(f"{' and '.join(existing)} in {page.parent} would be overwritten", cure="choose another name")
    texts = rendered(run)
    make_folder(page.parent)
    require_space(page.parent, SPACE)
    try:
        for path, text in zip(paths, texts.values(), strict=True):
            write_text(path, text)
    except SDSError:
        for path in paths:  # all are new; a partial report would block the next attempt
            path.unlink(missing_ok=True)
        raise
    return paths


def _page(run: Run, result: RunResult, model: ModelLoaded, layers: pd.DataFrame) -> str:
    from plotly.offline import get_plotlyjs

    config = run.config
    title = config.title or run.id
    what = f"{name_of(config)} · {config.pattern} · {config.model}"
    drawn, commands = _pictures(layers), "\n".join(repeat(config))
    body = [
        f"<h1>{html(title)}</h1>",
        f"<p>{html(what)}. {_sentence(result)}</p>",
        *(f'<p class="note">{html(text)}</p>' for text in [note.read(run)] if text),
        "<h2>Perplexity</h2>",
        _perplexities(result),
        *_compared(run),
        *(_figure(number, caption) for number, (_, caption) in enumerate(drawn)),
        *_excluded(excluded_layers(result.excluded)),
        "<h2>Configuration</h2>",
        _pairs((name.replace("_", " "), value) for name, value in config.to_dict().items() if value not in ("", None)),
        "<h2>Texts and files</h2>",
        _pairs(_identity(result, model)),
        "<h2>To repeat it</h2>",
        f"<pre>{html(commands)}</pre>",
        _pairs(to_json(result.software).items()),
        "<h2>To cite it</h2>",
        f"<p>Sparse-Dense-Sparse: Li et al., COLING 2025, arXiv 2408.10473. Made with SDS Studio "
        f"{html(result.software.version)}, run <code>{html(run.id)}</code>.</p>",
    ]
    library = f"<script>{get_plotlyjs()}</script>" if drawn else ""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        f"<title>{html(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(body)
        + f"\n{library}\n{_script([figure for figure, _ in drawn])}\n</body>\n</html>\n"
    )


def _sentence(result: RunResult) -> str:
    pruned = f"{result.pruned:,} of {result.prunable:,} prunable weights ({100 * result.sparsity:.2f} %)"
    share = f"{100 * result.model_sparsity:.2f} % of all {result.total:,}"
    zero = f"Exactly zero are {100 * result.zero_share:.2f} % of all."
    then = result.distillation.sentence if result.distillation else ""
    return " ".join(filter(None, [f"Pruned are {pruned}, which is {share}.", zero, result.experts, then]))


def _perplexities(result: RunResult) -> str:
    """A row a stage: perplexity, and its ratio to the dense model with the paired standard error over windows."""
    rows, routed = [], any(measured.routes for measured in result.perplexity.values())
    for stage, measured in result.perplexity.items():
        paired = "" if stage == "dense" else format_ratio(measured.log_ratio, measured.error)
        experts = f"{100 * measured.routes.changed:.1f} %" if measured.routes else ""
        row = [STAGE_NAMES[stage], format_perplexity(measured.value), paired, len(measured.losses)]
        rows.append([*row, experts] if routed else row)
    head = ["weights", "perplexity", "ratio to dense ± standard error", "windows"]
    return _table([*head, "tokens sent to other experts"] if routed else head, rows)


def _compared(run: Run) -> list[str]:
    """Return the claims about the run against its base pruner and its control, where these have been run."""
    name = name_of(run.config)
    claims = claims_about(run)
    found = [words(against.claim, name, against.name) for role, against in claims.items() if role != "dense"]
    return ["<h2>Compared</h2>", *(f"<p>{html(sentence)}</p>" for sentence in found)] if found else []


def _pictures(layers: pd.DataFrame) -> list[tuple[Figure, str]]:
    """Return the map of all layers, and the weights of the one with the largest error, with their captions."""
    if layers.empty:
        return []
    stage = next((s for s in ("final", "sparse", "redense") if (layers["stage"] == s).any()), "dense")
    of_stage = layers[(layers["stage"] == stage) & (layers["round"] == 0)].sort_values("block", kind="stable")
    if of_stage["loss"].isna().all():  # or there is no row
        return []
    worst = of_stage.loc[of_stage["loss"].idxmax()]
    cell = (int(worst["block"]), str(worst["linear"]))
    layer = layers[(layers["block"] == cell[0]) & (layers["linear"] == cell[1])]
    name = html(f"block {cell[0]}, {cell[1]}")
    return [
        (
            error_map(of_stage, cell),
            f"Output error (squared) of every layer, {STAGE_NAMES[stage]} weights: 0 % is the dense layer. Framed is "
            f"the largest, {name}.",
        ),
        (
            layer_figures.ridges(layer),
            f"Weights of {name}, stage by stage: areas are shares of the weights, exact zeros are in the label, the "
            "grey outline is the dense layer.",
        ),
    ]


def _excluded(found: list[ExcludedLayers]) -> list[str]:
    """The layers that are not pruned, by reason."""
    if not found:
        return []
    rows = [[layers.reason, layers.count, ", ".join(layers.names)] for layers in found]
    return ["<h2>Excluded layers</h2>", _table(["why", "layers", "names"], rows)]


def _identity(result: RunResult, model: ModelLoaded) -> Iterable[tuple[str, Any]]:
    for name, used in (("calibration", result.calibration), ("evaluation", result.evaluation)):
        yield f"{name} text, as used", used.text
        yield f"SHA-256 of its {name} windows", used.sha256
    yield "dtype", model.dtype
    yield "device", model.device
    for name, sha256 in model.sha256.items():
        yield f"SHA-256 of {name}", sha256


def _pairs(pairs: Iterable[tuple[str, Any]]) -> str:
    return _table([], [[name, value] for name, value in pairs if value != ""])


def _table(head: list[str], rows: list[list[Any]]) -> str:
    """Cells are escaped: titles, names and paths are the user's."""
    lines = [f"<tr>{''.join(f'<td>{html(str(cell))}</td>' for cell in row)}</tr>" for row in rows]
    first = f"<tr>{''.join(f'<th>{html(cell)}</th>' for cell in head)}</tr>" if head else ""
    return f"<table>{first}{''.join(lines)}</table>"


def _figure(number: int, caption: str) -> str:
    return f'<figure><div id="figure-{number}"></div><figcaption>{caption}</figcaption></figure>'


def _script(drawn: list[Figure]) -> str:
    """Draws the figures; `<` is written as an escape, so that no name can end the script."""
    if not drawn:
        return ""
    data = json.dumps(drawn, allow_nan=False).replace("<", "\\u003c")
    return (
        f'<script>{data}.forEach((figure, i) => Plotly.newPlot("figure-" + i, figure.data, figure.layout, '
        "{displaylogo: false, toImageButtonOptions: {scale: 3}}));</script>"
    )
