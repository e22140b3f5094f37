import pytest

from sds_core.errors import SDSError
from sds_core.models.own_text import store_text
from sds_core.models.text_reader import read_text
from sds_core.models.text_spec import TextSpec


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SDS_CACHE", str(tmp_path))
    return tmp_path


def test_two_texts_of_one_name_stay_apart():
    first, second = store_text("a.txt", b"one"), store_text("a.txt", b"two")
    assert first.name == second.name == "a.txt"
    assert (first.read_text(), second.read_text()) == ("one", "two")
    assert store_text("a.txt", b"one") == first


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Текст.TXT", "Текст.txt"),
        ("文.txt", "文.txt"),
        ("a b+c*2@0-5:d.txt", "a-b-c-2-0-5-d.txt"),
        ("../../etc/passwd", "etc-passwd.txt"),
        (".txt", "text.txt"),
        ("x" * 300 + ".txt", "x" * 40 + ".txt"),
    ],
)
def test_text_names_may_be_in_any_script(name, shown, own_cache):
    path = store_text(name, "ä".encode())
    assert path.name == shown and path.parent.parent == own_cache / "texts"
    (part,) = TextSpec.parse(str(path)).parts
    assert part.source == str(path) and read_text(str(path)) == "ä"


def test_what_is_no_text_is_refused(own_cache):
    with pytest.raises(SDSError, match=r"a\.txt is not a text in UTF-8"):
        store_text("a.txt", b"\xff\xfe")
    assert not list(own_cache.iterdir())
