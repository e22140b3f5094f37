"""What the Studio says before a run: cost of phases and presets, texts in words, uploaded texts, the command lines."""

import pytest
import torch

from pages.ui import outlook
from sds_core.models import find_model, hub_data_sets
from sds_core.models.cache import self_text_folder
from sds_core.models.calibration import save_self_text
from sds_core.models.hub_data_sets import CachedDataSet
from sds_core.runs import experiment
from sds_core.runs.planned import planned
from sds_core.runs.presets import PRESETS
from sds_core.runs.variant import Variant
from tests.pages.conftest import SDS, WANDA
from tests.pages.test_studio import open_with
from tests.pages.test_studio_runs import STUDIO, texts
from tests.small_runs import config


def test_without_a_like_run_nothing_is_promised(runs, app):
    assert "how long it takes is not known" in texts(app(STUDIO))


def test_the_forecast_covers_every_phase_that_the_buttons_run(stepped, app):
    at = app(STUDIO)
    at.session_state["option-seed"] = 1  # another experiment, judged by the finished one
    at.run()
    said = texts(at)
    assert "Phase 1, 1 run: about" in said and "All that is left, 3 runs: about" in said
    assert "; without" not in said and "GB of memory free" in said
    at.button_group(key="studio-methods").set_value(["sds", "sds-admm"]).run()
    assert "All that is left, 5 runs: about" in (said := texts(at))
    assert "without phase 2 of SDS-ADMM" in said and "phase 3 of SDS-ADMM" in said


def test_the_command_lines_are_those_of_all_phases(stepped, app):
    commands = app(STUDIO).code[0].value.splitlines()
    assert [command.partition("--phase ")[2][0] for command in commands] == ["1", "2", "3"]
    assert all(f"--experiment {stepped.name}" in command for command in commands)
    assert "--method base" in commands[0] and "--iterations 2" in commands[1]


def test_presets_show_their_tokens_and_time(stepped, app):
    def parts() -> dict[str, str]:
        said = next(one.value for one in at.caption if "**quick**" in one.value)
        return dict(zip(PRESETS, said.split(" · "), strict=True))

    at = app(STUDIO)
    assert "reads 4,608 tokens, is measured on 8,192" in parts()["quick"]  # 8 windows of 512 and one held out
    assert "is not for these texts: calibration and evaluation share" in parts()["paper"], "whose rows are whole"
    assert "about" not in parts()["quick"], "no run here took so many iterations"
    at.button_group(key="studio-methods").set_value([]).run()
    assert "about" in parts()["quick"] and "about" in parts()["best"], "a base pruner alone, not adjusted"


def test_the_time_of_a_preset_is_that_of_the_options_it_fills_in(stepped, app, monkeypatch):
    asked = []
    forecast = outlook.forecast
    monkeypatch.setattr(outlook, "forecast", lambda configs: asked.append(list(configs)) or forecast(configs))
    at = app(STUDIO)
    at.session_state["option-seed"] = 1
    asked.clear()
    at.run()
    best = next(configs for configs in asked if configs[0].samples == PRESETS["best"]["samples"])
    assert [(one.method, one.phase, one.reconstruct, one.options) for one in best] == [
        ("base", 1, "matrix", {}),
        ("sds", 2, "matrix", {}),
        ("sds", 3, "block", {}),
    ]


def test_a_preset_leaves_texts_and_methods_alone(stepped, app):
    at = app(STUDIO)
    before = at.session_state["option-calibration"], at.session_state["studio-methods"]
    at.button_group(key="studio-preset").set_value("best").run()
    assert at.number_input(key="option-samples").value == PRESETS["best"]["samples"]
    assert (at.session_state["option-calibration"], at.session_state["studio-methods"]) == before


def test_a_preset_is_the_same_recipe_after_another(stepped, app):
    at = app(STUDIO)
    for name in ("option-calibration", "option-evaluation"):
        at.session_state[name] = "python-docs"
    for preset in ("paper", "best", "quick"):
        at.button_group(key="studio-preset").set_value(preset).run()
        assert not at.exception and at.session_state["studio-preset"] is None, "it can be pressed again"
        assert at.session_state["option-samples"] == PRESETS[preset]["samples"]
        for name, default in {"held_out": 1, "bos": "window", "eval_rows": "stripped", "reconstruct": "matrix"}.items():
            assert at.session_state[f"option-{name}"] == PRESETS[preset].get(name, default), (preset, name)


def test_samples_length_and_self_are_explained_with_their_numbers(runs, app):
    said = texts(app(STUDIO))
    assert "8 windows (samples) of 512 tokens (length), and 1 more that no solver sees, from “self”" in said
    assert "text that the model has written itself" in said


def test_a_model_without_a_text_of_its_own_is_offered_another(runs, app, tiny_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("SDS_CACHE", str(tmp_path))
    assert "this one has none here" not in texts(app(STUDIO))  # the demo's text comes along
    of_another = torch.ones(2, 4, dtype=torch.int64)
    save_self_text(self_text_folder() / "a.safetensors", of_another, {"model": "someone/else"})
    at = open_with(model=str(tiny_folder))
    assert "Calibration: “self” is text that a model wrote itself; this one has none here." in texts(at)
    at.button(key="take-docs").click().run()
    assert at.session_state["option-calibration"] == "python-docs"
    assert "this one has none here" not in texts(at)


def test_what_the_hub_cache_holds_is_offered_with_its_size(runs, app, monkeypatch):
    text = "hub:a/news::train:body"
    monkeypatch.setattr(find_model, "cached_models", lambda: {"someone/tiny": 2_500_000_000})
    monkeypatch.setattr(hub_data_sets, "cached_data_sets", lambda: [CachedDataSet("a/news", 12_300_000, (text,))])
    at = app(STUDIO)
    assert "someone/tiny · 2.5 GB, on this machine" in at.selectbox(key="option-model").options
    for purpose in ("calibration", "evaluation"):
        box = at.selectbox(key=f"option-{purpose}")
        assert f"{text} · 12.3 MB, on this machine" in box.options
        box.select(f"{text} · 12.3 MB, on this machine")
    at.run()
    assert at.session_state["option-calibration"] == at.session_state["option-evaluation"] == text


@pytest.mark.parametrize("name", ["my text.txt", "../../evil.txt", "....txt"])
def test_uploaded_text_is_cached_and_chosen(runs, app, cache, name):
    at = app(STUDIO)
    at.file_uploader(key="own-text").upload(name, b"word " * 50, "text/plain").run()
    at.button(key="use-evaluation").click().run()
    assert not at.exception
    (path,) = (cache / "texts").rglob("*.txt")
    assert path.read_bytes() == b"word " * 50 and path.parents[1] == cache / "texts"
    assert str(path) in at.code[0].value
    path.unlink()


def test_an_uploaded_text_is_counted_in_the_models_tokens(stepped, app):
    at = app(STUDIO)
    at.file_uploader(key="own-text").upload("own.txt", b"a b" * 50, "text/plain").run()
    said = next(one.value for one in at.markdown if "characters" in one.value)
    # 3 windows of 32 tokens and one held out; 4 of 32
    assert said.startswith("150 characters, ") and "enough for calibration (128)" in said


def test_upload_that_is_no_text_is_reported(runs, app):
    at = app(STUDIO)
    at.file_uploader(key="own-text").upload("own.txt", b"\xff\xfe\x00", "text/plain").run()
    assert "not a text in UTF-8" in at.error[0].value and not at.exception


def test_planned_runs_are_those_that_phases_will_create(runs, tiny_folder):
    """Before phase 1 as after it; a base pruner that is not ticked is run all the same."""
    found = experiment.with_settings(config(tiny_folder))
    both = [SDS, Variant("base", "magnitude")]
    configs = planned(found, both)
    assert [(one.phase, one.method, one.pruner) for one in configs] == [
        (1, "base", "wanda"),
        (1, "base", "magnitude"),
        (2, "sds", "wanda"),
        (3, "sds", "wanda"),
    ]
    assert configs[0] == found.config_of(WANDA, 1)
