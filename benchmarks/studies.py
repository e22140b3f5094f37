"""The settings of each study in quality.py, as changes to the defaults of `RunConfig`."""

from typing import Any

from sds_core.runs.presets import PRESETS
from sds_core.runs.run_options import ALLOCATIONS

Changes = dict[str, Any]
"""Fields of `RunConfig` that differ from their defaults."""

BASES: list[Changes] = [{"method": "base", "pruner": pruner} for pruner in ("magnitude", "wanda", "sparsegpt")]
CONTROLS: list[Changes] = [
    {"method": method, "pruner": pruner}
    for pruner in ("wanda", "sparsegpt")
    for method in ("swaps", "straight-through", "adjusted")
] + [
    {"method": "adjusted", "pruner": pruner, "options": {"beta": 0.2, "sequential": True}}
    for pruner in ("wanda", "sparsegpt")
]
BLOCKS: list[Changes] = [
    {"method": "sds-admm", "pruner": "wanda", "reconstruct": "block"},
    {"method": "adjusted", "pruner": "wanda", "reconstruct": "block", "options": {"beta": 0.2, "sequential": True}},
]
METHODS: list[Changes] = [
    {"method": method, "pruner": pruner} for pruner in ("wanda", "sparsegpt") for method in ("sds", "sds-admm")
]
DEVELOPMENT = {"samples": 16, "length": 512, "eval_windows": 24, "eval_length": 512}
ADMM = {"method": "sds-admm", "pruner": "wanda"}
RECONSTRUCTED: list[Changes] = [
    {},
    {"reconstruct": "submodule"},
    {"reconstruct": "block"},
    {"reconstruct": "model", "reconstruct_windows": 64},
]
"""From single matrices to the whole model."""

DISTILLED: list[Changes] = [
    {**PRESETS["best"], "pruner": "wanda", "reconstruct_windows": 64, **setting}
    for setting in (
        {"method": "sds-admm", "reconstruct": "block model"},
        {"method": "adjusted", "reconstruct": "block model", "options": {"beta": 0.2, "sequential": True}},
        {"method": "base", "reconstruct": "model"},
        {"method": "base", "pruner": "sparsegpt", "reconstruct": "model"},
        {"method": "sds", "reconstruct": "model"},
        {"method": "base", "reconstruct": "model", "reconstruct_windows": 160},
        {"method": "sds-admm", "reconstruct": "block model", "pattern": "50%"},
    )
]
"""Each measured before and after; the last at 2:4 is Wanda retrained for about as long as the first takes in all."""

QUICK = PRESETS["quick"] | {"eval_windows": 24}
FEWER_ROUNDS = {"rounds": 6, "rho_growth": 1.7}

STUDIES: dict[str, list[Changes]] = {
    "methods": [
        {"pattern": pattern, "eval_windows": 64, "eval_length": 1024, **setting}
        for pattern in ("2:4", "50%")
        for setting in (*BASES, *METHODS, *CONTROLS, *BLOCKS)
    ],
    "second": [
        {**DEVELOPMENT, **setting}
        for setting in (*BASES, *METHODS, {"method": "adjusted", "pruner": "sparsegpt"}, *BLOCKS)
    ],
    "windows": [
        {**QUICK, "pruner": "wanda", **method, **window}
        for window in RECONSTRUCTED
        for method in (
            {"method": "base"},
            {"method": "adjusted", "options": {"beta": 0.2, "sequential": True}},
            {"method": "sds"},
            {"method": "sds-admm"},
        )
    ],
    "distilled": DISTILLED,
    "ablations": [
        {**DEVELOPMENT, **setting}
        for setting in (
            *BASES,
            *METHODS,
            *CONTROLS,
            ADMM | {"pruner": "magnitude"},
            ADMM | {"options": {"sequential": False}},
            *(ADMM | {"options": {"beta": beta}} for beta in (0.0, 0.1, 0.15, 0.3, 0.5, 1.0)),
            *(ADMM | {"options": {"alpha": alpha}} for alpha in (0.05, 0.1, 0.4)),
            *(
                ADMM | {"options": {"rounds": rounds, "rho_growth": rho_growth}}
                for rounds, rho_growth in ((6, 1.7), (25, 1.15))
            ),
            *(ADMM | {"reconstruct": "block", "reconstruct_epochs": epochs} for epochs in (1, 2, 4)),
            ADMM | {"schedule": "staged"},
            *(ADMM | {"calibration": text} for text in ("python-docs", "self*3+python-docs")),
            *({"pattern": "4:8", "method": method, "pruner": "wanda"} for method in ("base", "sds-admm")),
            *(
                {"pattern": "70%", "method": method, "pruner": pruner, "allocation": allocation}
                for method, pruner in (("base", "wanda"), ("base", "sparsegpt"), ("sds-admm", "wanda"))
                for allocation in ALLOCATIONS
            ),
            *(ADMM | {"samples": samples} for samples in (8, 32, 64)),
        )
    ],
    "savings": [
        {**QUICK, **setting}
        for setting in (
            {"method": "base", "pruner": "wanda"},
            {"method": "base", "pruner": "wanda", "observation": "bfloat16"},
            ADMM,
            ADMM | {"observation": "bfloat16"},
            ADMM | {"options": FEWER_ROUNDS},
            ADMM | {"options": FEWER_ROUNDS, "observation": "bfloat16"},
        )
    ],
}
"""`methods` backs the claims, on text that no choice has looked at; `second` repeats 2:4 on another text or model;
`distilled` backs the claims about distilled models; `windows` and `ablations` are for choices, on development text;
`savings` says what faster but inexact settings of `quick` cost."""

RECIPES: list[Changes] = [{**DEVELOPMENT, **ADMM}, {**QUICK, **ADMM}, DISTILLED[0]]
"""The settings that the others of their study are compared with."""
