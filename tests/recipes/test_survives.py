"""A real run with its encoder when the disk fills up while it is written, or the process is killed."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.recipes import killed

from adaface.encoder.inverse import AdaFaceEncoder
from adaface.errors import WriteError
from adaface.recipes.base.recipe import PhotoRecipe
from adaface.recipes.run import resume, train
from adaface.training import checkpoint
from adaface.training.config import Layer
from adaface.training.distributed import ONE
from tiny_recipe import small

KILLS = 6


def same_weights(one: Path, two: Path) -> bool:
    """Whether two checkpoints, and their encoders, hold the same numbers."""
    files = ("weights.safetensors", "averages.safetensors", "encoder/model.safetensors")
    pairs = [(load_file(one / name), load_file(two / name)) for name in files]
    return all(torch.equal(value, other[name]) for mine, other in pairs for name, value in mine.items())


def test_a_disk_that_is_full_when_the_encoder_is_written_costs_one_checkpoint(
    settings, tmp_path, monkeypatch
):
    quiet = {"samples": {"people": 0}, "validation": 0}
    run, export = tmp_path / "run", PhotoRecipe.export
    train(settings(**quiet), tmp_path / "whole", ONE)

    def cramped(recipe, folder):
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        if folder.name.endswith("step-000000004"):
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
        try:
            export(recipe, folder)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    with monkeypatch.context() as patched:
        patched.setattr(PhotoRecipe, "export", cramped)
        with pytest.raises(WriteError, match=r"not (saved|written) .*Free"):
            train(settings(**quiet), run, ONE)
    (left,) = (run / "checkpoints").iterdir()
    assert left == checkpoint.folder_of(run, 2)
    checkpoint.verify(left)
    assert not (run / "encoder").exists()
    assert resume(run, ONE, Layer("", {})).finished
    assert same_weights(*(checkpoint.folder_of(tmp_path / name, 4) for name in ("run", "whole")))


@pytest.mark.slow
def test_a_run_killed_while_it_writes_its_encoder_ends_as_one_that_was_not(tiny_stack, faces, tmp_path):
    program = str(Path(__file__).with_name("killed.py"))
    done = subprocess.run(
        [sys.executable, program, str(tiny_stack), str(faces), str(tmp_path), str(KILLS)],
        capture_output=True,
        text=True,
        timeout=250,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    reached, halves = zip(*(map(int, line.split()) for line in done.stdout.splitlines()), strict=True)
    assert list(reached) == sorted(reached) and reached[-1] > 2, "no kill takes the run back"
    assert any(halves), "some kill hit a save"
    steps = {"steps": reached[-1] + 2}
    resume(tmp_path / "killed", ONE, Layer("", {"loop": steps}))
    loop = killed.SETTINGS["loop"] | steps
    train(small(tiny_stack, faces, **{**killed.SETTINGS, "loop": loop}), tmp_path / "whole", ONE)
    runs = [checkpoint.folder_of(tmp_path / name, steps["steps"]) for name in ("killed", "whole")]
    assert same_weights(*runs)
    encoders = [AdaFaceEncoder.from_pretrained(tmp_path / name / "encoder") for name in ("killed", "whole")]
    assert encoders[0].fingerprint() == encoders[1].fingerprint()
    assert not list((tmp_path / "killed" / "checkpoints").glob(".*"))
