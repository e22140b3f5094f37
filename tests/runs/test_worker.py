"""What stops a worker becomes the last event of its log."""

import pytest

from sds_core.runs.events import JobFailed
from sds_core.runs.job_folder import JobFolder
from sds_core.runs.worker import attempt
from tests.models.test_load import PanicException


def test_a_panic_of_a_library_is_noted_with_its_traceback(tmp_path):
    def panic(_):
        raise PanicException("index out of bounds")

    job = JobFolder(tmp_path)
    with pytest.raises(SystemExit):
        attempt(job, panic)
    last = job.log.read()[-1]
    assert isinstance(last, JobFailed) and last.internal and "index out of bounds" in last.message
    assert "PanicException" in job.errors.read_text()
