"""Which face is whose? Letters: P prompted people, F faces, S subjects of the run, R photos of one, D_id."""

from collections.abc import Mapping, Sequence
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from adaface.evaluation.scores.recognisers import FaceComparer
from adaface.face.types import Floats

Table = NDArray[np.float64]  # (P, F): how like each person each face is
Choice = tuple[int | None, ...]  # (P,): the face of each person


class Gallery:
    """What the subjects of a run look like to one recogniser."""

    def __init__(self, recogniser: FaceComparer, photos: Mapping[str, Floats]) -> None:
        """photos: embeddings (R, D_id) of each subject's photos, R >= 1."""
        self.recogniser, self.photos = recogniser, dict(photos)

    def likeness(self, faces: Floats, names: Sequence[str]) -> Table:
        """Mean likeness of each face of (F, D_id) to the photos of each person: (P, F)."""
        if not len(faces):
            return np.zeros((len(names), 0))
        rows = [self.recogniser.compare(faces, self.photos[name]).mean(1) for name in names]
        return np.asarray(rows, np.float64)

    def margins(self, faces: Floats, name: str) -> NDArray[np.float64]:
        """Of each face (F,): mean likeness to the person's photos, minus the mean over all others of theirs.

        Every other subject counts the same, however many photos they have. At least one other is needed.
        """
        others = self.likeness(faces, [other for other in self.photos if other != name])
        margins: NDArray[np.float64] = self.likeness(faces, [name])[0] - others.mean(0)
        return margins


def best_matching(table: Table) -> Choice:
    """A face of their own for each of the P people, so that the sum of the likeness (P, F) is largest.

    With fewer faces than people, as many people as there are faces get one; the others have None.
    """
    people, faces = table.shape
    wide = np.concatenate([table, np.zeros((people, max(0, people - faces)))], axis=1)
    rows = list(range(people))
    best = max(permutations(range(wide.shape[1]), people), key=lambda chosen: wide[rows, list(chosen)].sum())
    return tuple(face if face < faces else None for face in best)


def assigned(table: Table, chosen: Choice) -> float:
    """Share of the P people whose own face is more like them than like any other of the P, in [0, 1].

    A person without a face counts as 0.
    """
    hits = [
        face is not None and table[person, face] > np.delete(table[:, face], person).max()
        for person, face in enumerate(chosen)
    ]
    return float(np.mean(hits))
