"""A footer's numbers against pyarrow's own, and damage that pyarrow's objects do not survive."""

import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sds_core.runs.parquet_footer import Footer, read_footer


@pytest.fixture
def path(tmp_path):
    table = pa.table(
        {
            "name": ["a", "b", "c"] * 40,
            "counts": [[1, 2], [], [3]] * 40,
            "loss": [0.5, None, 1.5] * 40,
            "on": [True] * 120,
        }
    )
    pq.write_table(table, tmp_path / "x.parquet", row_group_size=50, write_page_index=True)
    return tmp_path / "x.parquet"


def test_numbers_are_those_of_pyarrow(path):
    metadata = pq.ParquetFile(path).metadata
    columns = [
        metadata.row_group(i).column(j) for i in range(metadata.num_row_groups) for j in range(metadata.num_columns)
    ]
    expected = Footer(sum(c.num_values for c in columns), sum(c.total_uncompressed_size for c in columns))
    assert read_footer(path) == expected and metadata.num_row_groups == 3


def test_damage_gives_a_number_or_an_error(path):
    data, dice = path.read_bytes(), random.Random(0)
    length = int.from_bytes(data[-8:-4], "little")
    for _ in range(400):
        damaged = bytearray(data)
        damaged[dice.randrange(len(data) - 8 - length, len(data))] ^= 1 << dice.randrange(8)
        path.write_bytes(damaged)
        try:
            read_footer(path)
        except ValueError as error:
            assert str(error) in ("its footer is damaged", "it does not end like a Parquet file")


@pytest.mark.parametrize(
    "data", [b"", b"PAR1", b"\xff" * 100 + b"PAR1", b"\x19" * 60 + (60).to_bytes(4, "little") + b"PAR1"]
)
def test_other_files_are_refused(tmp_path, data):
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(ValueError, match=r"Parquet file|damaged"):
        read_footer(tmp_path / "x")
