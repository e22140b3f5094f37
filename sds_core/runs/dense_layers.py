"""The layers of the dense demo model, before any run has recorded them: they ship with the examples.

Of no other model: its files may have changed since.
"""

import zipfile
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

from sds_core.errors import SDSError
from sds_core.files import BROKEN_ZIP
from sds_core.pruning.titles import BASE
from sds_core.runs import examples
from sds_core.runs.layer_numbers import LayerNumbers, block_files, read_block
from sds_core.runs.run_folder import DISTRIBUTIONS


def dense_layers() -> dict[tuple[int, str], LayerNumbers]:
    """Return every layer of the demo model by block and linear; nothing where its example does not ship.

    Raises:
        SDSError: the example is broken.
    """
    path = examples.FOLDER / f"{BASE}-{examples.PRUNERS[0]}.zip"
    return _read(path) if path.exists() else {}


@lru_cache(maxsize=1)
def _read(path: Path) -> dict[tuple[int, str], LayerNumbers]:
    with TemporaryDirectory() as folder:
        try:
            with zipfile.ZipFile(path) as archive:
                (Path(folder) / DISTRIBUTIONS).mkdir()
                for name in archive.namelist():
                    if name.endswith(".parquet"):
                        (Path(folder) / DISTRIBUTIONS / Path(name).name).write_bytes(archive.read(name))
        except (OSError, *BROKEN_ZIP) as error:
            raise SDSError(f"the example {path.name} is broken: {error}") from error
        return {
            (block, linear): layer
            for block, paths in sorted(block_files(Path(folder)).items())
            for file in paths
            for (linear, stage, _), layer in read_block(file).items()
            if stage == "dense"
        }
