"""Threads go by the cores that this process may use."""

import os

import pytest
import torch

from sds_core.models.cpu_cores import usable_cores
from sds_core.models.device import use_threads


@pytest.fixture
def many(monkeypatch):
    """A process that may run on 16 of 64 cores."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)


@pytest.mark.parametrize(
    ("membership", "files", "cores"),
    [
        ("", {}, 16),
        ("0::/job\n", {"job/cpu.max": "max 100000\n"}, 16),
        ("0::/job\n", {"job/cpu.max": "400000 100000\n"}, 4),
        ("0::/job/step\n", {"job/cpu.max": "250000 100000\n", "job/step/cpu.max": "max 100000\n"}, 3),
        ("0::/job\n", {"job/cpu.max": "5000 100000\n"}, 1),
        ("0::/job\n", {"job/cpu.max": "3200000 100000\n"}, 16),
        ("0::/job\n", {"job/cpu.max": "nonsense"}, 16),
        ("4:cpu,cpuacct:/docker/x\n", {"cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 2),
        ("4:cpu,cpuacct:/docker/x\n", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 16),
        ("4:memory:/docker/x\n", {"cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 16),
    ],
)
def test_the_least_of_affinity_and_quotas_counts(many, grouped, membership, files, cores):
    grouped(membership, **files)
    assert usable_cores() == cores


def test_where_there_is_no_affinity_all_cores_count(many, grouped, monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity")
    grouped("")
    assert usable_cores() == 64


def test_threads_are_as_asked_or_one_for_each_core(many, grouped):
    grouped("0::/job\n", **{"job/cpu.max": "300000 100000\n"})
    before = torch.get_num_threads()
    try:
        assert (use_threads(0), torch.get_num_threads()) == (3, 3)
        assert (use_threads(5), torch.get_num_threads()) == (5, 5)
    finally:
        torch.set_num_threads(before)
