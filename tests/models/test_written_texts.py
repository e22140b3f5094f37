"""A model that has written text of its own is known by its name; a broken file is nobody's."""

import torch

from sds_core.models.cache import self_text_folder
from sds_core.models.calibration import save_self_text
from sds_core.models.written_texts import has_written


def test_only_the_writer_has_written(tmp_path, monkeypatch):
    monkeypatch.setenv("SDS_CACHE", str(tmp_path))
    assert has_written("demo") and not has_written("someone/tiny")
    save_self_text(self_text_folder() / "a.safetensors", torch.ones(2, 4, dtype=torch.int64), {"model": "someone/tiny"})
    (self_text_folder() / "b.safetensors").write_bytes(b"broken")
    assert has_written("someone/tiny") and not has_written("someone/else")
