"""A whole build, killed without warning in the middle, goes on with the same command."""

import subprocess
import sys
import time

import pytest

from adaface.mini.build import DONE, STEPS
from adaface.pipelines.stack import Stack

pytestmark = pytest.mark.slow
PATIENCE = 400  # seconds


def command(data, out):
    options = ["--data", data, "-o", out, "--preset", "smoke", "--device", "cpu"]
    return [sys.executable, "-m", "adaface", "mini", "build", *map(str, options)]


def wait_for(path, process):
    until = time.monotonic() + PATIENCE
    while not path.exists():
        assert process.poll() is None and time.monotonic() < until, f"{path.name} never came"
        time.sleep(0.05)


@pytest.mark.timeout(900)
def test_a_killed_build_keeps_its_finished_steps_and_is_finished_by_the_same_command(drawn_data, tmp_path):
    run = tmp_path / "run"
    with subprocess.Popen(
        command(drawn_data, tmp_path), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        wait_for(run / "identity", process)  # the step before it is done
        process.kill()
    done = {step: (run / step / DONE).stat().st_mtime_ns for step in STEPS if (run / step / DONE).is_file()}
    assert {"faces", "vae", "latents", "base"} <= set(done) and "stack" not in done
    finished = subprocess.run(command(drawn_data, tmp_path), capture_output=True, text=True, timeout=PATIENCE)
    assert finished.returncode == 0, finished.stderr
    assert {step: (run / step / DONE).stat().st_mtime_ns for step in done} == done, "no step was done twice"
    Stack.load(tmp_path / "stack").verify()
    assert not list(run.rglob(".*")), "nothing half-written is left"
