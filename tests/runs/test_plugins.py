"""Pruners of one's own from their folder to a run's record, and what a run says when its file is another or gone."""

import dataclasses
import hashlib
import json
import shlex

import pytest

from sds_core.commands.flags import chosen
from sds_core.commands.parser import build_parser
from sds_core.errors import SDSError
from sds_core.pruning.registry import PRUNERS
from sds_core.reports import report
from sds_core.runs import plugins
from sds_core.runs.archive import pack, unpack
from sds_core.runs.compare import names, side_by_side
from sds_core.runs.config import RunConfig
from sds_core.runs.lineup import commands, lineup
from sds_core.runs.run_folder import create, open_run
from sds_core.runs.worker import launch
from tests.runs.test_plugin_file import SOUND, written
from tests.small_runs import config, finish, work_here

SHA256 = hashlib.sha256(SOUND.encode()).hexdigest()
OTHER = SOUND.replace("1.0", "2.0")


@pytest.fixture
def mine(plugin_folder):
    return written(plugin_folder, SOUND)


@pytest.fixture(scope="module")
def made(tiny_folder, tmp_path_factory):
    """A finished run of the same pruner, from a folder of its own; read only."""
    folder = tmp_path_factory.mktemp("made")
    written(folder, SOUND)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SDS_RUNS", str(folder / "runs"))
        patch.setenv(plugins.VARIABLE, str(folder))
        run = finish(create(config(tiny_folder, method="base", pruner="mine")))
    plugins.refresh()
    return run


def test_a_file_is_offered_changed_and_withdrawn_as_it_is(mine, plugin_folder):
    assert plugins.refresh() == {} and plugins.sha256_of("mine") == SHA256
    first = PRUNERS["mine"]
    plugins.refresh()
    assert PRUNERS["mine"] is first  # not run again
    mine.write_text(OTHER)
    plugins.refresh()
    assert PRUNERS["mine"]().power == 2.0
    mine.write_text("x = (")
    assert "line 1" in str(plugins.refresh()["mine"]) and "mine" not in PRUNERS
    with pytest.raises(SDSError, match=r"mine\.py, line 1"):
        RunConfig(pruner="mine")
    assert RunConfig(pruner="wanda")
    mine.write_text(SOUND)
    assert plugins.refresh() == {} and list(PRUNERS) == [*plugins.BUILT_IN, "mine"]
    mine.unlink()
    assert plugins.refresh() == {} and list(PRUNERS) == list(plugins.BUILT_IN)


def test_nothing_is_offered_where_no_folder_is_named(mine, monkeypatch):
    monkeypatch.delenv(plugins.VARIABLE)
    with pytest.raises(SDSError, match=r"unknown pruner: got 'mine'; allowed: magnitude, wanda, sparsegpt\. One of"):
        RunConfig(pruner="mine")


def test_a_folder_that_is_not_there_stops_no_other_pruner(monkeypatch):
    monkeypatch.setenv(plugins.VARIABLE, "/nowhere")
    for refused in (plugins.refresh, lambda: plugins.use("/nowhere"), lambda: RunConfig(pruner="mine")):
        with pytest.raises(SDSError, match="no such folder of pruners: got '/nowhere'"):
            refused()
    assert RunConfig(pruner="wanda")


def test_a_folder_that_goes_takes_its_pruners_along(mine, plugin_folder):
    plugins.refresh()
    mine.unlink()
    plugin_folder.rmdir()
    with pytest.raises(SDSError, match="no such folder"):
        plugins.refresh()
    assert list(PRUNERS) == list(plugins.BUILT_IN)
    plugin_folder.mkdir()


def test_a_link_that_leads_out_is_not_followed_and_a_linked_folder_is(plugin_folder, tmp_path, monkeypatch):
    written(tmp_path, "raise SystemExit", "outside.py")
    (plugin_folder / "outside.py").symlink_to(tmp_path / "outside.py")
    written(plugin_folder, SOUND)
    (tmp_path / "link").symlink_to(plugin_folder)
    monkeypatch.setenv(plugins.VARIABLE, str(tmp_path / "link"))
    assert "leads out of" in str(plugins.refresh()["outside"]) and "mine" in PRUNERS


def test_the_record_names_the_file_and_the_pages_do(made, tmp_path):
    assert made.config.pruner_sha256 == json.loads((made.folder / "config.json").read_text())["pruner_sha256"] == SHA256
    assert made.result()["pruned"] * 2 == made.result()["prunable"]
    title = f"mine (own, {SHA256[:8]})"
    assert names(side_by_side([made])) == {made.id: f"base pruner · {title}"}
    page = report.rendered(made)[".html"]
    assert title in page and f"<td>pruner sha256</td><td>{SHA256}</td>" in page


def test_the_command_line_of_a_run_names_the_folder(made, mine):
    assert "--pruner mine --method base" in made.result()["command"]
    values = chosen(build_parser().parse_args(shlex.split(made.config.command())[3:]))
    assert RunConfig.from_dict(values) == dataclasses.replace(made.config, pruner_sha256="")
    (line,) = commands([made.config, dataclasses.replace(made.config, pruner="wanda", pruner_sha256="")])
    options = build_parser().parse_args(shlex.split(line)[3:])
    assert options.pruners == str(mine.parent) and options.methods == ["base:mine", "base:wanda"]
    assert [c.pruner for c in lineup(chosen(options), options.methods)] == ["mine", "wanda"]


def test_a_changed_file_is_refused_at_resume_and_taken_for_a_new_run(mine, tiny_folder):
    run = create(config(tiny_folder, method="base", pruner="mine"))
    mine.write_text(OTHER)
    with pytest.raises(SDSError, match=rf"mine\.py changed since: its SHA-256 was {SHA256[:12]}… and is"):
        launch([run])
    work_here([run])  # one that was queued meanwhile
    assert run.state() == "failed" and "changed since" in run.log.read()[-1]["message"]
    assert create(config(tiny_folder, pruner="mine")).config.pruner_sha256 != SHA256
    mine.write_text(SOUND)
    assert finish(run).config.pruner_sha256 == SHA256


def test_a_branch_goes_on_with_the_file_of_its_parent(mine, tiny_folder):
    parent = finish(create(config(tiny_folder, method="sds", pruner="mine", schedule="staged", phase=1)))
    branch = parent.config.branch({"options": {"iterations": 2}}, parent.as_parent(2))
    assert create(branch).config.pruner_sha256 == SHA256
    mine.write_text(OTHER)
    with pytest.raises(SDSError, match="changed since"):
        create(branch)


def test_somebody_elses_record_opens_and_does_not_run(made, mine, tmp_path):
    pack(made, tmp_path / "run.zip")
    mine.unlink()
    run = unpack(tmp_path / "run.zip")
    assert open_run(run.id).config.pruner == "mine" and run.state() == "finished"
    assert side_by_side([run])[0].perplexity == run.result()["perplexity"]["sparse"]["value"]
    assert f"mine (own, {SHA256[:8]})" in report.rendered(run)[".html"]
    (run.folder / "result.json").unlink()
    sentence = rf"somebody's own, and its file is not here\. Put mine\.py \(SHA-256 {SHA256[:12]}…\) into a folder"
    for refused in (lambda: launch([run]), lambda: create(run.config)):
        with pytest.raises(SDSError, match=sentence):
            refused()


@pytest.mark.parametrize("changes", [{"pruner": "../x"}, {"pruner": "wanda"}, {"pruner_sha256": "../x"}])
def test_a_record_cannot_name_what_is_no_file(changes):
    with pytest.raises(SDSError, match="not the name and the SHA-256"):
        RunConfig.from_dict({"pruner": "mine", "pruner_sha256": SHA256} | changes)


def test_runs_of_two_versions_are_told_apart(made, mine, tiny_folder):
    mine.write_text(OTHER)
    again = finish(create(config(tiny_folder, method="adjusted", pruner="mine")))
    rows = side_by_side([made, again])
    assert len(set(names(rows).values())) == 2 and "base" not in rows[1].against
