"""The annotated tree in docs/architecture.md, made from the first sentence of every module.

python -m tests.package_map
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "architecture.md"
FOLDERS = ("pruning", "models", "runs", "comparison", "texts", "figures", "lesson", "reports", "extras", "commands")
"""In the order of imports."""
END = "app.py  pages/              the app; shared parts in pages/ui/; a wheel holds them in sds_core/app/"


def first_paragraph(path: Path) -> str:
    """Return the first paragraph of a module's docstring on one line, without its full stop."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(text.split("\n\n")[0].split()).rstrip(".")


def modules(folder: Path) -> list[Path]:
    """Return the modules of a folder in order."""
    return sorted(path for path in folder.glob("*.py") if path.name != "__init__.py")


def tree() -> Iterator[str]:
    """Yield the lines of the tree."""
    package = ROOT / "sds_core"
    yield "sds_core/"
    yield from (f"  {path.name:<25} {first_paragraph(path)}" for path in modules(package))
    for name in FOLDERS:
        yield f"  {name + '/':<25} {first_paragraph(package / name / '__init__.py')}"
        yield from (f"    {path.name:<23} {first_paragraph(path)}" for path in modules(package / name))
    yield END


def names(page: str) -> list[str]:
    """Return the modules that a page's tree lists, as paths inside sds_core."""
    folder, found = "", []
    for indent, name in re.findall(r"^(  |    )([\w]+(?:/|\.py)) ", page, re.MULTILINE):
        if name.endswith("/"):
            folder = name
        else:
            found.append(f"{folder if len(indent) > 2 else ''}{name}")
    return found


if __name__ == "__main__":
    page = PAGE.read_text(encoding="utf-8")
    lines = "\n".join(tree())
    PAGE.write_text(re.sub(r"(?s)```\nsds_core/\n.*?```", lambda _: f"```\n{lines}\n```", page), encoding="utf-8")
