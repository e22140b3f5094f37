"""Several methods on one model, and grids of models, patterns and seeds: options → configurations → command lines."""

import dataclasses
import shlex
from collections.abc import Sequence

from sds_core.errors import SDSError
from sds_core.options import Overrides
from sds_core.pruning.methods import METHODS, option_names
from sds_core.pruning.titles import BASE
from sds_core.runs.config import RunConfig
from sds_core.runs.phases import PLAIN, beside_methods
from sds_core.runs.plugin_flag import folder_flag
from sds_core.runs.presets import PRESETS
from sds_core.runs.run_command import command, flag, flags

COMPARED = ("base:wanda", "base:sparsegpt", "sds:wanda", "sds-admm:wanda")
"""METHOD:PRUNER, the default of `compare`."""
DEMO_SETTINGS = {**PRESETS["quick"], "title": "demo"}
"""Of the runs that the command `demo` compares."""


def method_configs(values: Overrides, methods: Sequence[str] = COMPARED) -> list[RunConfig]:
    """Return one configuration for each METHOD:PRUNER, however often named; a method option goes to all that have it.

    Base pruners alone are left as they are, or distilled like the others, which are compared with them.

    Raises:
        SDSError: a configuration contradicts itself, or no method knows an option.
    """
    asked, used, configs = values.get("options", {}), set[str](), []
    for name in methods:
        method, _, pruner = name.partition(":")
        known = option_names(method)
        used.update(known)
        own = {key: value for key, value in asked.items() if key in known}
        chosen = values | {"method": method, "options": own} | ({"pruner": pruner} if pruner else {})
        if method == BASE:
            chosen |= beside_methods(PLAIN | chosen)
        if (config := RunConfig.from_dict(chosen)) not in configs:
            configs.append(config)
    if unused := sorted(set(asked) - used):
        raise SDSError("none of these methods has such an option", got=", ".join(unused))
    return configs


def grid(
    values: Overrides, models: Sequence[str], patterns: Sequence[str], seeds: Sequence[int], methods: Sequence[str]
) -> list[RunConfig]:
    """Return one configuration for each combination, similar ones next to each other; what is named twice counts once.

    Args:
        values: options that all runs share, as for `method_configs`.
        models, patterns, seeds: the values to combine.
        methods: METHOD:PRUNER.

    Raises:
        SDSError: a combination contradicts itself.
    """
    return [
        config
        for model in dict.fromkeys(models)
        for pattern in dict.fromkeys(patterns)
        for seed in dict.fromkeys(seeds)
        for config in method_configs(values | {"model": model, "pattern": pattern, "seed": seed}, methods)
    ]


def commands(configs: list[RunConfig]) -> list[str]:
    """Return as few command lines as make these runs: `compare` for those that share their options, else `run`.

    Titles are left out, as they change nothing.
    """
    groups: list[list[RunConfig]] = []
    for config in configs:
        plain = dataclasses.replace(config, title="")
        if any(plain in group for group in groups):
            continue
        home = next((group for group in groups if _one_line([*group, plain])), None)
        if home is None:
            groups.append([plain])
        else:
            home.append(plain)
    return [_compare(group) if _one_line(group) else command(group[0]) for group in groups]


def _one_line(group: list[RunConfig]) -> bool:
    """Whether one `compare` makes exactly these runs."""
    own = dict.fromkeys(("method", "pruner", "pruner_sha256", "options"))
    shared = _shared(group)
    alike = all(
        config.phase == 0
        and config.to_dict() | own == shared | own | (beside_methods(shared) if config.method == BASE else {})
        for config in group
    )
    together = _together(group)
    return alike and all(_with(config, together) == vars(config.made_method()) for config in group)


def _shared(group: list[RunConfig]) -> Overrides:
    """Return the options of the first run that is not a base pruner alone, else of the first."""
    return next((config for config in group if config.method != BASE), group[0]).to_dict()


def _together(group: list[RunConfig]) -> Overrides:
    return {name: value for config in group for name, value in config.options.items()}


def _with(config: RunConfig, options: Overrides) -> Overrides:
    """Return all options of a run's method, given those of `options` that it has."""
    known = option_names(config.method)
    return vars(METHODS[config.method]()) | {name: value for name, value in options.items() if name in known}


def _compare(group: list[RunConfig]) -> str:
    methods = [f"{config.method}:{config.pruner}" for config in group]
    shared = flags(RunConfig.from_dict(_shared(group) | {"options": {}}), without=("method", "pruner"))
    options = [word for name, value in _together(group).items() for word in flag(name, value)]
    folder = folder_flag(config.pruner for config in group)
    return shlex.join(["python", "-m", "sds_core", "compare", "--methods", *methods, *shared, *options, *folder])
