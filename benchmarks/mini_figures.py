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
from typing import Any

import numpy as np

from adaface import Stack
from adaface.evaluation.folder import SUMMARY
from adaface.evaluation.run.protocols import protocol as find_protocol
from adaface.evaluation.run.request import Request
from adaface.evaluation.run.run import evaluate

# Of a block: people, pictures of each of the six prompts, the seed of the first one.
REQUEST = {"protocol": "mini", "second": "dlib", "people": 6, "num_images": 2, "seed": 100}
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
        with tempfile.TemporaryDirectory() as folder:
            overall = measure(Path(folder) / "run", **{**REQUEST, "seed": REQUEST["seed"] + STEP * block})
        rows.append({name: float(overall[name]["mean"]) for name in COLUMNS})
        print(block, "  ".join(f"{name} {value:.3f}" for name, value in rows[-1].items()), flush=True)
    grain = {"face_found": 1, "retrieval": 1}  # counted in pictures; the others are not
    pictures = REQUEST["people"] * REQUEST["num_images"] * 6
    record = {name: summary([row[name] for row in rows], grain.get(name, 0) / pictures) for name in COLUMNS}
    if min(record["margin"]["low"], record["margin_dlib"]["low"]) <= 0:
        raise SystemExit("these figures tell nobody apart: there is nothing to hold a stack to")
    if options.write:
        options.write.write_text(json.dumps({"request": REQUEST, "figures": record}, indent=2) + "\n")
    print(json.dumps({"benchmark": "mini_figures", "blocks": options.blocks, **record}))


def measure(folder: Path, *, protocol: str, **asked: Any) -> dict[str, Any]:
    """The means of the shipped stack in a run in `folder`. asked: of a `Request`."""
    stack = Stack.load("mini")
    chosen = find_protocol(protocol, stack)
    evaluate(Request(folder=folder, stack=stack, protocol=chosen, models={"device": "cpu"}, **asked))
    overall: dict[str, Any] = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))["overall"]
    return overall


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
