"""A run killed again and again: children train and save at each step, the parent kills them; for the test."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from adaface.training import checkpoint
from adaface.training.loop import fit
from adaface.training.state import Hooks
from killing import killed
from tiny_training import Line, config

STEPS = 10_000


def train(run: Path, steps: int, tell: Callable[[], object] = lambda: None) -> None:
    """tell: called when a save begins."""

    def validate() -> None:
        tell()

    fit(Line(width=20_000, batch=2), config(steps, save_steps=1), run, hooks=Hooks(validate=validate))


def main(out: Path, kills: int) -> None:
    """Tells how far each child came, and what its kill left beside the whole checkpoints."""
    run, told = out / "killed", []
    for _ in killed(lambda begins: train(run, STEPS, begins), kills, saves=(1, 3), wait=0.06):
        there = checkpoint.checkpoints(run)
        for folder in there:
            checkpoint.verify(folder)
        halves = [path.name for path in (run / checkpoint.FOLDER).glob(".*")]
        told.append({"steps": [int(folder.name[5:]) for folder in there], "halves": halves})
    (out / "told.json").write_text(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
