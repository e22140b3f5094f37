"""All that the pages of a class use of the product, loaded at once: what is not loaded here, they cannot load later.

`tests/pages/test_class_imports.py` holds that none of it starts, creates, packs or unpacks anything.
"""

from importlib import import_module

MODULES = (
    "pages.classroom.ballot_box",
    "pages.ui.compare_page",
    "pages.ui.details_sources",
    "pages.ui.details_numbers",
    "pages.ui.lab_numbers",
    "pages.ui.lab_page",
    "pages.ui.micro_page",
    "pages.ui.opening",
    "pages.ui.own_pages",
    "pages.ui.studio_board",
    "pages.ui.walk_numbers",
    "pages.ui.pictures.lab",
    "pages.ui.pictures.start",
    "sds_core.lesson.lab",
    "sds_core.lesson.lab_layer",
    "sds_core.lesson.votes",
    "sds_core.runs.layer_stats",
)
"""With what they import themselves."""


def load() -> None:
    """Load them, and let each page compute in one thread: more only get in each other's way."""
    for name in MODULES:
        import_module(name)
    import_module("torch").set_num_threads(1)
