"""From which similarity on is a photo one of the same person? The figure behind `SFACE.same_person`.

python benchmarks/outlier_threshold.py --data DIR

DIR holds lfw_64.npz (and, if there, celeba_wild_64.npz): arrays `emb` (N, 128), `pid` (N,), `split` (N,) with
0 for training and 1 for people held out. First the threshold: on LFW's training people, the cosine of a photo
with the mean of the person's other photos, and of a stranger's photo with the same mean; the least sum of
both errors, averaged over the numbers of photos. Then, on held-out people, what `combine` does with the
shipped figure: photos of one person with and without one of a stranger among them. Ends with one JSON line.
"""

import argparse
import json
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adaface.errors import DifferentPeopleError
from adaface.face.photos import Candidates, combine
from adaface.face.recognize import SFACE, unit
from adaface.face.types import Face

OTHERS = (1, 2, 3, 4, 7)  # photos in the mean
GRID = np.round(np.arange(0.20, 0.50, 0.02), 2)


class Faces:
    """Embeddings of one data set and split, by person."""

    def __init__(self, path: Path, split: int) -> None:
        with np.load(path) as pack:
            rows = np.flatnonzero(pack["split"] == split)
            self.vectors = unit(pack["emb"][rows].astype(np.float32))
            self.people = pack["pid"][rows]
        self.rows = [np.flatnonzero(self.people == person) for person in np.unique(self.people)]

    def draws(self, n: int, rng: np.random.Generator, most: int) -> Iterator[tuple[NDArray[np.intp], int]]:
        """n photos of a person, every person about equally often, and a photo of somebody else."""
        people = [rows for rows in self.rows if len(rows) >= n]
        for k in range(min(most, sum(2 * len(rows) for rows in people))):
            mine = rng.choice(people[k % len(people)], n, replace=False)
            while True:
                stranger = int(rng.integers(len(self.vectors)))
                if self.people[stranger] != self.people[mine[0]]:
                    break
            yield mine, stranger


def errors_by_threshold(
    faces: Faces, others: int, rng: np.random.Generator, most: int
) -> NDArray[np.float64]:
    """(len(GRID), 2): share of own photos below each threshold, share of strangers at or above it."""
    own, strange = [], []
    for mine, stranger in faces.draws(others + 1, rng, most):
        mean = unit(faces.vectors[mine[1:]].mean(0))
        own.append(faces.vectors[mine[0]] @ mean)
        strange.append(faces.vectors[stranger] @ mean)
    return np.stack(
        [(np.array(own) < GRID[:, None]).mean(1), (np.array(strange) >= GRID[:, None]).mean(1)], axis=1
    )


def shipped(faces: Faces, own: int, rng: np.random.Generator, most: int) -> dict[str, float]:
    """What `combine` does: own photos left out (no stranger there), stranger left out, refusals."""
    lost = refused = caught = kept = total = 0
    for mine, stranger in faces.draws(own, rng, most):
        total += 1
        try:
            lost += len(_combined(faces, list(mine)).left_out)
        except DifferentPeopleError:
            refused += 1
        try:
            names = {item.name for item in _combined(faces, [*mine, stranger]).left_out}
            caught += str(stranger) in names
            kept += str(stranger) not in names
        except DifferentPeopleError:
            caught += own == 1  # two photos of two people: the refusal is the right answer
    return {
        "photos": own,
        "sets": total,
        "own_left_out": lost / (total * own),
        "own_refused": refused / total,
        "stranger_caught": caught / total,
        "stranger_kept": kept / total,
    }


def _combined(faces: Faces, rows: list[int]):
    nowhere = np.zeros((7, 2), np.float32)
    photos = [
        Candidates(str(row), [Face(nowhere[:2].reshape(4), nowhere[2:], 1.0, faces.vectors[row], 1.0)])
        for row in rows
    ]
    return combine(photos, same_person=SFACE.same_person)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with lfw_64.npz")
    parser.add_argument("--most", type=int, default=4000, help="draws for each number of photos")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    started, rng = time.perf_counter(), np.random.default_rng(args.seed)

    train = Faces(args.data / "lfw_64.npz", 0)
    table = np.stack([errors_by_threshold(train, others, rng, args.most) for others in OTHERS])  # (O, G, 2)
    print(f"LFW training people: own photo lost % / stranger let in %, by photos in the mean {OTHERS}")
    for threshold, row in zip(GRID, table.transpose(1, 0, 2), strict=True):
        cells = "  ".join(f"{100 * lost:5.2f} /{100 * let_in:5.2f}" for lost, let_in in row)
        print(f"  {threshold:.2f}  {cells}")
    best = float(GRID[table.sum(2).mean(0).argmin()])
    print(f"least sum of errors at {best:.2f}; shipped is {SFACE.same_person}")

    results = []
    for name in ("lfw_64", "celeba_wild_64"):
        path = args.data / f"{name}.npz"
        if not path.is_file():
            continue
        faces = Faces(path, 1)
        for own in (1, 2, 3, 4, 7):
            row = {"data": f"{name} held out", **shipped(faces, own, rng, args.most)}
            results.append(row)
            rates = ", ".join(
                f"{key} {100 * value:.2f} %" for key, value in row.items() if isinstance(value, float)
            )
            print(f"{row['data']}, {own} photos + 1 stranger, {row['sets']} sets: {rates}")
    line = {
        "benchmark": "outlier_threshold",
        "date": date.today().isoformat(),
        "best_threshold": best,
        "shipped_threshold": SFACE.same_person,
        "held_out": results,
        "seconds": round(time.perf_counter() - started, 1),
    }
    print(json.dumps(line))


if __name__ == "__main__":
    main()
