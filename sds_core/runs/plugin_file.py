"""One plugin file: importing it, finding its pruner, and checking the pruner's work in a run."""

import ast
import dataclasses
import hashlib
import linecache
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import decode_source
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor

from sds_core.errors import SDSError
from sds_core.pruning import conformance
from sds_core.pruning.invariants import violation
from sds_core.pruning.layer_problem import LayerProblem, Pruned
from sds_core.pruning.pattern import Pattern
from sds_core.pruning.registry import NAME, NAME_RULE, RESERVED, Pruner

TEMPLATE = "docs/my_pruner.py"
PASSED_ON = (SDSError, MemoryError, torch.OutOfMemoryError)
"""Exceptions that are no fault of the plugin and are reported elsewhere."""


@dataclass(frozen=True)
class PluginFile:
    """A pruner and the file that it was read from."""

    path: Path
    sha256: str
    """Of the file's content."""
    cls: type[Pruner]
    line: int
    """Line of the class in the file."""

    def make(self) -> "CheckedPruner":
        """Return the pruner with its default options, its results checked."""
        return CheckedPruner(self, self.cls())


@dataclass(frozen=True)
class CheckedPruner:
    """A plugin's pruner whose errors name file and line and whose invalid results are refused.

    The conformance suite sees small problems only: a layer of a real model may be the first that is pruned wrongly.
    """

    file: PluginFile
    plugin: Pruner
    """The plugin's own pruner, with its options."""

    def solve(self, problem: LayerProblem, pattern: Pattern) -> Pruned:
        """Prune a layer.

        Raises:
            SDSError: the plugin raised an exception, or its result violates an invariant.
        """
        with _located_errors(self.file.path):
            pruned = self.plugin.solve(problem, pattern)
        if found := violation(pruned, problem, pattern):
            place = f"{self.file.path.name}, line {self.file.line}"
            raise SDSError(f"{place}: {self.file.cls.__name__} violates “{found.name}”: {found.message}")
        return pruned

    def scores(self, problem: LayerProblem) -> Tensor | None:
        """Return the plugin's scores (R, C), or None if it has none.

        Raises:
            SDSError: the plugin raised an exception.
        """
        scores = getattr(self.plugin, "scores", None)
        with _located_errors(self.file.path):
            return scores(problem) if scores else None


def content(path: Path) -> bytes:
    """Return the content of a file.

    Raises:
        SDSError: it cannot be read.
    """
    if path.exists() and not path.is_file():  # reading a pipe would never end
        raise SDSError("a plugin is a file", got=path)
    try:
        return path.read_bytes()
    except OSError as error:
        raise SDSError(f"the plugin file {path} cannot be read: {error.strerror}") from error


def load(path: Path, data: bytes) -> PluginFile:
    """Import a file with the given content and return its pruner.

    Raises:
        SDSError: its name is not allowed, it cannot be imported, or it does not hold exactly one class with `solve`, a
            frozen keyword-only dataclass.
    """
    if not NAME.fullmatch(path.stem) or path.suffix != ".py":
        raise SDSError("not a name for a plugin file", got=path.name, allowed=f"{NAME_RULE}, then .py")
    if path.stem in RESERVED:
        raise SDSError(f"{path.name} would hide the pruner {path.stem}", cure="rename the file")
    sha256 = hashlib.sha256(data).hexdigest()
    module = ModuleType(f"sds_plugin_{path.stem}_{sha256[:12]}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # dataclasses and inspect look the class's module up there
    try:
        source = decode_source(data)
        # An entry without a modification time stays, so inspect shows the source that ran even if the file changes.
        linecache.cache[str(path)] = (len(source), None, source.splitlines(keepends=True), str(path))
        tree = ast.parse(source, str(path))
        exec(compile(tree, str(path), "exec", dont_inherit=True), module.__dict__)
    except (Exception, SystemExit) as error:
        raise SDSError(located(path, error)) from error
    lines = {node.name: node.lineno for node in tree.body if isinstance(node, ast.ClassDef)}
    cls = _pruner_class(path, {name: vars(module)[name] for name in lines if name in vars(module)}, lines)
    return PluginFile(path, sha256, cls, lines[cls.__name__])


def outcomes(plugin: PluginFile, device: torch.device = conformance.CPU) -> Iterator[conformance.Outcome]:
    """Yield the outcome of every check, exceptions with the line of the file that raised them."""
    for outcome in conformance.outcomes(plugin.cls(), device):
        error = outcome.error
        yield outcome if error is None else dataclasses.replace(outcome, actual=located(plugin.path, error))


def located(path: Path, error: BaseException) -> str:
    """Return an exception as a clause that begins with the last line of the file in its traceback."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return f"{path.name}, line {error.lineno}: {error.msg}"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    message = " ".join(str(error).split())[:300]
    return f"{path.name}, line {lines[-1] if lines else 1}: {type(error).__name__}{f': {message}' if message else ''}"


@contextmanager
def _located_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except PASSED_ON:
        raise
    except (Exception, SystemExit) as error:
        raise SDSError(located(path, error)) from error


def _pruner_class(path: Path, classes: dict[str, type], lines: dict[str, int]) -> type[Pruner]:
    """Return the one class with `solve`, if it meets the requirements."""

    def fault(name: str, what: str) -> SDSError:
        return SDSError(f"{path.name}, line {lines.get(name, 1)}: {what}", cure=f"start from {TEMPLATE}")

    pruners = [name for name, cls in classes.items() if callable(getattr(cls, "solve", None))]
    if not pruners:
        raise fault("", "there is no class with solve(problem, pattern)")
    if len(pruners) > 1:
        raise fault(pruners[1], f"{' and '.join(pruners)} are pruners; a plugin file holds one")
    (name,) = pruners
    cls = classes[name]
    if "__dataclass_fields__" not in vars(cls) or not vars(cls)["__dataclass_params__"].frozen:
        raise fault(name, f"{name} must be a dataclass: @dataclass(frozen=True, kw_only=True)")
    for f in dataclasses.fields(cls):
        if not f.kw_only:
            raise fault(name, f"the options of {name} must be keyword-only: @dataclass(…, kw_only=True)")
        if f.default is f.default_factory is dataclasses.MISSING:
            raise fault(name, f"the option {f.name} of {name} has no default")
    return cls
