"""A pruner plugin on the command line."""

import os

import pytest

from sds_core.__main__ import main
from sds_core.pruning.conformance import CHECKS
from tests.runs.test_plugin_file import SOUND, written


@pytest.mark.usefixtures("conformance_here", "in_this_process")
def test_sound_plugin_passes_checks_and_is_compared(small, plugin_folder, capsys):
    path = written(plugin_folder, SOUND)
    assert main(["check-pruner", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("mine.py: Mine, SHA-256 ") and len(lines) > len(CHECKS)
    assert all(line.split()[1] == "ok" for line in lines[1:])
    os.environ["SDS_PRUNERS"] = ""  # the flag alone is enough
    assert main(["compare", *small("--pruners", str(plugin_folder)), "--methods", "base:mine", "base:magnitude"]) == 0
    table = capsys.readouterr().out.rsplit("method ", 1)[1].splitlines()
    assert "mine (plugin, " in table[1] and table[1].index("2:4") == table[2].index("2:4")


@pytest.mark.usefixtures("conformance_here")
def test_broken_plugin_is_refused_with_file_and_line(small, plugin_folder, capsys):
    path = written(plugin_folder, SOUND.replace("* mask, mask", ", mask"))
    assert main(["compare", *small("--pruners", str(plugin_folder)), "--methods", "base:mine"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: mine.py, line 5: Mine fails the check “zeros”") and len(error.splitlines()) == 1
    assert main(["check-pruner", str(path)]) == 1
    assert "FAIL  zeros" in capsys.readouterr().out
