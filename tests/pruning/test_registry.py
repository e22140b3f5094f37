"""The registry: built-in pruners by name, plugins beside them, and why one is not available."""

from dataclasses import dataclass

import pytest

from sds_core.errors import SDSError
from sds_core.pruning.registry import BUILT_IN, NO_PRUNER, PRUNERS, PrunerRegistry, check_reference
from sds_core.pruning.wanda import Wanda

SHA256 = "ab" * 32


class Mine(Wanda):
    """A plugin's pruner."""


@dataclass(frozen=True)
class FakePlugin:
    sha256: str = SHA256
    cls: type = Mine

    def make(self):
        return self.cls()


REGISTRY = PrunerRegistry({"mine": FakePlugin()}, {"broken": SDSError("broken.py, line 1: no good")})


def test_built_in_pruners_have_default_options():
    assert BUILT_IN.names == tuple(PRUNERS) == ("magnitude", "wanda", "sparsegpt")
    assert all(BUILT_IN.make(name) == cls() and BUILT_IN.cls(name) is cls for name, cls in PRUNERS.items())
    assert BUILT_IN.sha256("wanda") == ""


def test_built_in_pruners_cannot_be_replaced():
    with pytest.raises(TypeError):
        PRUNERS["wanda"] = Mine


def test_plugins_follow_built_in_pruners():
    assert REGISTRY.names == (*PRUNERS, "mine")
    assert type(REGISTRY.make("mine")) is REGISTRY.cls("mine") is Mine
    assert REGISTRY.sha256("mine") == SHA256 and REGISTRY.make("mine", SHA256) == Mine()


@pytest.mark.parametrize(
    ("name", "sha256", "sentence"),
    [
        ("owl", "", "unknown pruner: got 'owl'; allowed: magnitude, wanda, sparsegpt, mine. Plugin pruners are the"),
        ("owl", SHA256, r"the file of the plugin pruner owl is missing. Put owl\.py \(SHA-256 abababababab…\) into"),
        ("broken", "", r"broken\.py, line 1: no good"),
        ("mine", "cd" * 32, "mine has changed since .* its SHA-256 was cdcdcdcdcdcd… and is abababababab…. Restore"),
        (NO_PRUNER, "", "unknown pruner"),
    ],
)
def test_unavailable_pruner_is_refused_with_reason(name, sha256, sentence):
    with pytest.raises(SDSError, match=sentence):
        REGISTRY.make(name, sha256)


def test_run_without_pruner_requires_none():
    REGISTRY.require(NO_PRUNER)
    with pytest.raises(SDSError, match="unknown pruner"):
        REGISTRY.require("owl")


@pytest.mark.parametrize(("name", "sha256"), [("wanda", ""), (NO_PRUNER, ""), ("absent", ""), ("absent", SHA256)])
def test_well_formed_reference_is_accepted(name, sha256):
    check_reference(name, sha256)


@pytest.mark.parametrize(
    ("name", "sha256"),
    [("../x", SHA256), ("../x", ""), ("Mine", ""), ("", ""), ("wanda", SHA256), (NO_PRUNER, SHA256), ("mine", "../x")],
)
def test_malformed_reference_is_refused(name, sha256):
    with pytest.raises(SDSError, match=r"not a pruner's name|not a plugin pruner and its SHA-256"):
        check_reference(name, sha256)
