"""One file with a pruner of one's own: read, run, put through the conformance suite, and watched at work."""

import ast
import dataclasses
import functools
import hashlib
import linecache
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import decode_source
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from sds_core.errors import SDSError
from sds_core.pruning import conformance
from sds_core.pruning.invariants import violation
from sds_core.pruning.layer_problem import LayerProblem, Pruned
from sds_core.pruning.pattern import Pattern
from sds_core.pruning.registry import PRUNERS, Pruner

BUILT_IN = tuple(PRUNERS)
NO_PRUNER = "none"
"""The base pruner of a checkpoint that was pruned elsewhere; nobody's own may be called so."""
NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}")
TEMPLATE = "docs/my_pruner.py"
PASSED_ON = (SDSError, MemoryError, torch.OutOfMemoryError)
"""What is no fault of the file: said elsewhere, in other words."""


@dataclass(frozen=True)
class PrunerFile:
    """A pruner of one's own, as its file was when it was read."""

    path: Path
    sha256: str
    """Of the file."""
    cls: type[Pruner]
    line: int
    """Where in the file the class begins."""


def read(path: Path) -> PrunerFile:
    """Read a file and run it; whether its pruner conforms is not asked.

    Raises:
        SDSError: it cannot be read or run, or holds anything but one frozen keyword-only dataclass with `solve`.
    """
    return _run(path, content(path))


def content(path: Path) -> bytes:
    """What is in the file.

    Raises:
        SDSError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise SDSError(f"the pruner file {path} cannot be read: {error.strerror}") from error


def accept(path: Path, data: bytes) -> PrunerFile:
    """The pruner of a file with this content, if it conforms; from then on each of its results is looked at too.

    Raises:
        SDSError: as `read` does, or it does not conform.
    """
    own = _run(path, data)
    if failures := [outcome for outcome in outcomes(own) if outcome.actual]:
        more = f" ({len(failures) - 1} more of its checks fail)" if len(failures) > 1 else ""
        raise SDSError(
            f"{path.name}, line {own.line}: {own.cls.__name__} fails the check “{failures[0].check}”: "
            f"{failures[0].message.rstrip('.')}{more}",
            cure=f"see all checks: python -m sds_core check-pruner {path}",
        )
    _watch(own)
    return own


def outcomes(own: PrunerFile, device: torch.device = conformance.CPU) -> Iterator[conformance.Outcome]:
    """What comes of every check; what the pruner raised is told with the line that did."""
    for outcome in conformance.outcomes(own.cls(), device):
        error = outcome.error
        yield outcome if error is None else dataclasses.replace(outcome, actual=_located(own.path, error))


def _run(path: Path, data: bytes) -> PrunerFile:
    if not NAME.fullmatch(path.stem) or path.suffix != ".py":
        allowed = "a small letter, then small letters, digits, _ and -, 40 at most, and .py"
        raise SDSError("the file of a pruner cannot be called this", got=path.name, allowed=allowed)
    if path.stem in (*BUILT_IN, NO_PRUNER):
        raise SDSError(f"{path.name} would hide the pruner {path.stem}", cure="give the file another name")
    module = ModuleType(f"own_pruners.{path.stem}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # where dataclasses and `inspect` look for the class's surroundings
    try:
        source = decode_source(data)
        # Without a time of change these lines stay: what is shown is what was run, though the file changes meanwhile.
        linecache.cache[str(path)] = (len(source), None, source.splitlines(keepends=True), str(path))
        tree = ast.parse(source, str(path))
        exec(compile(tree, str(path), "exec", dont_inherit=True), module.__dict__)
    except (Exception, SystemExit) as error:
        raise SDSError(_located(path, error)) from error
    lines = {node.name: node.lineno for node in tree.body if isinstance(node, ast.ClassDef)}
    cls = _only_class(path, {name: vars(module)[name] for name in lines if name in vars(module)}, lines)
    return PrunerFile(path, hashlib.sha256(data).hexdigest(), cls, lines[cls.__name__])


def _only_class(path: Path, classes: dict[str, Any], lines: dict[str, int]) -> type[Pruner]:
    """The one class with `solve`, if it is what a pruner has to be."""
    pruners = [name for name, cls in classes.items() if callable(getattr(cls, "solve", None))]
    if not pruners:
        raise _fault(path, 1, "there is no class with solve(problem, pattern)")
    if len(pruners) > 1:
        raise _fault(path, lines[pruners[1]], f"{' and '.join(pruners)} are pruners, and a file holds one")
    (name,) = pruners
    cls = classes[name]
    if "__dataclass_fields__" not in vars(cls) or not cls.__dataclass_params__.frozen:
        raise _fault(path, lines[name], f"{name} has to be a dataclass: @dataclass(frozen=True, kw_only=True)")
    for f in dataclasses.fields(cls):
        if not f.kw_only:
            raise _fault(path, lines[name], f"the options of {name} have to be keywords: @dataclass(…, kw_only=True)")
        if f.default is f.default_factory is dataclasses.MISSING:
            raise _fault(path, lines[name], f"the option {f.name} of {name} has no default")
    return cls


def _watch(own: PrunerFile) -> None:
    """From now on the pruner's errors name file and line, and no result that breaks a promise leaves it.

    Small problems cannot show everything: a layer of a real model may be the first to be pruned wrongly.
    """
    solve = own.cls.solve

    @functools.wraps(solve)
    def watched(self: Pruner, problem: LayerProblem, pattern: Pattern) -> Pruned:
        pruned = _told(own.path, solve)(self, problem, pattern)
        if broken := violation(pruned, problem, pattern):
            raise SDSError(
                f"{own.path.name}, line {own.line}: {own.cls.__name__} violates “{broken.name}”: {broken.message}"
            )
        return pruned

    own.cls.solve = watched  # type: ignore[method-assign]
    if scores := getattr(own.cls, "scores", None):
        own.cls.scores = _told(own.path, scores)  # type: ignore[attr-defined]


def _told(path: Path, function: Callable) -> Callable:
    """The same function, whose exceptions are sentences."""

    @functools.wraps(function)
    def told(*arguments: Any) -> Any:
        try:
            return function(*arguments)
        except PASSED_ON:
            raise
        except Exception as error:
            raise SDSError(_located(path, error)) from error

    return told


def _located(path: Path, error: BaseException) -> str:
    """An exception as a sentence with the last line of this file that it went through."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return f"{path.name}, line {error.lineno}: {error.msg}"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    said = " ".join(str(error).split())[:300]
    return f"{path.name}, line {lines[-1] if lines else 1}: {type(error).__name__}{f': {said}' if said else ''}"


def _fault(path: Path, line: int, what: str) -> SDSError:
    return SDSError(f"{path.name}, line {line}: {what}", cure=f"start from {TEMPLATE}")
