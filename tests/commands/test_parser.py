"""Errors and help of the command line."""

import os
import subprocess
import sys

import pytest

from sds_core.__main__ import main

COMMANDS = ["app", "run", "resume", "inspect", "compare", "sweep", "demo", "list", "export", "pack", "import", "report"]
COMMANDS += ["evaluate", "text", "write-text", "convert", "write-lab-layer", "check-pruner", "cached"]


@pytest.mark.usefixtures("conformance_here")
@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["run", "--pruner", "wnda"], "unknown pruner: got 'wnda'; allowed: magnitude, wanda, sparsegpt"),
        (["run", "--pattern", "5:4"], "not an N:M pattern: got '5:4'"),
        (["run", "--pattern", "1.2"], "sparsity ratio out of range"),
        (["run", "--method", "base", "--rounds", "3"], "method base has no option rounds"),
        (["run", "--phase", "2", "--from", "../x"], "not a run id"),
        (["run", "--phase", "1", "--from", "x"], "--from requires --phase 2, 3 or 4"),
        (["compare", "--methods", "sdsd:wanda"], "unknown method"),
        (
            ["compare", "--methods", "base:wanda", "--rounds", "3"],
            "none of these methods has such an option: got 'rounds'",
        ),
        (["resume", "nothing"], "there is no such run"),
        (["run", "--pruners", "/nowhere"], "there is no such folder of plugin pruners: got '/nowhere'"),
        (["check-pruner", "/nowhere/mine.py"], "/nowhere/mine.py cannot be read: No such file"),
        (["check-pruner", "README.md"], "not a name for a plugin file: got 'README.md'"),
        (["export", "/etc/passwd", "out"], "not a run id"),
        (["import", "~no-such-user/x.zip"], "not a path: "),
        (["import", "x" * 5000], "not a path: File name too long"),
        (["check-pruner", "a\0b"], "not a path: "),
        (["report", "../x", "out.html"], "not a run id"),
        (["write-text", "--model", "/nowhere/model"], "no such model"),
    ],
)
def test_user_error_is_one_sentence_and_exit_code_1(words, sentence, capsys, runs_root):
    assert main(words) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert sentence in error
    assert len(error.strip().splitlines()) == 1
    assert not runs_root.exists() or not list(runs_root.iterdir())


@pytest.mark.parametrize("command", COMMANDS)
def test_command_has_help(command, capsys):
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    assert "usage" in capsys.readouterr().out


def test_help_lists_exactly_the_public_commands(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    listed = [
        line.split()[0] for line in capsys.readouterr().out.splitlines() if line.startswith("    ") and line[4] != " "
    ]
    assert sorted(listed) == sorted(COMMANDS)


def test_wrong_usage_exits_with_2(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["run", "--samples", "many"])
    assert caught.value.code == 2
    capsys.readouterr()


def test_list_loads_no_library_that_it_does_not_need(runs_root):
    code = "import sys\nfrom sds_core.__main__ import main\nassert main(['list']) == 0\n"
    code += "sys.exit(bool({'transformers', 'pandas', 'pyarrow', 'datasets'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], env=os.environ | {"SDS_RUNS": str(runs_root)}).returncode == 0
