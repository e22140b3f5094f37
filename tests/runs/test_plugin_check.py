"""The conformance suite in a process of its own: outcomes, refusals, plugins that hang or end their process."""

import pytest

from sds_core.errors import SDSError
from sds_core.pruning.conformance import CHECKS
from sds_core.runs import plugin_check
from sds_core.runs.plugin_check import accept, run_suite
from tests.runs.test_plugin_file import RETURN, SOUND, written


def refused(folder, source):
    """The sentence with which a plugin is refused."""
    with pytest.raises(SDSError) as caught:
        accept(folder / "mine.py", source.encode())
    return str(caught.value)


def test_sound_plugin_passes_every_check(tmp_path):
    path = written(tmp_path, "what is on disk does not matter")
    result = run_suite(path, ("print('at import')\n" + SOUND).encode())
    assert (result.cls, result.line) == ("Mine", 6)
    assert [outcome.check for outcome in result.outcomes] == list(CHECKS)
    assert not any(outcome.actual for outcome in result.outcomes)


@pytest.mark.usefixtures("conformance_here")
def test_first_failed_check_is_named_with_its_line(tmp_path):
    sentence = refused(tmp_path, SOUND.replace(RETURN, "return Pruned(0.5 * problem.weight, mask)"))
    assert sentence.startswith("mine.py, line 5: Mine fails the check “zeros”: expected zero weights wherever the mask")
    assert f"See all checks: python -m sds_core check-pruner {tmp_path}/mine.py" in sentence


@pytest.mark.usefixtures("conformance_here")
def test_exception_is_named_with_its_line(tmp_path):
    sentence = refused(tmp_path, SOUND.replace(RETURN, "return 1 / 0"))
    assert "fails the check “structure”" in sentence and "got mine.py, line 10: ZeroDivisionError" in sentence


@pytest.mark.usefixtures("conformance_here")
def test_invalid_file_is_refused_as_on_import(tmp_path):
    sentence = "mine.py, line 1: there is no class with solve(problem, pattern). Start from docs/my_pruner.py."
    assert refused(tmp_path, "x = 1") == sentence


@pytest.mark.parametrize(
    ("source", "place"),
    [
        ("x = 1\nwhile x: pass", "mine.py, line 2: the import"),
        (SOUND.replace(RETURN, "while True: pass"), "mine.py, line 10: the check “structure”"),
    ],
)
def test_endless_loop_is_stopped_with_its_line(tmp_path, monkeypatch, source, place):
    monkeypatch.setattr(plugin_check, "TIME_LIMIT", 1)
    assert refused(tmp_path, source).startswith(f"{place} did not end within 1 s. Look for an endless loop")


def test_process_that_does_not_stop_itself_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr(plugin_check, "TIME_LIMIT", 1)
    monkeypatch.setattr(plugin_check, "GRACE", 0)
    deaf = "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])\nwhile True: pass"
    assert refused(tmp_path, deaf).startswith("mine.py: the import did not end within 1 s")


def test_plugin_that_ends_its_process_is_refused(tmp_path):
    sentence = refused(tmp_path, SOUND.replace(RETURN, "import os; os._exit(3)"))
    assert sentence == "mine.py: the check “structure” ended the process with exit code 3."
