"""A run killed again and again: children train and save at each step, the parent kills them; for the test."""

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
import torch._dynamo  # each child would import it with its first update

from adaface.training import checkpoint, metrics
from adaface.training.loop import fit
from adaface.training.state import Hooks
from tiny_training import Line, config

STEPS = 10_000


def train(run: Path, steps: int, tell: Callable[[], object] = lambda: None) -> None:
    """tell: called when a save begins."""

    def validate() -> None:
        tell()

    fit(Line(width=20_000, batch=2), config(steps, save_steps=1), run, hooks=Hooks(validate=validate))


def main(out: Path, kills: int) -> None:
    """Tells how far each child came, and what its kill left beside the whole checkpoints."""
    run = out / "killed"
    torch.set_num_threads(1)
    metrics.git_state = lambda: None  # asking git takes longer than all the rest
    dice, told = random.Random(0), []
    for _ in range(kills):
        saving, begins = os.pipe()  # a byte for each save that begins
        child = os.fork()
        if child == 0:
            train(run, STEPS, lambda begins=begins: os.write(begins, b"."))
            os._exit(0)
        for _ in range(dice.randint(1, 3)):
            os.read(saving, 1)
        time.sleep(dice.uniform(0, 0.06))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(saving)
        os.close(begins)
        there = checkpoint.checkpoints(run)
        for folder in there:
            checkpoint.verify(folder)
        halves = [path.name for path in (run / checkpoint.FOLDER).glob(".*")]
        told.append({"steps": [int(folder.name[5:]) for folder in there], "halves": halves})
    (out / "told.json").write_text(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
