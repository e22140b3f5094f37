"""The Report page: its files are those of the command, and it says how to repeat and cite."""

from sds_core.reports.report import rendered
from tests.pages.test_studio_runs import CANCELLED, MODEL, texts

PAGE = "pages/report.py"


def test_without_runs_it_says_where_to_make_one(runs, app):
    at = app(PAGE)
    assert not at.exception and "There are no runs yet" in at.info[0].value


def test_run_that_is_not_finished_has_no_report_yet(runs, app, made):
    run = made(MODEL, CANCELLED)
    at = app(PAGE, run=run.id)
    assert not at.exception and "once the run has finished" in texts(at) and not at.download_button


def test_finished_run_offers_files_command_and_citation(finished, app):
    run = finished["fused"]
    at = app(PAGE, run=run.id)
    assert not at.exception
    assert {button.key for button in at.download_button} == {"file-html", "file-csv", "file-json", "pack"}
    assert at.code[0].value == run.result().command and "2408.10473" in at.code[1].value
    assert run.result().evaluation.sha256[:12] in texts(at)


def test_lists_stay_out_of_the_spreadsheet(finished):
    files = rendered(finished["fused"])
    head = files[".csv"].splitlines()[0].split(",")
    assert "loss" in head and not {"counts", "joint", "crop"} & set(head)
    assert '"joint"' in files[".json"]
