"""Killed at random moments, mostly while it saves, a run keeps whole checkpoints and goes on from them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tests.training import killed

from adaface.training import checkpoint

KILLS = 30


@pytest.mark.slow
def test_a_run_killed_many_times_during_its_saves_ends_as_one_that_was_not(tmp_path):
    program = str(Path(__file__).with_name("killed.py"))
    done = subprocess.run(
        [sys.executable, program, str(tmp_path), str(KILLS)],
        capture_output=True,
        text=True,
        timeout=250,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    told = json.loads((tmp_path / "told.json").read_text())
    reached = [max(row["steps"], default=0) for row in told]
    assert reached == sorted(reached), "no kill takes a run back"
    assert sum(bool(row["halves"]) for row in told) >= KILLS // 4, "the kills hit the saves"
    assert reached[-1] > 10
    steps = reached[-1] + 2
    for run in ("killed", "whole"):
        killed.train(tmp_path / run, steps)
    one, two = (checkpoint.folder_of(tmp_path / run, steps) for run in ("killed", "whole"))
    for name in (checkpoint.WEIGHTS, checkpoint.AVERAGES):
        assert (one / name).read_bytes() == (two / name).read_bytes()
    rows = [json.loads(line) for line in (tmp_path / "killed" / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(1, steps + 1))
    assert not list((tmp_path / "killed" / checkpoint.FOLDER).glob(".*"))
    state = [torch.load(folder / checkpoint.OPTIMIZER, weights_only=True) for folder in (one, two)]
    assert str(state[0]) == str(state[1])
