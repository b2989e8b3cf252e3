"""Who is in the pictures: margins over strangers, and copying, by any recogniser. N pictures, P people.

Letters further: F faces, R photos, D_id. Pictures are looked at as `adaface evaluate` looks at them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from adaface.evaluation.scores.looking import Look, look
from adaface.evaluation.scores.recognisers import FaceComparer, OwnRecogniser
from adaface.evaluation.statistics import Row
from adaface.face.analyzer import FaceAnalyzer
from adaface.face.types import Floats
from adaface.mini.people import HeldOut

Rows = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Likeness:
    """How like N pictures are to the people, by one recogniser.

    found: (N,) bool, whether there is a face. margin: (N,), mean likeness to the person's other photos minus
    to those of the other people; 0 without a face. copied: (N,), likeness to the given photo minus to the
    person's other photos; nan without a face.
    """

    found: NDArray[np.bool_]
    margin: Rows
    copied: Rows


@dataclass(frozen=True, eq=False)
class Judge:
    """A recogniser with the people's photos. given: (P, D_id). others: P arrays (R_p, D_id)."""

    recogniser: FaceComparer
    given: Floats
    others: Sequence[Floats]

    def __call__(self, looks: Sequence[Look | None], person: Sequence[int]) -> Likeness:
        """looks: N pictures; None where there is no picture. person: (N,), whom each is to show."""
        seen = [one for one in looks if one is not None and one.faces]
        largest = iter(
            [rows[0] for rows in self.recogniser.embed([Look(o.pixels, o.faces[:1]) for o in seen])]
        )
        found = np.array([one is not None and bool(one.faces) for one in looks])
        margin, copied = np.zeros(len(looks)), np.full(len(looks), np.nan)
        for n in np.flatnonzero(found).tolist():
            face = next(largest)[None]
            means = np.array([self._likeness(face, photos) for photos in self.others])
            own, strangers = means[person[n]], np.delete(means, person[n])
            known = strangers[~np.isnan(strangers)]
            margin[n] = own - known.mean() if len(known) else np.nan
            copied[n] = self.recogniser.compare(face, self.given[person[n]][None]).item() - own
        return Likeness(found, margin, copied)

    def _likeness(self, face: Floats, photos: Floats) -> float:
        """Mean likeness of a face (1, D_id) to photos (R, D_id); nan to none."""
        return float(self.recogniser.compare(face, photos).mean()) if len(photos) else float("nan")


def own_judge(people: HeldOut, analyzer: FaceAnalyzer) -> Judge:
    """The stack's recogniser, with the ID embeddings that the packs hold: of the photos in full size."""
    others = [rows.numpy() for rows in people.others]
    return Judge(OwnRecogniser(analyzer.recognizer), people.ids.numpy(), others)


def second_judge(
    recogniser: FaceComparer,
    people: HeldOut,
    analyzer: FaceAnalyzer,
    tell: Callable[[int, int], None] = lambda done, total: None,
) -> Judge:
    """Another recogniser, which looks at the packs' crops of 80 pixels.

    Photos without a face fall out: without the given one, a person has no copy-paste, without any other no
    margin. tell: people done, people in all.
    """
    images = people.pack.images.permute(0, 2, 3, 1).numpy()
    vectors: list[Floats] = []
    rows = [[int(people.given[p]), *people.rows[p].tolist()] for p in range(len(people.given))]
    for person, photos in enumerate(rows):
        looks = [look(Image.fromarray(images[row]), analyzer) for row in photos]
        faces = recogniser.embed([Look(one.pixels, one.faces[:1]) for one in looks])
        given = faces[0] if len(faces[0]) else np.full((1, faces[0].shape[-1]), np.nan, np.float32)
        vectors.append(np.concatenate([given, *faces[1:]]))
        tell(person + 1, len(rows))
    return Judge(recogniser, np.stack([v[0] for v in vectors]), [v[1:] for v in vectors])


def looks_at(pictures: Sequence[Image.Image | None], analyzer: FaceAnalyzer) -> list[Look | None]:
    """Find the faces of pictures."""
    return [None if picture is None else look(picture, analyzer) for picture in pictures]


def by_person(values: Rows, person: Sequence[int], some: Sequence[int], people: int) -> Row:
    """Mean for each person (P,) over `some` of the cells' values (N,); nan where a person has none."""
    chosen, whose = values[list(some)], np.array([person[n] for n in some])
    with np.errstate(invalid="ignore"):
        known = ~np.isnan(chosen)
        sums = np.bincount(whose[known], chosen[known], minlength=people)
        means: Row = sums / np.bincount(whose[known], minlength=people)
    return means
