"""Which photos of a folder are the person's? Cosine to the mean of the others. Letters: n photos, F faces."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from adaface.face.recognize import ARCFACE, RecognizerSpec, unit
from adaface.face.types import Floats

_ROUNDS = 8  # of choosing faces and averaging; it settles after two or three
# where figures come from: --same-person; a spec; measured here; or another file's, by no more than the name
GIVEN, SPEC, MEASURED, ASSUMED = "given", "the recogniser's spec", "measured", "assumed by its name"


@dataclass(frozen=True)
class IdentityThreshold:
    """A recogniser's figures: least cosine of two photos of one person, and of a photo to the person's mean.

    The mean of few photos is itself unsure: between one other photo and very many, the threshold goes from
    `pair` to `mean` as the cosine of a typical photo does. source: who says so, one of the words above.
    """

    pair: float
    mean: float
    source: str = GIVEN

    def at(self, others: NDArray[np.intp] | int) -> NDArray[np.float64]:
        """The threshold with so many other photos in the mean, at least one."""
        m = np.maximum(np.asarray(others, np.float64), 1)
        if self.pair <= 0 or self.mean <= 0:
            return np.where(m < 2, self.pair, self.mean)
        return 1 / np.sqrt((1 / m) / self.pair**2 + (1 - 1 / m) / self.mean**2)


# By benchmarks/identity_filter.py. On LFW's training people the sum of both errors is least with 0.31 and
# 0.43, and flat around; pairs take the figure that `adaface.face.recognize.SFACE` has. With these, of
# folders of people held out with a stranger in each: LFW none of the own photos is lost, of the strangers
# 0.3 % stay beside two photos, 0.1 % beside three, none beside more; CelebA, whose labels err, 1 to 2 % and
# at most 0.1 %. Of folders of two photos and a stranger 6 % are given up there.
SFACE = IdentityThreshold(pair=0.34, mean=0.42, source=MEASURED)
# 0.65 is the original's figure for antelopev2, whose recogniser is glintr100.onnx; nothing of it is measured
# here: 0.65 of a mean of many is what pairs of 0.45 give. Arc2Face's arcface.onnx is another network of the
# same kind. A file's name proves neither, so that `source` says it.
ANTELOPE = IdentityThreshold(pair=0.45, mean=0.65, source=ASSUMED)
ANTELOPE_FILES = ("glintr100", "arcface")


def measured(spec: object) -> float | None:
    """The `same_person` of a recogniser's spec; None where there is none, or it is only ARCFACE's guess."""
    found: float | None = getattr(spec, "same_person", None)
    if isinstance(spec, RecognizerSpec) and spec == replace(ARCFACE, name=spec.name, licence=spec.licence):
        return None
    return found


def threshold_of(recognizer: str, same_person: float | None = None) -> IdentityThreshold | None:
    """The figures of a recogniser by its name; None: nobody has measured them.

    same_person: of its spec, one figure for everything; it counts before what only the name suggests.
    """
    if recognizer == "sface":
        return SFACE
    if same_person is not None:
        return IdentityThreshold(same_person, same_person, SPEC)
    return ANTELOPE if recognizer.split("-")[0] in ANTELOPE_FILES else None


@dataclass(frozen=True, eq=False)
class Belonging:
    """Of each photo: which face is the person's, its cosine to the mean of the other kept photos (NaN
    without others), and whether it is kept. agreed: False where the photos disagree and no majority says
    who is meant; then none is kept.
    """

    faces: NDArray[np.intp]
    similarity: Floats
    least: Floats
    kept: NDArray[np.bool_]
    agreed: bool = True


def belonging(photos: Sequence[Floats], threshold: IdentityThreshold) -> Belonging:
    """Who belongs together, by majority.

    photos: for each, the unit ID embeddings of its faces (F, D_id), the largest face first, F >= 1.
    """
    count = len(photos)
    if count == 1:
        nothing = np.full(1, np.nan, np.float32)
        return Belonging(np.zeros(1, np.intp), nothing, nothing, np.ones(1, bool))
    vectors = np.concatenate(photos)  # (all faces, D_id)
    owner = np.repeat(np.arange(count), [len(faces) for faces in photos])
    start = _largest_group(vectors, owner, count, threshold.pair)
    if start is None:
        faces, best = _likest(vectors @ unit(vectors.mean(0)), owner, count)
        return Belonging(
            faces, best, np.full(count, threshold.pair, np.float32), np.zeros(count, bool), False
        )
    return _settled(vectors, owner, count, start, threshold)


def _settled(
    vectors: Floats, owner: NDArray[np.intp], count: int, centre: Floats, threshold: IdentityThreshold
) -> Belonging:
    first = np.searchsorted(owner, np.arange(count))
    faces, similarity = _likest(vectors @ centre, owner, count)
    least = np.full(count, threshold.pair)
    kept = similarity >= least
    for _ in range(_ROUNDS):
        chosen = vectors[first + faces]  # (n, D_id)
        total = chosen[kept].sum(0)
        others = kept.sum() - kept
        means = unit(total[None] - chosen * kept[:, None])  # (n, D_id): without oneself
        scores = (vectors * means[owner]).sum(1)
        faces, similarity = _likest(scores, owner, count)
        least = threshold.at(others)
        before, kept = kept, (similarity >= least) & (others > 0)
        if (before == kept).all() or not kept.any():
            break
    agreed = bool(kept.any())
    return Belonging(faces, similarity.astype(np.float32), least.astype(np.float32), kept, agreed)


def _likest(scores: Floats, owner: NDArray[np.intp], count: int) -> tuple[NDArray[np.intp], Floats]:
    """Of each photo the face with the highest score, the first of equals: its number, and the score."""
    first = np.searchsorted(owner, np.arange(count))
    best = np.maximum.reduceat(scores, first)
    at = np.flatnonzero(scores == best[owner])
    _, where = np.unique(owner[at], return_index=True)
    return at[where] - first, best


def _largest_group(vectors: Floats, owner: NDArray[np.intp], count: int, pair: float) -> Floats | None:
    """Mean of the largest group of photos that agree with one face; None: no two agree, or another group
    without a common photo is as large.
    """
    groups = [_members(vectors[k], vectors, owner, count, pair) for k in _seeds(owner)]
    sizes = [(int(members.sum()), round(score, 6)) for members, score, _ in groups]
    best = max(range(len(groups)), key=lambda k: (sizes[k], -k))
    members = groups[best][0]
    rivals = [g for g in groups if not (g[0] & members).any() and g[0].sum() >= members.sum()]
    if rivals or members.sum() < 2:
        return None
    return groups[best][2]


def _seeds(owner: NDArray[np.intp], most: int = 256) -> NDArray[np.intp]:
    """The faces that groups are looked for around: all, or evenly spread ones of a large folder."""
    step = max(1, len(owner) // most)
    return np.arange(0, len(owner), step)


def _members(
    seed: Floats, vectors: Floats, owner: NDArray[np.intp], count: int, pair: float
) -> tuple[NDArray[np.bool_], float, Floats]:
    faces, best = _likest(vectors @ seed, owner, count)
    members = best >= pair
    first = np.searchsorted(owner, np.arange(count))
    return members, float(best[members].sum()), unit(vectors[(first + faces)[members]].mean(0))
