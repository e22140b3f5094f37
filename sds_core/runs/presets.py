"""Named sets of options: minutes on a laptop, the best quality, the paper's settings."""

from sds_core.options import Overrides

PRESETS: dict[str, Overrides] = {
    "quick": {"samples": 8, "length": 512, "eval_windows": 16, "eval_length": 512},
    "best": {
        "method": "sds-admm",
        "samples": 32,
        "length": 1024,
        "held_out": 4,
        "eval_windows": 64,
        "eval_length": 1024,
        "reconstruct": "block",
    },
    "paper": {
        "method": "sds",
        "schedule": "staged",
        "calibration": "hub:allenai/c4:en:train:text",
        "samples": 128,
        "length": 2048,
        "evaluation": "hub:Salesforce/wikitext:wikitext-2-raw-v1:test:text",
        "eval_windows": 0,
        "eval_length": 2048,
        "eval_rows": "whole",
        "bos": "text",
        "options": {
            "iterations": 200,
            "learning_rate": 0.1,
            "l1": 0.1,
            "l2": 0.1,
            "adjust_iterations": 200,
            "alpha": 0.0,
        },
    },
}
"""Options by preset; `paper` holds the paper's settings as far as they are known.

Its `learning_rate`, `l1` and `l2` are the paper's digits in our units, 1/λ_max and for `l1` the mean |V|. The paper
names no optimiser, so whether they make the same steps and penalties is not known.
"""
