"""The command `app`: what it starts, and where that listens."""

import os
import socket
import sys
from pathlib import Path

import pytest

from pages.classroom import serve
from sds_core.__main__ import main
from sds_core.commands import app, class_servers
from sds_core.lesson.classroom import Classroom

ROOT = Path(__file__).parents[2]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The command line of the process that takes this one's place."""
    words: list[str] = []
    monkeypatch.setattr(os, "execv", lambda program, arguments: words.extend(arguments))
    return words


def test_app_listens_on_the_loopback_address_unless_told(started):
    main(["app"])
    here = ["--server.address=127.0.0.1", "--server.port=8501", "--browser.serverAddress=127.0.0.1"]
    assert started == [sys.executable, "-m", "streamlit", "run", str(ROOT / "app.py"), *here]


def test_app_on_the_network_answers_its_own_names_only(started):
    main(["app", "--address", "0.0.0.0", "--port", "9000"])
    assert {"--server.address=0.0.0.0", "--server.port=9000"} < set(started)
    hosts = {word.partition("=")[2] for word in started if word.startswith("--server.allowedHosts=")}
    assert {"localhost", "127.0.0.1", socket.gethostname()} <= hosts and "*" not in hosts


def test_app_on_the_network_says_loudly_what_that_means(started, capsys):
    main(["app"])
    assert capsys.readouterr() == ("", "")
    main(["app", "--address", "0.0.0.0"])
    assert "warning: whoever reaches 0.0.0.0:8501 may use the app as you can" in capsys.readouterr().err


def test_app_on_every_address_gets_a_name_to_print(started):
    main(["app", "--address", "0.0.0.0"])
    assert f"--browser.serverAddress={socket.gethostname()}" in started


def test_installed_app_is_found_inside_the_package(tmp_path, monkeypatch):
    package = tmp_path / "sds_core"
    (package / "app").mkdir(parents=True)
    (package / "app" / "app.py").touch()
    monkeypatch.setattr(app, "__file__", str(package / "commands" / "app.py"))
    assert app.app_file() == package / "app" / "app.py"


def test_a_class_has_two_servers_and_the_teachers_is_for_this_machine_alone(monkeypatch):
    said = []
    monkeypatch.setattr(class_servers, "serve", lambda *words: said.append(words) or 0)
    main(["app", "--class", "--port", "9000"])
    ((script, teacher, port, hosts),) = said
    assert (script, port) == (ROOT / "app.py", 9001) and "127.0.0.1" in hosts
    assert {"--server.address=127.0.0.1", "--server.port=9000"} < set(teacher)
    assert main(["app", "--class", "--address", "0.0.0.0"]) == 1 and len(said) == 1


def test_the_classs_server_gets_no_token_and_no_folder_of_the_teacher(monkeypatch, tmp_path):
    for name in ("HF_TOKEN", "SDS_PRUNERS", "SDS_CACHE", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "secret")
    own = class_servers.environment(Classroom(tmp_path), ROOT / "app.py")
    assert "secret" not in own.values()
    assert own["SDS_RUNS"] == str(tmp_path / "runs") and own["HOME"] == own["SDS_CLASS"] == str(tmp_path)


def test_options_of_the_classs_server_are_narrower(monkeypatch):
    found = serve.options(9001, "abc234", ["192.0.2.1", "localhost"])
    assert found["server.baseUrlPath"] == "abc234" and found["server.allowedHosts"] == ["192.0.2.1", "localhost"]
    assert found["server.maxUploadSize"] == 0 and found["client.showErrorDetails"] == "none"
    assert found["browser.gatherUsageStats"] is False and found["theme.light.backgroundColor"] == "#FFFFFF"
