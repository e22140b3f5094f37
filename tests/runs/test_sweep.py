"""Grids of runs, and the Slurm script, run with a shell as Slurm would."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sds_core.__main__ import main
from sds_core.errors import SDSError
from sds_core.extras.slurm import slurm_array
from sds_core.runs.new_run import create
from sds_core.runs.run_folder import ids
from sds_core.runs.sweep import grid
from tests.small_runs import config


def test_a_grid_is_every_combination_once():
    configs = grid({"samples": 4}, ["a", "b"], ["30%", "2:4"], [0, 7], ["base:wanda", "sds:sparsegpt"])
    found = {(c.model, c.pattern, c.seed, c.method, c.pruner) for c in configs}
    assert len(configs) == len(found) == 16 and {c.samples for c in configs} == {4}
    assert ("b", "2:4", 7, "sds", "sparsegpt") in found


def test_what_is_named_twice_is_run_once():
    once = grid({}, ["a", "b"], ["50%"], [0, 7], ["base:wanda", "sds"])
    assert grid({}, ["a", "b", "a"], ["50%", "50%"], [0, 7, 0], ["base:wanda", "sds", "sds:wanda"]) == once


def test_a_combination_that_contradicts_itself_is_refused():
    with pytest.raises(SDSError, match="5:4"):
        grid({}, ["a"], ["50%", "5:4"], [0], ["base:wanda"])


def test_every_job_of_the_array_resumes_its_run(tiny_folder, tmp_path, runs_root, monkeypatch):
    runs = [create(config(tiny_folder, method="base", pruner=pruner)) for pruner in ("wanda", "magnitude")]
    script, python = tmp_path / "sweep.sh", tmp_path / "a python"
    python.write_text('#!/bin/sh\necho "$@" "$SDS_RUNS" "$PYTHONPATH"\n')
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    slurm_array(runs, script)
    assert "#SBATCH --array=0-1\n" in script.read_text()
    done = subprocess.run(
        ["bash", str(script)], env=os.environ | {"SLURM_ARRAY_TASK_ID": "1"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"-m sds_core resume {runs[1].id} {runs_root} {Path(__file__).parents[2]}\n"


def test_a_script_is_not_overwritten_and_no_run_is_left(tmp_path, runs_root, capsys):
    (tmp_path / "x.sh").write_text("mine")
    asked = ["sweep", "--patterns", "50%", "--methods", "base:wanda", "--slurm", str(tmp_path / "x.sh")]
    assert main(asked) == 1 and "exists already" in capsys.readouterr().err
    assert (tmp_path / "x.sh").read_text() == "mine" and ids() == []
