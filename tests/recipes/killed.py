"""The reconstruct recipe killed while it saves, again and again; for the test, in a process of its own."""

import os
import random
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
import torch._dynamo  # each child would import it with its first update

from adaface.recipes.base.recipe import PhotoRecipe
from adaface.recipes.run import resume, train
from adaface.training import checkpoint, metrics
from adaface.training.config import Layer
from adaface.training.distributed import ONE
from tiny_recipe import small

SETTINGS = {
    "samples": {"people": 0},
    "validation": 0,
    "tensorboard": False,
    "workers": 1,
    "batch": 2,
    "loop": {"save_steps": 1, "steps": 40, "schedule": {"decay": "constant", "warmup_steps": 0}},
}


def go(stack: Path, faces: Path, run: Path) -> None:
    """Begin the run, or go on with it."""
    if (run / "config.yaml").is_file():
        resume(run, ONE, Layer("", {}))
    else:
        train(small(stack, faces, **SETTINGS), run, ONE)


def main(stack: Path, faces: Path, out: Path, kills: int) -> None:
    """Prints how far each child came, and what its kill left beside the whole checkpoints."""
    run, dice, export = out / "killed", random.Random(0), PhotoRecipe.export
    torch.set_num_threads(1)
    metrics.git_state = lambda: None  # asking git takes longer than all the rest
    for _ in range(kills):
        saving, begins = os.pipe()  # a byte for each export that begins
        child = os.fork()
        if child == 0:

            def told(recipe, folder, begins=begins):
                os.write(begins, b".")
                export(recipe, folder)

            PhotoRecipe.export = told
            go(stack, faces, run)
            os._exit(0)
        for _ in range(dice.randint(2, 3)):  # the first one is that of the start
            os.read(saving, 1)
        time.sleep(dice.uniform(0, 0.02))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(saving)
        os.close(begins)
        for folder in checkpoint.checkpoints(run):
            checkpoint.verify(folder)
        last = checkpoint.latest(run)
        halves = len(list((run / "checkpoints").glob(".*")))
        sys.stdout.write(f"{int(last.name[5:]) if last else 0} {halves}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
