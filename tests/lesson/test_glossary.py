"""The glossary: one plain sentence a term, and every term that a page asks for."""

import ast
from pathlib import Path

import pytest

from sds_core.lesson.glossary import GLOSSARY
from sds_core.pruning.registry import PRUNERS

PAGES = sorted((Path(__file__).parents[2] / "pages").rglob("*.py"))


@pytest.mark.parametrize("term", GLOSSARY)
def test_an_explanation_is_one_sentence(term):
    sentence = GLOSSARY[term]
    assert sentence[0].isupper() and sentence.endswith(".") and ". " not in sentence
    assert 20 < len(sentence) < 180


def test_no_term_is_there_twice():
    assert len({term.casefold() for term in GLOSSARY}) == len(GLOSSARY)


def test_every_pruner_is_explained():
    assert {term.casefold() for term in GLOSSARY} >= set(PRUNERS)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_pages_ask_for_terms_that_are_there(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    asked = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("glossary_box."):
            asked += [ast.literal_eval(word) for word in node.args if not isinstance(word, ast.Starred)]
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "TERMS":
            asked += ast.literal_eval(node.value)
        literal = isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant)
        if literal and ast.unparse(node.value) == "GLOSSARY":
            asked.append(node.slice.value)
    assert set(asked) <= set(GLOSSARY)
    assert asked or path.name not in ("micro_page.py", "lab_page.py")
