"""Imports only go down, and a few names are spoken in one place only: read from the source, nothing is run."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "sds_core").rglob("*.py"))

ROOMS = (
    "errors",
    "files",
    "subprocess_environment",
    "options",
    "pruning",
    "models",
    "layer_result",
    "pass_plan",
    "block_pass",
    "sds",
    "runs",
    "comparison",
    "texts",
    "figures",
    "lesson",
    "reports",
    "library",
    "extras",
)
ROOMS += ("commands", "__main__", "pages", "app")
"""Every module and folder at the top, from the ground up: each may import itself and what stands before it."""
FORBIDDEN = {"sds_core/pruning/": ["transformers", "pathlib"]}
FORBIDDEN |= {f"sds_core/{name}.py": ["transformers"] for name in ("layer_result", "pass_plan", "block_pass", "sds")}
"""What a room must not know, besides the rooms above it."""
PRINTING = ("sds_core/commands/", "sds_core/__main__.py")
DRAWING = ["streamlit", "plotly"]
SEEDING = ["torch.manual_seed", "torch.seed", "torch.random", "torch.cuda.manual_seed", "torch.cuda.manual_seed_all"]
SEEDING += ["random.seed", "numpy.random.seed", "transformers.set_seed", "torch.set_rng_state"]


def imports(tree: ast.AST, package: str, at_import_time: bool = False) -> Iterator[str]:
    """Dotted names of everything that is imported, `from a import b` counting as a.b."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")[: -node.level + 1 or None] if node.level else []
            base = ".".join(parts + ([node.module] if node.module else []))
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif not (at_import_time and runs_later(node)):
            yield from imports(node, package, at_import_time)


def runs_later(node: ast.AST) -> bool:
    """Whether a statement's body is not run by importing the module: a function, or what only type checkers read."""
    if isinstance(node, ast.If):
        return ast.unparse(node.test) == "TYPE_CHECKING"
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)


def within(name: str, modules: list[str]) -> bool:
    """Whether a dotted name is one of the modules or lies inside one."""
    return any(name == module or name.startswith(module + ".") for module in modules)


def names(tree: ast.AST, package: str) -> Iterator[str]:
    """Dotted names that are read or imported, import aliases resolved."""
    aliases: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            aliases |= {alias.asname: alias.name for alias in node.names if alias.asname}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            aliases |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    yield from imports(tree, package)
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute):
            head, _, rest = ast.unparse(node).partition(".")
            yield ".".join([aliases.get(head, head), *([rest] if rest else [])])


def path_name(path: str) -> str:
    """The dotted name of a file of the package."""
    return path.removesuffix(".py").replace("/", ".")


def room(name: str) -> int | None:
    """The floor that a dotted name of our own stands on; None for other packages and for the bare package."""
    parts = name.split(".")
    top = parts[1] if parts[0] == "sds_core" and len(parts) > 1 else parts[0]
    return ROOMS.index(top) if parts[0] in ("sds_core", "pages", "app") and top in ROOMS else None


def cycle(graph: dict[str, set[str]]) -> list[str]:
    """Modules that import each other in a circle, in that order; empty where none do."""
    done: set[str] = set()

    def descend(module: str, above: list[str]) -> list[str]:
        if module in above:
            return above[above.index(module) :]
        if module in done:
            return []
        found = next((f for below in sorted(graph[module]) if (f := descend(below, [*above, module]))), [])
        done.add(module)
        return found

    return next((found for module in sorted(graph) if (found := descend(module, []))), [])


def faults(path: str, source: str) -> list[str]:
    """What a file of the package does against the rules."""
    tree, package = ast.parse(source), ".".join(Path(path).with_suffix("").parts[:-1])
    found = []
    for name in imports(tree, package):
        if room(name) is not None and room(path_name(path)) is not None and room(name) > room(path_name(path)):
            found.append(f"imports {name}, which stands above it")
        for folder, modules in FORBIDDEN.items():
            if path.startswith(folder) and within(name, modules):
                found.append(f"imports {name}")
    for name in imports(tree, package, at_import_time=True):
        if within(name, DRAWING):
            found.append(f"imports {name} at import time")
    for name in names(tree, package):
        if within(name, ["torch.cuda"]) and path != "sds_core/models/device.py":
            found.append(f"names {name}")
        if within(name, SEEDING):
            found.append(f"seeds globally with {name}")
        if within(name, ["print", "sys.stdout"]) and not path.startswith(PRINTING):
            found.append(f"prints with {name}")
    return found


def test_every_room_has_a_floor():
    assert {path_name(path).split(".")[1] for path in FILES} - set(ROOMS) == {"__init__"}


def test_no_modules_import_each_other_in_a_circle():
    """Imports inside functions count: they are no way around a circle."""
    modules = {path_name(path).removesuffix(".__init__"): ast.parse((ROOT / path).read_text("utf-8")) for path in FILES}
    graph = {
        module: {
            found
            for name in imports(tree, module.rpartition(".")[0])
            for found in (name, name.rpartition(".")[0])
            if found in modules and found.count(".") > 0 and found != module
        }
        for module, tree in modules.items()
    }
    assert sum(map(len, graph.values())) > 100 and cycle(graph) == []


def test_a_circle_is_found():
    assert cycle({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}) == ["b", "c"]
    assert cycle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_the_package_is_found():
    assert {"sds_core/errors.py", "sds_core/pruning/pattern.py", "sds_core/models/device.py"} <= set(FILES)


@pytest.mark.parametrize("path", FILES)
def test_every_file_keeps_to_its_layer(path):
    assert faults(path, (ROOT / path).read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("sds_core/pruning/gram.py", "from sds_core.models.structure import ModelStructure"),
        ("sds_core/pruning/gram.py", "import sds_core.runs.run_folder"),
        ("sds_core/pruning/gram.py", "from sds_core import models"),
        ("sds_core/pruning/gram.py", "from sds_core import figures"),
        ("sds_core/pruning/gram.py", "from ..models import blocks"),
        ("sds_core/pruning/gram.py", "def f():\n    from sds_core.sds import Recipe"),
        ("sds_core/pruning/wanda.py", "from .. import sds"),
        ("sds_core/pruning/gram.py", "import transformers.utils"),
        ("sds_core/pruning/gram.py", "from pathlib import Path"),
        ("sds_core/models/load.py", "from sds_core.sds import Recipe"),
        ("sds_core/models/load.py", "import sds_core.runs"),
        ("sds_core/errors.py", "from sds_core.pruning import gram"),
        ("sds_core/runs/run_folder.py", "from pages.ui import charts"),
        ("sds_core/reports/report.py", "import plotly.graph_objects as go"),
        ("sds_core/figures/layer.py", "try:\n    import streamlit as st\nexcept ImportError:\n    pass"),
        ("sds_core/figures/layer.py", "if sys.platform:\n    import plotly"),
        ("sds_core/figures/layer.py", "class A:\n    from plotly import offline"),
        ("sds_core/sds.py", "import torch\nx = torch.cuda.is_available()"),
        ("sds_core/sds.py", "from torch import cuda"),
        ("sds_core/sds.py", "import torch as t\nt.cuda.synchronize()"),
        ("sds_core/sds.py", "import torch\ntorch.manual_seed(0)"),
        ("sds_core/sds.py", "from torch import manual_seed"),
        ("sds_core/sds.py", "import numpy as np\nnp.random.seed(0)"),
        ("sds_core/models/device.py", "import torch\ntorch.cuda.manual_seed_all(0)"),
        ("sds_core/sds.py", "print('hello')"),
        ("sds_core/sds.py", "import sys\nsys.stdout.write('hello')"),
    ],
)
def test_a_broken_rule_is_noticed(path, source):
    assert faults(path, source)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        (
            "sds_core/pruning/gram.py",
            "import torch\nfrom sds_core.errors import SDSError\nfrom sds_core.pruning import linalg",
        ),
        ("sds_core/pruning/wanda.py", "from .pattern import Pattern"),
        ("sds_core/pruning/gram.py", "import torch\ng = torch.Generator().manual_seed(0)"),
        ("sds_core/models/device.py", "import torch\ntorch.cuda.device_count()"),
        ("sds_core/models/load.py", "from transformers import AutoTokenizer\nfrom sds_core.pruning.gram import Gram"),
        ("sds_core/reports/report.py", "def export():\n    from plotly.offline import get_plotlyjs"),
        ("sds_core/library.py", "if TYPE_CHECKING:\n    import plotly.graph_objects as go"),
        ("sds_core/__main__.py", "print('hello')"),
        ("sds_core/commands/start.py", "print('hello')"),
    ],
)
def test_what_the_rules_allow_is_not_reported(path, source):
    assert faults(path, source) == []
