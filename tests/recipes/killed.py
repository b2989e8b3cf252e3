"""The reconstruct recipe killed while it saves, again and again; for the test, in a process of its own."""

import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from adaface.recipes.base.recipe import PhotoRecipe
from adaface.recipes.run import resume, train
from adaface.training import checkpoint
from adaface.training.config import Layer
from adaface.training.distributed import ONE
from killing import killed
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
    run, export = out / "killed", PhotoRecipe.export

    def child(begins: Callable[[], object]) -> None:
        def told(recipe: PhotoRecipe, folder: Path) -> None:
            begins()
            export(recipe, folder)

        PhotoRecipe.export = told
        go(stack, faces, run)

    for _ in killed(child, kills, saves=(2, 3), wait=0.02):  # the first save is that of the start
        for folder in checkpoint.checkpoints(run):
            checkpoint.verify(folder)
        last = checkpoint.latest(run)
        halves = len(list((run / "checkpoints").glob(".*")))
        sys.stdout.write(f"{int(last.name[5:]) if last else 0} {halves}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
