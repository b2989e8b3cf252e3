"""A stack of SD-1.5's sizes, of random weights: written in little memory, and `generate` runs on it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

GIGA = 1e9
MOST_TO_WRITE, MOST_TO_DRAW = 1.2 * GIGA, 9.5 * GIGA  # bytes; float32 on a CPU: 5.1 GB of weights


@pytest.fixture(scope="module")
def written(repo, tmp_path_factory):
    """The stack's folder, and the line that its script ended with; 2.6 GB, gone afterwards."""
    folder = tmp_path_factory.mktemp("full-size") / "stack"
    line, _ = measured([repo / "scripts" / "full_size_stack.py", folder], folder.parent)
    yield folder, line
    shutil.rmtree(folder.parent)


def measured(arguments, folder: Path) -> tuple[dict, int]:
    """The JSON line that a Python program ends with, and the most memory that it had, in bytes."""
    with (folder / "out.txt").open("w+") as out:
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "2"}
        command = [sys.executable, *map(str, arguments)]
        started = subprocess.Popen(command, stdout=out, cwd=folder, env=environment)
        _, status, usage = os.wait4(started.pid, 0)
        started.returncode = os.waitstatus_to_exitcode(status)
        assert started.returncode == 0
        out.seek(0)
        line = json.loads(out.read().splitlines()[-1])
    return line, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


@pytest.mark.slow
def test_the_stack_is_written_in_half_precision_and_little_memory(written):
    folder, line = written
    assert 2.4 < line["gigabytes"] < 2.8
    assert line["peak_memory_mb"] * 1e6 < MOST_TO_WRITE
    unet = folder / "base" / "unet" / "diffusion_pytorch_model.safetensors"
    assert unet.stat().st_size == pytest.approx(2 * 859_520_964, rel=1e-3)  # SD-1.5's UNet, two bytes each


@pytest.mark.slow
def test_generate_draws_with_it_offline(written, astronaut, tmp_path, capsys):
    Image.fromarray(astronaut).save(tmp_path / "me.png")
    small = ("--steps", 1, "--height", 256, "--width", 256, "-n", 1)
    prompt = "a photo of <person> in a meadow"
    report, peak = measured(
        ["-m", "adaface", "generate", "me.png", "-p", prompt, "--stack", written[0], *small, "--json"],
        tmp_path,
    )  # fmt: skip
    with capsys.disabled():
        sys.stdout.write(
            f"\nSD-1.5's sizes on the CPU, one step at 256 px: peak memory {peak / GIGA:.2f} GB, "
        )
        sys.stdout.write(f"{report['seconds']} s in all\n")
    assert peak < MOST_TO_DRAW
    picture = np.asarray(Image.open(tmp_path / report["pictures"][0]["file"]))
    assert picture.shape == (256, 256, 3)
    assert picture.std() > 1
