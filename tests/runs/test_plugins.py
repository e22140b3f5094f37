"""Plugin pruners from their folder to a run's record, and runs whose plugin is missing or has changed."""

import dataclasses
import hashlib
import json
import shlex

import pytest

from sds_core.commands.flags import chosen
from sds_core.commands.parser import build_parser
from sds_core.comparison.compare import names, side_by_side
from sds_core.errors import SDSError
from sds_core.pruning.registry import BUILT_IN, PRUNERS
from sds_core.reports import report
from sds_core.runs import plugin_check, plugins
from sds_core.runs.archive import pack, unpack
from sds_core.runs.branch import as_parent, branch
from sds_core.runs.config import RunConfig
from sds_core.runs.new_run import create
from sds_core.runs.plugins import load_registry
from sds_core.runs.run_command import command
from sds_core.runs.run_folder import open_run
from sds_core.runs.sweep import commands, method_configs
from sds_core.runs.worker import launch
from tests.runs.test_plugin_file import SOUND, written
from tests.small_runs import config, finish, work_here

SHA256 = hashlib.sha256(SOUND.encode()).hexdigest()
OTHER = SOUND.replace("1.0", "2.0")


@pytest.fixture
def mine(plugin_folder, conformance_here):
    return written(plugin_folder, SOUND)


def created(config):
    return create(config, load_registry())


@pytest.fixture(scope="module")
def made(tiny_folder, tmp_path_factory):
    """A finished run of the same pruner, from a folder of its own; read only."""
    folder = tmp_path_factory.mktemp("made")
    written(folder, SOUND)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SDS_RUNS", str(folder / "runs"))
        patch.setenv("SDS_PRUNERS", str(folder))
        return finish(created(config(tiny_folder, method="base", pruner="mine")))


def test_registry_follows_the_folder(mine):
    first = load_registry()
    assert first.names == (*PRUNERS, "mine") and first.sha256("mine") == SHA256 and not first.rejected
    mine.write_text(OTHER)
    second = load_registry()
    assert second.make("mine").plugin.power == 2.0 and first.make("mine").plugin.power == 1.0
    mine.write_text("x = (")
    broken = load_registry()
    assert broken.names == tuple(PRUNERS) and "mine.py, line 1" in str(broken.rejected["mine"])
    mine.unlink()
    assert load_registry() == BUILT_IN


def test_unchanged_file_is_imported_once(mine):
    assert load_registry().cls("mine") is load_registry().cls("mine")
    mine.write_text(OTHER)
    assert load_registry().make("mine").plugin.power == 2.0
    mine.write_text(SOUND)
    assert load_registry().make("mine").plugin.power == 1.0


def test_only_named_plugins_are_loaded(mine, plugin_folder):
    written(plugin_folder, "raise SystemExit", "other.py")
    assert load_registry(["wanda"]) == BUILT_IN
    registry = load_registry(["wanda", "mine"])
    assert registry.names == (*PRUNERS, "mine") and not registry.rejected


def test_accepted_file_is_not_checked_again(plugin_folder):
    source = SOUND.replace("* mask, mask", ", mask, ")
    written(plugin_folder, source)
    assert "mine" in load_registry(accepted=[hashlib.sha256(source.encode()).hexdigest()]).names


def test_hanging_file_is_rejected_once(plugin_folder, monkeypatch):
    monkeypatch.setattr(plugin_check, "TIME_LIMIT", 1)
    written(plugin_folder, "while True: pass")
    reason = "mine.py, line 1: the import did not end within 1 s. Look for an endless loop"
    assert str(load_registry().rejected["mine"]).startswith(reason)
    monkeypatch.setattr("subprocess.Popen", lambda *_, **__: pytest.fail("checked again"))
    assert "mine" in load_registry().rejected


def test_registry_without_folder_is_the_built_in_one(mine, monkeypatch):
    monkeypatch.delenv("SDS_PRUNERS")
    assert load_registry() == BUILT_IN


def test_missing_folder_affects_plugins_only(monkeypatch):
    monkeypatch.setenv("SDS_PRUNERS", "/nowhere")
    for refused in (load_registry, lambda: load_registry(["mine"]), lambda: plugins.use_folder("/nowhere")):
        with pytest.raises(SDSError, match="no such folder of plugin pruners: got '/nowhere'"):
            refused()
    assert load_registry(["wanda", "none"]) == BUILT_IN


def test_linked_file_is_refused_and_linked_folder_accepted(plugin_folder, tmp_path, monkeypatch):
    written(tmp_path, "raise SystemExit", "outside.py")
    (plugin_folder / "outside.py").symlink_to(tmp_path / "outside.py")
    written(plugin_folder, SOUND)
    (tmp_path / "link").symlink_to(plugin_folder)
    monkeypatch.setenv("SDS_PRUNERS", str(tmp_path / "link"))
    registry = load_registry()
    assert "links to a file outside" in str(registry.rejected["outside"]) and "mine" in registry.names


def test_record_report_and_comparison_name_the_plugin(made):
    assert made.config.pruner_sha256 == json.loads((made.folder / "config.json").read_text())["pruner_sha256"] == SHA256
    assert made.result().pruned * 2 == made.result().prunable
    title = f"mine (plugin, {SHA256[:8]})"
    assert names(side_by_side([made])) == {made.id: title}
    page = report.rendered(made)[".html"]
    assert title in page and f"<td>pruner sha256</td><td>{SHA256}</td>" in page


def test_command_line_names_the_plugin_folder(made, mine):
    assert "--pruner mine --method base" in made.result().command
    values = chosen(build_parser().parse_args(shlex.split(command(made.config))[3:]))
    assert RunConfig.from_dict(values) == dataclasses.replace(made.config, pruner_sha256="")
    (line,) = commands([made.config, dataclasses.replace(made.config, pruner="wanda", pruner_sha256="")])
    options = build_parser().parse_args(shlex.split(line)[3:])
    assert options.pruners == str(mine.parent) and options.methods == ["base:mine", "base:wanda"]
    assert [c.pruner for c in method_configs(chosen(options), options.methods)] == ["mine", "wanda"]


def test_run_needs_a_registry_with_its_plugin(mine, runs_root, tiny_folder):
    with pytest.raises(SDSError, match="unknown pruner: got 'mine'"):
        create(config(tiny_folder, pruner="mine"))
    assert not runs_root.exists()


def test_changed_plugin_starts_new_runs_only(mine, tiny_folder):
    run = created(config(tiny_folder, method="base", pruner="mine"))
    mine.write_text(OTHER)
    with pytest.raises(SDSError, match=rf"mine has changed since .*: its SHA-256 was {SHA256[:12]}… and is"):
        launch([run])
    work_here([run])  # as if the file had changed between launch and start
    assert run.state() == "failed" and "has changed since" in run.log.read()[-1].message
    assert created(config(tiny_folder, pruner="mine")).config.pruner_sha256 != SHA256
    mine.write_text(SOUND)
    assert finish(run).config.pruner_sha256 == SHA256


def test_branch_uses_its_parents_plugin(mine, tiny_folder):
    parent = finish(created(config(tiny_folder, method="sds", pruner="mine", schedule="staged", phase=1)))
    child = branch(parent.config, {"options": {"iterations": 2}}, as_parent(parent, 1))
    assert created(child).config.pruner_sha256 == SHA256
    mine.write_text(OTHER)
    with pytest.raises(SDSError, match="has changed since"):
        created(child)


def test_record_opens_without_the_plugin_but_does_not_run(made, mine, tmp_path):
    pack(made, tmp_path / "run.zip")
    mine.unlink()
    run = unpack(tmp_path / "run.zip")
    assert open_run(run.id).config.pruner == "mine" and run.state() == "finished"
    assert side_by_side([run])[0].perplexity == run.result().perplexity["sparse"].value
    assert f"mine (plugin, {SHA256[:8]})" in report.rendered(run)[".html"]
    (run.folder / "result.json").unlink()
    sentence = rf"the plugin pruner mine is missing\. Put mine\.py \(SHA-256 {SHA256[:12]}…\) into a folder"
    for refused in (lambda: launch([run]), lambda: created(run.config)):
        with pytest.raises(SDSError, match=sentence):
            refused()


@pytest.mark.parametrize("changes", [{"pruner": "../x"}, {"pruner": "wanda"}, {"pruner_sha256": "../x"}])
def test_malformed_plugin_reference_is_refused(changes):
    with pytest.raises(SDSError, match=r"not a pruner's name|not a plugin pruner and its SHA-256"):
        RunConfig.from_dict({"pruner": "mine", "pruner_sha256": SHA256} | changes)


def test_two_versions_are_distinguished_in_comparisons(made, mine, tiny_folder):
    mine.write_text(OTHER)
    again = finish(created(config(tiny_folder, method="adjusted", pruner="mine")))
    rows = side_by_side([made, again])
    assert len(set(names(rows).values())) == 2 and "base" not in rows[1].against
