"""Every page at two widths and in both themes, with the runs that come along: python -m tests.pages.screenshots."""

import os
import sys
import tempfile
from pathlib import Path

from sds_core.models.load import cache_folder
from sds_core.runs.examples import take_in
from tests.pages.browser import server, visitors


def main(target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as runs:
        os.environ["SDS_RUNS"] = runs
        examples = [run.id for run in take_in()]
        one = next((run for run in examples if run.startswith("sds-memory")), "")
        paths = {
            "start": "/",
            "walk": "/walk?step=3",
            "micro": "/micro",
            "lab": "/lab",
            "run": f"/run?run={one}",
            "layer": f"/layer?run={one}&cell=20.mlp.up_proj",
            "compare": f"/compare?runs={','.join(examples)}",
            "report": f"/report?run={one}",
            "text": "/text",
        }
        with server(Path(runs), cache_folder()) as address, visitors(address) as visit:
            for name, path in paths.items():
                for width in (1280, 800):
                    for scheme in ("light", "dark"):
                        visitor = visit(width=width, scheme=scheme).open(path)
                        visitor.page.wait_for_timeout(1500)
                        visitor.whole(target / f"{name}-{width}-{scheme}.png")
                        print(name, width, scheme, *visitor.errors, *visitor.left)
                        visitor.page.context.close()


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "screenshots"))
