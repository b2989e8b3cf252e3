"""From which similarity on does a photo stay in its person's folder? The figures behind
`adaface.data.prepare.judging.identity.SFACE`.

python benchmarks/identity_filter.py --data DIR

DIR holds lfw_64.npz (and, if there, celeba_wild_64.npz), as for outlier_threshold.py. First the thresholds:
on LFW's training people, for several numbers of other photos in the mean, where the sum of both errors (own
photo lost, stranger let in) is least; and the two figures, for one other photo and for very many, whose
curve follows them. Then what the filter does with the shipped figures to folders of held-out people with
one stranger in them, or with a fifth of strangers. Ends with one JSON line.
"""

import argparse
import json
import time
from datetime import date
from pathlib import Path

import numpy as np
from outlier_threshold import Faces

from adaface.data.prepare.judging.identity import SFACE, IdentityThreshold, belonging
from adaface.face.recognize import unit

OTHERS = (1, 2, 3, 5, 8, 12, 20, 40)  # photos in the mean
FOLDERS = (2, 3, 5, 10, 20)  # photos of the person in a folder
GRID = np.round(np.arange(0.20, 0.62, 0.01), 2)
FIGURES = np.round(np.arange(0.28, 0.56, 0.01), 2)


def errors(faces: Faces, others: int, rng: np.random.Generator, most: int) -> np.ndarray:
    """(len(GRID), 2): share of own photos below each threshold, share of strangers at or above it."""
    own, strange = [], []
    for mine, stranger in faces.draws(others + 1, rng, most):
        mean = unit(faces.vectors[mine[1:]].mean(0))
        own.append(faces.vectors[mine[0]] @ mean)
        strange.append(faces.vectors[stranger] @ mean)
    return np.stack(
        [(np.array(own) < GRID[:, None]).mean(1), (np.array(strange) >= GRID[:, None]).mean(1)], axis=1
    )


def fitted(tables: dict[int, np.ndarray]) -> tuple[IdentityThreshold, float]:
    """The two figures with the least sum of errors over all numbers of photos, and that sum's mean."""
    best, least = SFACE, np.inf
    for pair in FIGURES:
        for mean in FIGURES[pair <= FIGURES]:
            figures = IdentityThreshold(float(pair), float(mean))
            cost = np.mean([table[_index(figures, m)].sum() for m, table in tables.items()])
            if cost < least - 1e-9:
                best, least = figures, cost
    return best, float(least)


def _index(figures: IdentityThreshold, others: int) -> int:
    return int(np.abs(GRID - float(figures.at(others))).argmin())


def shipped(faces: Faces, own: int, strangers: int, rng: np.random.Generator, most: int) -> dict[str, float]:
    """What `belonging` does to folders of `own` photos and `strangers` photos of somebody else each."""
    lost = let_in = given_up = folders = 0
    for mine, stranger in faces.draws(own, rng, most):
        others = [stranger, *rng.choice(len(faces.vectors), strangers - 1)]
        if any(faces.people[other] == faces.people[mine[0]] for other in others):
            continue
        rows = [*mine, *others]
        order = rng.permutation(len(rows))
        found = belonging([faces.vectors[rows[k]][None] for k in order], SFACE)
        kept = np.zeros(len(rows), bool)
        kept[order] = found.kept
        folders += 1
        given_up += not found.agreed
        lost += int((~kept[:own]).sum()) if found.agreed else 0
        let_in += int(kept[own:].sum())
    decided = max(folders - given_up, 1)
    return {
        "photos": own,
        "strangers": strangers,
        "folders": folders,
        "own_lost": lost / (decided * own),
        "strangers_let_in": let_in / (decided * strangers),
        "given_up": given_up / folders,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with lfw_64.npz")
    parser.add_argument("--most", type=int, default=3000, help="draws for each number of photos")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    started, rng = time.perf_counter(), np.random.default_rng(args.seed)

    train = Faces(args.data / "lfw_64.npz", 0)
    tables = {m: errors(train, m, rng, args.most) for m in OTHERS}
    print("LFW training people: photos in the mean, best threshold, own lost % / stranger let in % there;")
    print("the same at the shipped threshold")
    for m, table in tables.items():
        best = int(table.sum(1).argmin())
        here = _index(SFACE, m)
        cells = [f"{GRID[k]:.2f}  {100 * table[k, 0]:5.2f} / {100 * table[k, 1]:5.2f}" for k in (best, here)]
        print(f"  {m:3d}   {cells[0]}     {cells[1]}")
    figures, cost = fitted(tables)
    print(f"least sum of errors with {figures} ({100 * cost:.2f} %); shipped {SFACE}")

    rows = []
    for name in ("lfw_64", "celeba_wild_64"):
        if not (args.data / f"{name}.npz").is_file():
            continue
        faces = Faces(args.data / f"{name}.npz", 1)
        for own, strangers in [(n, 1) for n in FOLDERS] + [(20, 5)]:
            row = {"data": name, **shipped(faces, own, strangers, rng, min(args.most, 1000))}
            rows.append(row)
            print(
                f"{name} held out, {own} photos + {strangers} of others, {row['folders']} folders: own lost "
                f"{100 * row['own_lost']:.2f} %, strangers let in {100 * row['strangers_let_in']:.2f} %, "
                f"given up {100 * row['given_up']:.1f} %"
            )
    line = {
        "benchmark": "identity_filter",
        "date": date.today().isoformat(),
        "fitted": {"pair": figures.pair, "mean": figures.mean},
        "shipped": {"pair": SFACE.pair, "mean": SFACE.mean},
        "held_out": rows,
        "seconds": round(time.perf_counter() - started, 1),
    }
    print(json.dumps(line))


if __name__ == "__main__":
    main()
