"""The numbers that lie beside a report: the statistics of every layer as CSV, the whole record as JSON."""

import json
import math
from dataclasses import asdict
from typing import Any

import pandas as pd

from sds_core.comparison.references import claims_about
from sds_core.runs import note
from sds_core.runs.distribution_files import LISTS
from sds_core.runs.events import ModelLoaded
from sds_core.runs.run_folder import Run
from sds_core.runs.run_result import RunResult
from sds_core.runs.typed_json import to_json


def as_csv(layers: pd.DataFrame) -> str:
    """Return the statistics of every layer and stage; lists, such as a histogram's counts, are in the JSON only."""
    return layers.drop(columns=list(LISTS), errors="ignore").to_csv(index=False)


def as_json(run: Run, result: RunResult, model: ModelLoaded, layers: pd.DataFrame) -> str:
    """Return the whole record."""
    whole = {
        "run": run.id,
        "note": note.read(run),
        "config": run.config.to_dict(),
        "result": to_json(result),
        "claims": _plain({role: asdict(against) for role, against in claims_about(run).items()}),
        "model": to_json(model),
        "layers": [_plain(row) for row in layers.to_dict("records")],
    }
    return json.dumps(whole, ensure_ascii=False, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    """Values of the record as JSON knows them; what is not a number becomes null."""
    if isinstance(value, dict):
        return {str(key): _plain(content) for key, content in value.items()}
    if hasattr(value, "tolist"):
        value = value.tolist()
    return None if isinstance(value, float) and not math.isfinite(value) else value
