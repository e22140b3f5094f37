"""Base pruners by name. To add one, write a file beside this one and a line in `PRUNERS`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol

from sds_core.errors import SDSError
from sds_core.pruning.layer_problem import LayerProblem, Pruned
from sds_core.pruning.magnitude import Magnitude
from sds_core.pruning.pattern import Pattern
from sds_core.pruning.sparsegpt import SparseGPT
from sds_core.pruning.wanda import Wanda

NO_PRUNER = "none"
"""Stands for the base pruner of a checkpoint that was pruned elsewhere."""
NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}")
NAME_RULE = "a lower-case letter, then lower-case letters, digits, _ and -, at most 40 in all"
SHA256 = re.compile(r"[0-9a-f]{64}")


class Pruner(Protocol):
    """Chooses which weights of a layer to keep, and their values; a frozen dataclass whose fields are its options."""

    def solve(self, problem: LayerProblem, pattern: Pattern) -> Pruned: ...


PRUNERS: Mapping[str, type[Pruner]] = MappingProxyType(
    {
        "magnitude": Magnitude,
        "wanda": Wanda,
        "sparsegpt": SparseGPT,
    }
)
"""The built-in pruners."""
RESERVED = (*PRUNERS, NO_PRUNER)
"""Names that no plugin may take."""


class Plugin(Protocol):
    """A pruner from a plugin file."""

    @property
    def sha256(self) -> str:
        """SHA-256 of the file."""
        ...

    @property
    def cls(self) -> type[Pruner]:
        """The class in the file."""
        ...

    def make(self) -> Pruner:
        """Return the pruner with its default options."""
        ...


@dataclass(frozen=True)
class PrunerRegistry:
    """The pruners that can be chosen by name: the built-in ones and plugins."""

    plugins: Mapping[str, Plugin] = field(default_factory=dict)
    rejected: Mapping[str, SDSError] = field(default_factory=dict)
    """Why a plugin cannot be chosen, by name."""

    @property
    def names(self) -> tuple[str, ...]:
        """The built-in names, then the plugins'."""
        return (*PRUNERS, *self.plugins)

    def make(self, name: str, sha256: str = "") -> Pruner:
        """Return the named pruner with its default options.

        Args:
            sha256: of the plugin file, as a run recorded it; empty to accept any version.

        Raises:
            SDSError: there is no such pruner, its file was rejected, or its file is not the recorded one.
        """
        if name in PRUNERS:
            return PRUNERS[name]()
        if name in self.rejected:
            raise self.rejected[name].with_traceback(None)
        if name not in self.plugins:
            raise self._unknown(name, sha256)
        plugin = self.plugins[name]
        if sha256 and plugin.sha256 != sha256:
            raise SDSError(
                f"the plugin pruner {name} has changed since the run was created: its SHA-256 was {sha256[:12]}… and "
                f"is {plugin.sha256[:12]}…",
                cure="restore the old file, or start a new run",
            )
        return plugin.make()

    def require(self, name: str, sha256: str = "") -> None:
        """Check that a run can be created or started with a pruner.

        Args:
            name: the pruner, or `NO_PRUNER` for a run that needs none.
            sha256: as in `make`.

        Raises:
            SDSError: as in `make`.
        """
        if name != NO_PRUNER:
            self.make(name, sha256)

    def cls(self, name: str) -> type[Pruner]:
        """Return the class of a pruner in the registry, for its documentation and source."""
        return self.plugins[name].cls if name in self.plugins else PRUNERS[name]

    def sha256(self, name: str) -> str:
        """Return the SHA-256 of a plugin's file; empty for a built-in pruner."""
        return self.plugins[name].sha256 if name in self.plugins else ""

    def _unknown(self, name: str, sha256: str) -> SDSError:
        if not sha256:
            cure = "plugin pruners are the files of the folder that --pruners or SDS_PRUNERS names"
            return SDSError("unknown pruner", got=name, allowed=", ".join(self.names), cure=cure)
        return SDSError(
            f"the file of the plugin pruner {name} is missing",
            cure=f"put {name}.py (SHA-256 {sha256[:12]}…) into a folder and name the folder: --pruners FOLDER on the "
            "command line, SDS_PRUNERS for the app",
        )


BUILT_IN = PrunerRegistry()
"""The built-in pruners alone."""


def check_reference(name: str, sha256: str) -> None:
    """Check how a record refers to its pruner, which need not be available here.

    Raises:
        SDSError: no pruner can have that name, or no plugin file that SHA-256.
    """
    if not NAME.fullmatch(name):
        raise SDSError("not a pruner's name", got=name, allowed=NAME_RULE)
    if sha256 and (name in RESERVED or not SHA256.fullmatch(sha256)):
        raise SDSError("not a plugin pruner and its SHA-256", got=f"{name}, {sha256}")
