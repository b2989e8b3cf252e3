"""What `adaface evaluate` says of the shipped mini stack, with the noise between seeds.

`python benchmarks/mini_figures.py --write tests/mini/shipped.json` records what the slow tests hold the stack
to. A block is a small run of its own: other synthetic people, other noise. The figure of the first block,
which the tests measure again, may lie three deviations of a block below the mean. Ends with one JSON line.
"""

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from adaface import Stack
from adaface.evaluation.folder import open_run
from adaface.evaluation.run.protocols import protocol
from adaface.evaluation.run.request import Request
from adaface.evaluation.run.run import evaluate
from adaface.evaluation.summary import summarize

PEOPLE, IMAGES, SEED = 6, 2, 100  # of a block: people, pictures of each of the six prompts, its seed
STEP = 1000  # from the seed of a block to that of the next
COLUMNS = ("face_found", "similarity", "margin", "margin_dlib", "clip_t", "retrieval")


def main() -> None:
    """Measure, print a line a block, and write the record if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, default=8)
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    rows = []
    for block in range(options.blocks):
        rows.append(figures(SEED + STEP * block))
        print(block, "  ".join(f"{name} {value:.3f}" for name, value in rows[-1].items()), flush=True)
    grain = {"face_found": 1, "retrieval": 1}  # counted in pictures; the others are not
    record = {
        name: summary([row[name] for row in rows], grain.get(name, 0) / (PEOPLE * IMAGES * 6))
        for name in COLUMNS
    }
    if min(record["margin"]["low"], record["margin_dlib"]["low"]) <= 0:
        raise SystemExit("these figures tell nobody apart: there is nothing to hold a stack to")
    request = {"people": PEOPLE, "num_images": IMAGES, "seed": SEED}
    if options.write:
        options.write.write_text(json.dumps({"request": request, "figures": record}, indent=2) + "\n")
    print(json.dumps({"benchmark": "mini_figures", "blocks": options.blocks, **record}))


def figures(seed: int) -> dict[str, float]:
    """The means of one block."""
    stack = Stack.load("mini")
    with tempfile.TemporaryDirectory() as folder:
        request = Request(
            folder=Path(folder) / "run",
            stack=stack,
            protocol=protocol("mini", stack),
            people=PEOPLE,
            num_images=IMAGES,
            seed=seed,
            second="dlib",
            models={"device": "cpu"},
        )
        evaluate(request)
        overall = summarize(open_run(request.folder))["overall"]
    return {name: float(overall[name]["mean"]) for name in COLUMNS}


def summary(values: Sequence[float], grain: float) -> dict[str, float]:
    """Mean and deviation of blocks, and the least that one block should reach.

    grain: what one picture counts; blocks that are all alike still leave room for three other pictures.
    """
    mean, deviation = float(np.mean(values)), float(np.std(values, ddof=1))
    return {
        "mean": round(mean, 4),
        "sd": round(deviation, 4),
        "low": round(mean - 3 * max(deviation, grain), 4),
    }


if __name__ == "__main__":
    main()
