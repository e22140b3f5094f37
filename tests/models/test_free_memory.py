"""The limits of a process's group count, and a failed allocation is said as what it is."""

import errno

import psutil
import pytest
import torch

from sds_core.models.free_memory import free_memory, out_of_memory

MB = 1 << 20


def test_version_2_the_tightest_limit_above_counts(grouped):
    grouped(
        "0::/outer/inner\n",
        **{
            "outer/memory.max": f"{900 * MB}\n",
            "outer/memory.current": f"{500 * MB}\n",
            "outer/memory.stat": f"anon 1\ninactive_file {100 * MB}\n",
            "outer/inner/memory.max": "max\n",
            "outer/inner/memory.current": f"{MB}\n",
            "outer/inner/memory.stat": "inactive_file 0\n",
        },
    )
    assert free_memory() == 500 * MB  # what is cached of files gives way


def test_cgroup_version_1_in_a_container_is_read(grouped):
    grouped(
        "4:cpu:/docker/x\n3:memory:/docker/x\n",
        **{
            "memory/memory.limit_in_bytes": f"{900 * MB}",
            "memory/memory.usage_in_bytes": f"{200 * MB}",
            "memory/memory.stat": "inactive_file 5\ntotal_inactive_file 0\n",
        },
    )
    assert free_memory() == 700 * MB


@pytest.mark.parametrize("membership", ["", "nonsense\n", "0::/\n", "3:memory:/gone\n"])
def test_without_a_limit_the_machine_counts(grouped, membership):
    grouped(membership)
    assert 0 < free_memory() <= psutil.virtual_memory().total


def test_failed_allocation_is_reported_with_numbers():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.uint8)
    message = str(out_of_memory(caught.value))
    assert f"memory ran out: {(1 << 60) >> 20:,} MB more were needed at once; " in message
    assert "MB are free now. Close other programs" in message and "--weights disk" in message
    on_gpu = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has ...")
    assert "2,560 MB more were needed" in str(out_of_memory(on_gpu))


def test_other_errors_are_not_memory():
    assert out_of_memory(RuntimeError("shapes do not fit")) is out_of_memory(OSError(errno.EIO, "I/O")) is None
    assert out_of_memory(MemoryError()) and out_of_memory(OSError(errno.ENOMEM, "Cannot allocate memory"))
