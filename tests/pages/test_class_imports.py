"""The class's process loads nothing that starts, creates, packs or unpacks, and its pages call nothing that changes."""

import ast
from pathlib import Path

import pytest

from pages.classroom.engine import MODULES
from tests.test_layers import imports

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted(path.stem for path in (ROOT / "pages" / "classroom").glob("*.py") if path.stem != "__init__")
ABLE = (
    *("sds_core.commands", "sds_core.extras", "sds_core.library", "sds_core.reports", "sds_core.texts"),
    *(f"sds_core.runs.{name}" for name in ("archive", "examples", "new_run", "worker", "launch_phases", "run_job")),
    *(f"sds_core.runs.{name}" for name in ("phase_job", "model_cache", "run_context", "measure", "external", "note")),
    *(f"sds_core.runs.{name}" for name in ("plugins", "plugin_file", "plugin_check", "device_queue", "estimate")),
    *("sds_core.block_pass", "sds_core.sds", "sds_core.lesson.classroom", "sds_core.lesson.example_runs"),
    *(f"pages.ui.{name}" for name in ("studio_choice", "studio_steps", "studio_runs", "studio_options", "own_text")),
    *(f"pages.ui.{name}" for name in ("run_panel", "compare_more", "text_job", "text_query", "progress")),
)
"""Modules that start processes, write, delete, load models, or read what an address or a form names."""
CHANGING = {"delete", "cancel", "drop_weights", "make_folder", "take_lock", "writer", "write_text", "write_bytes"}
CHANGING |= {"unlink", "rmtree", "mkdir", "touch", "rename", "replace_file", "symlink_to", "Popen", "system", "launch"}
CHANGING |= {"file_uploader", "text_input", "text_area", "chat_input", "download_button", "camera_input", "data_editor"}


def source(name: str) -> Path | None:
    """The file of one of our own modules."""
    path = ROOT.joinpath(*name.split("."))
    return next((one for one in (path.with_suffix(".py"), path / "__init__.py") if one.exists()), None)


def loaded(*names: str) -> set[str]:
    """Our own modules that are loaded with these."""
    found: set[str] = set()
    todo = list(names)
    while todo:
        name = todo.pop()
        if source(name) is None:
            name = name.rpartition(".")[0]
        path = source(name)
        if path is None or name in found or name.partition(".")[0] not in ("sds_core", "pages"):
            continue
        found.add(name)
        package = name if path.stem == "__init__" else name.rpartition(".")[0]
        todo += imports(ast.parse(path.read_text("utf-8")), package, at_import_time=True)
    return found


def able(names: set[str]) -> list[str]:
    return sorted(name for name in names if any(name == one or name.startswith(one + ".") for one in ABLE))


def test_nothing_that_acts_is_loaded():
    found = loaded(*MODULES)
    assert len(found) > 60 and able(found) == []


def test_what_acts_would_be_noticed():
    assert able(loaded("sds_core.lesson.classroom", "pages.ui.run_panel", "sds_core.runs.dense_layers"))
    assert all(source(one) or ROOT.joinpath(*one.split(".")).is_dir() for one in ABLE)


@pytest.mark.parametrize("script", SCRIPTS)
def test_pages_import_only_what_is_loaded(script):
    """Imports inside functions count: behind the closed doors there are no others."""
    tree = ast.parse((ROOT / "pages" / "classroom" / f"{script}.py").read_text("utf-8"))
    own = {name for name in imports(tree, "pages.classroom") if name.partition(".")[0] in ("sds_core", "pages")}
    assert loaded(*own) <= loaded(*MODULES, "pages.classroom.engine", "pages.classroom.guard")


LATER = {"sds_core.runs.plugins", "sds_core.runs.examples"}
"""What a function of theirs imports that the class does not call."""


@pytest.mark.parametrize("name", sorted(one for one in loaded(*MODULES) if one.startswith("pages.")))
def test_their_functions_import_only_what_is_loaded(name):
    path = source(name)
    assert path is not None
    package = name if path.stem == "__init__" else name.rpartition(".")[0]
    for function in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(function, ast.FunctionDef):
            own = {one for one in imports(function, package) if one.partition(".")[0] in ("sds_core", "pages")}
            here = {one if source(one) else one.rpartition(".")[0] for one in own}
            assert here - LATER <= loaded(*MODULES), function.name


@pytest.mark.parametrize("name", sorted(one for one in loaded(*MODULES) if one.startswith("pages.")))
def test_pages_call_nothing_that_changes_or_takes_text(name):
    path = source(name)
    assert path is not None
    calls = [node.func for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Call)]
    said = {call.attr if isinstance(call, ast.Attribute) else getattr(call, "id", "") for call in calls}
    assert said & CHANGING == set()
