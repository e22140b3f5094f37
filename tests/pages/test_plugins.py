"""Plugin pruners on the pages: offered while they conform, a warning while they do not."""

import pytest

from sds_core.runs.plugins import load_registry
from tests.pages.conftest import tiny
from tests.pages.test_micro import PAGE as MICRO
from tests.pages.test_micro import keys, numbers
from tests.pages.test_studio_runs import address, texts
from tests.runs.test_plugin_file import SOUND, written

pytestmark = pytest.mark.usefixtures("conformance_here")
LAB = "pages/lab.py"
MOVES = SOUND.replace("problem.weight * mask", "problem.weight * mask * (1 if mask.all() else 1.5)")
SCORES = "    def scores(self, problem):\n        return -1 / (1 + problem.weight.abs())\n"


def test_micro_shows_mask_change_and_source(runs, app, plugin_folder):
    written(plugin_folder, MOVES.replace("class Mine:\n", 'class Mine:\n    """It keeps **large** ones."""\n'))
    at = app(MICRO, pruner="mine")
    assert not at.exception and not at.warning and r"It keeps \*\*large\*\* ones." in texts(at)
    while any(button.key == "micro-next" for button in at.button):
        at.button(key="micro-next").click().run()
        assert not at.exception and not at.error
        if address(at, "step") == "prune":
            assert keys(at) == ["pruned", "moved"] and "class Mine:" in at.code[0].value
            assert "the two with the highest scores" not in texts(at) and "kept weights have changed" in texts(at)
    assert keys(at) == ["first", "final"]


def test_micro_shows_negative_scores(runs, app, plugin_folder):
    written(plugin_folder, SOUND + SCORES)
    at = app(MICRO, pruner="mine", step="prune")
    assert not at.exception and keys(at) == ["scores", "pruned"] and "the two with the highest scores" in texts(at)
    assert min(numbers(at, "scores")) < 0


def test_lab_uses_an_edited_plugin_next(runs, app, plugin_folder):
    path = written(plugin_folder, SOUND)
    at = app(LAB, pruner="mine", rounds="1")
    numbers = lambda: at.get("bidi_component")[0].proto.json
    before = numbers()
    path.write_text(SOUND.replace("problem.weight.abs()", "(problem.weight * problem.gram.norms).abs()"))
    at.run()
    assert not at.exception and not at.warning and numbers() != before


@pytest.mark.parametrize("page", [MICRO, LAB, "pages/studio.py"])
def test_broken_plugin_is_only_a_warning(runs, app, plugin_folder, page):
    written(plugin_folder, SOUND.replace("* mask, mask", ", mask"))
    at = app(page, rounds="1")
    assert not at.exception and not at.error
    assert at.warning[0].value.startswith("A plugin pruner is not available: mine.py, line")


def test_missing_folder_is_only_a_warning(runs, app, plugin_folder):
    plugin_folder.rmdir()
    at = app(MICRO)
    assert not at.exception and keys(at) == ["norms", "weight"]
    assert "no such folder of plugin pruners" in at.warning[0].value


def test_resuming_needs_the_plugin(runs, app, plugin_folder, tiny_folder, monkeypatch):
    from sds_core.runs.new_run import create

    path = written(plugin_folder, SOUND)
    run = create(tiny(tiny_folder, method="base", pruner="mine"), load_registry())
    monkeypatch.setattr("subprocess.Popen", lambda *_, **__: pytest.fail("a worker was started"))
    at = app("pages/studio.py", manage=run.id)
    assert "mine" in at.button_group(key="studio-pruners").options
    assert f"mine (plugin, {run.config.pruner_sha256[:8]})" in texts(at)
    path.unlink()
    at = app("pages/studio.py", manage=run.id)
    assert not at.exception
    at.button(key="resume").click().run()
    assert not at.exception and any("Put mine.py (SHA-256" in error.value for error in at.error)
