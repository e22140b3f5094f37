"""The command line from outside: exit codes, sentences, what lies on disk."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from sds_core.__main__ import main
from sds_core.commands.flags import chosen
from sds_core.commands.parser import build_parser
from sds_core.pruning.conformance import CHECKS
from sds_core.runs.config import RunConfig
from sds_core.runs.run_folder import create
from tests.runs.test_plugin_file import SOUND, written
from tests.small_runs import work_here

ROOT = Path(__file__).parents[1]
SMALL = "--samples 3 --length 32 --eval-windows 4 --eval-length 32 --threads 1"


@pytest.fixture(autouse=True)
def runs_root(tmp_path, monkeypatch):
    monkeypatch.setenv("SDS_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


def small(folder, *words):
    text = [f"--calibration={folder}/text.txt@0-4000", f"--evaluation={folder}/text.txt@5000-9000"]
    return ["--model", str(folder), *text, *SMALL.split(), *words]


def test_run_list_and_export(tiny_folder, tmp_path, capsys, runs_root):
    assert main(["run", *small(tiny_folder, "--rounds", "3")]) == 0
    assert "perplexity final" in capsys.readouterr().out
    (folder,) = runs_root.iterdir()
    assert main(["list"]) == 0
    assert f"{folder.name}" in (told := capsys.readouterr().out)
    assert "finished" in told
    assert main(["export", folder.name, str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "model.safetensors").exists()
    assert main(["report", folder.name, str(tmp_path / "run.html")]) == 0
    assert str(tmp_path / "run.json") in capsys.readouterr().out
    assert folder.name in (tmp_path / "run.html").read_text(encoding="utf-8")
    assert main(["resume", folder.name]) == 1
    assert "finished already" in capsys.readouterr().err


@pytest.fixture
def in_this_process(monkeypatch):
    """Runs are worked off here, not in a process of their own."""

    def launch(runs):
        work_here(runs)
        return SimpleNamespace(poll=lambda: 0, wait=lambda: 0, returncode=0)

    monkeypatch.setattr("sds_core.commands.follow.launch", launch)


@pytest.mark.usefixtures("in_this_process")
def test_phase_by_phase(tiny_folder, runs_root, capsys):
    known: set[str] = set()
    words = small(tiny_folder, "--method", "sds", "--phase", "1")
    for phase in (1, 2, 3):
        assert main(["run", *words]) == 0
        (new,) = {p.name for p in runs_root.iterdir()} - known
        known.add(new)
        words = ["--phase", str(phase + 1), "--from", new, "--adjust-iterations", "3"]
    assert "perplexity final" in capsys.readouterr().out


@pytest.mark.usefixtures("in_this_process")
def test_compare_shows_all_methods_beside_each_other(tiny_folder, capsys, runs_root):
    assert main(["compare", *small(tiny_folder, "--rounds", "3"), "--methods", "base:magnitude", "sds-admm"]) == 0
    table = capsys.readouterr().out.rsplit("method ", 1)[1]
    assert "magnitude" in table
    assert table.count("50.0000%") == 2
    assert len(list(runs_root.iterdir())) == 2


def test_the_demo_is_a_comparison_of_both_kinds_of_sds_with_their_base(monkeypatch):
    made = []
    monkeypatch.setattr("sds_core.commands.start.follow_new", lambda runs: made.extend(runs) or 0)
    assert main(["demo"]) == 0
    configs = [run.config for run in made]
    methods = [(config.method, config.pruner) for config in configs]
    assert methods == [("base", "wanda"), ("base", "sparsegpt"), ("sds", "wanda"), ("sds-admm", "wanda")]
    settings = {(c.model, c.pattern, c.samples, c.length, c.schedule) for c in configs}
    assert settings == {("demo", "2:4", 8, 512, "fused")}


def test_an_own_pruner_is_checked_compared_and_refused_when_it_is_broken(
    tiny_folder, plugin_folder, in_this_process, capsys, runs_root
):
    path = written(plugin_folder, SOUND)
    assert main(["check-pruner", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("mine.py: Mine, SHA-256 ") and len(lines) > len(CHECKS)
    assert all(line.split()[1] == "ok" for line in lines[1:])
    os.environ["SDS_PRUNERS"] = ""  # the flag alone is enough
    words = [*small(tiny_folder), "--pruners", str(plugin_folder), "--methods"]
    assert main(["compare", *words, "base:mine", "base:magnitude"]) == 0
    table = capsys.readouterr().out.rsplit("method ", 1)[1].splitlines()
    assert "mine (own, " in table[1] and table[1].index("2:4") == table[2].index("2:4")
    path.write_text(SOUND.replace("* mask, mask", ", mask"))
    assert main(["compare", *words, "base:mine"]) == 1
    told = capsys.readouterr().err
    assert told.startswith("error: mine.py, line 5: Mine fails the check “zeros”") and len(told.splitlines()) == 1
    assert main(["check-pruner", str(path)]) == 1
    assert "FAIL  zeros" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["run", "--pruner", "wnda"], "unknown pruner: got 'wnda'; allowed: magnitude, wanda, sparsegpt"),
        (["run", "--pattern", "5:4"], "not an N:M pattern: got '5:4'"),
        (["run", "--pattern", "1.2"], "sparsity ratio out of range"),
        (["run", "--method", "base", "--rounds", "3"], "method base has no option rounds"),
        (["run", "--phase", "2", "--from", "../x"], "not a run id"),
        (["run", "--phase", "1", "--from", "x"], "--from requires --phase 2 or 3"),
        (["compare", "--methods", "sdsd:wanda"], "unknown method"),
        (
            ["compare", "--methods", "base:wanda", "--rounds", "3"],
            "none of these methods has such an option: got 'rounds'",
        ),
        (["resume", "nothing"], "there is no such run"),
        (["run", "--pruners", "/nowhere"], "there is no such folder of pruners: got '/nowhere'"),
        (["check-pruner", "/nowhere/mine.py"], "/nowhere/mine.py cannot be read: No such file"),
        (["check-pruner", "README.md"], "the file of a pruner cannot be called this: got 'README.md'"),
        (["export", "/etc/passwd", "out"], "not a run id"),
        (["report", "../x", "out.html"], "not a run id"),
        (["write-text", "--model", "/nowhere/model"], "no such model"),
    ],
)
def test_what_the_user_can_mend_is_one_sentence_and_exit_code_1(words, sentence, capsys, runs_root):
    assert main(words) == 1
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert sentence in told
    assert len(told.strip().splitlines()) == 1
    assert not runs_root.exists() or not list(runs_root.iterdir())


@pytest.mark.parametrize(
    "command", ["run", "compare", "write-text", "resume", "export", "report", "list", "demo", "text"]
)
def test_every_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    assert "usage" in capsys.readouterr().out


def test_wrong_usage_is_exit_code_2(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["run", "--samples", "many"])
    assert caught.value.code == 2
    capsys.readouterr()


def test_a_failing_run_is_exit_code_1_without_a_traceback(tmp_path, runs_root):
    done = subprocess.run(
        [sys.executable, "-m", "sds_core", "run", "--model", "/nowhere/model"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1
    assert "there is no such model folder or file: got '/nowhere/model'" in done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert not list(runs_root.iterdir()), "of a run that did nothing, nothing is kept"


@pytest.mark.usefixtures("in_this_process")
def test_a_cancelled_run_is_resumed_to_its_end(tiny_folder, capsys):
    run = create(RunConfig.from_dict(chosen(build_parser().parse_args(["run", *small(tiny_folder)]))))
    run.log.append({"kind": "cancelled", "message": "cancelled"})
    assert main(["resume", run.id]) == 0
    assert "perplexity final" in capsys.readouterr().out
    assert run.state() == "finished"


@pytest.mark.usefixtures("in_this_process")
def test_write_text_makes_the_source_self(tiny_folder, capsys):
    assert main(["write-text", "--model", str(tiny_folder), "--windows", "4", "--length", "32"]) == 0
    assert "4 of 4 windows" in capsys.readouterr().out
    words = small(tiny_folder, "--method", "base", "--calibration", "self")
    assert main(["run", *words]) == 0
