"""All looks together -> which photos are kept, as whom, and why the others are not. One process, cheap.

In this order, person by person: copies of one file; the identity filter; then, over everybody, pictures that
are nearly the same, and pictures under two names.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from adaface.data.prepare.judging.duplicates import near_pairs
from adaface.data.prepare.judging.identity import IdentityThreshold, belonging
from adaface.data.record import FaceLook, Look, Photo, Rejection

LARGER = 1.1  # of two nearly equal pictures the first stays, unless the other's face is so much larger


@dataclass(eq=False, slots=True)
class Verdict:
    """What becomes of a photo.

    twin: the other photo that this one is a copy of. face: number of the face that is kept. similarity: to
    the mean of the person's other kept photos; None without others, and in folders of many people.
    rejection: None for a kept photo.
    """

    photo: Photo
    face: int = 0
    similarity: float | None = None
    rejection: Rejection | None = None
    twin: Photo | None = None
    sha256: str = ""
    face_px: float = 0.0
    fingerprint: int = 0
    portrait: NDArray[np.uint8] | None = None
    id_embedding: NDArray[np.float16] | None = None

    @property
    def kept(self) -> bool:
        """Whether the photo is in the data set."""
        return self.rejection is None

    def reject(self, code: str, sentence: str, twin: Photo | None = None) -> None:
        """Leave the photo out."""
        self.rejection, self.twin = Rejection(code, sentence), twin


@dataclass(eq=False)
class Judgement:
    """Verdicts on all photos, in their order; guesses: person -> (age, gender) of each kept photo."""

    verdicts: list[Verdict]
    guesses: dict[str, list[tuple[float, str]]] = field(default_factory=dict)


def judge(
    looks: Iterable[Look], threshold: IdentityThreshold | None, *, near_duplicates: bool = True
) -> Judgement:
    """Decide on all photos.

    looks: in order, each person's together. threshold: None: nobody is filtered by identity. near_duplicates:
    leave out pictures that are nearly the same as a better one.
    """
    verdicts: list[Verdict] = []
    guesses: dict[str, list[tuple[float, str]]] = {}
    for person, group in groupby(looks, key=lambda look: look.photo.person):
        seen = list(group)
        own = _judge_person(seen, threshold)
        verdicts += own
        guesses[person] = list(_guesses(seen, own))
    _same_file_elsewhere(verdicts)
    if near_duplicates:
        _near_duplicates(verdicts)
    return Judgement(verdicts, guesses)


def _judge_person(seen: Sequence[Look], threshold: IdentityThreshold | None) -> list[Verdict]:
    verdicts = [_first_verdict(look) for look in seen]
    _same_file(verdicts)
    left = [k for k, verdict in enumerate(verdicts) if verdict.kept]
    if threshold is not None and left and not seen[0].photo.mixed:
        _filter([seen[k] for k in left], [verdicts[k] for k in left], threshold)
    for look, verdict in zip(seen, verdicts, strict=True):
        if verdict.kept:
            face = look.faces[verdict.face]
            verdict.face_px, verdict.fingerprint = face.face_px, face.fingerprint
            verdict.portrait, verdict.id_embedding = face.portrait, face.id_embedding.astype(np.float16)
    return verdicts


def _first_verdict(look: Look) -> Verdict:
    return Verdict(look.photo, rejection=look.rejection, sha256=look.sha256)


def _same_file(verdicts: Sequence[Verdict]) -> None:
    """Of a person's files with the same bytes the first stays."""
    first: dict[str, Verdict] = {}
    for verdict in verdicts:
        if not verdict.kept:
            continue
        twin = first.setdefault(verdict.sha256, verdict)
        if twin is not verdict:
            verdict.reject("duplicate", f"The same file as {twin.photo.path}, byte for byte", twin.photo)


def _filter(seen: Sequence[Look], verdicts: Sequence[Verdict], threshold: IdentityThreshold) -> None:
    found = belonging([np.stack([face.id_embedding for face in look.faces]) for look in seen], threshold)
    for k, verdict in enumerate(verdicts):
        verdict.face = int(found.faces[k])
        similarity = float(found.similarity[k])
        if not found.agreed:
            verdict.reject("no_majority", _no_majority(len(verdicts), verdict.photo.person, threshold.pair))
        elif not found.kept[k]:
            verdict.similarity = similarity
            verdict.reject("other_person", _stranger(verdict, similarity, float(found.least[k])))
        elif not np.isnan(similarity):
            verdict.similarity = similarity


def _no_majority(count: int, person: str, pair: float) -> str:
    return (
        f"The {count} photos of {person} show different people (two of one person have a similarity of "
        f"{pair:.2f} or more), and no group of them is the largest. Take out the wrong ones"
    )


def _stranger(verdict: Verdict, similarity: float, least: float) -> str:
    return (
        f"The face is not like the other photos of {verdict.photo.person}: similarity {similarity:.2f}, at "
        f"least {least:.2f} is expected. It shows somebody else, or the face is hard to see"
    )


def _guesses(seen: Sequence[Look], verdicts: Sequence[Verdict]) -> Iterator[tuple[float, str]]:
    for look, verdict in zip(seen, verdicts, strict=True):
        face: FaceLook | None = look.faces[verdict.face] if verdict.kept else None
        if face is not None and face.age is not None and face.gender is not None:
            yield face.age, face.gender


def _same_file_elsewhere(verdicts: Sequence[Verdict]) -> None:
    """The same bytes under two names: they stay where they fit best."""
    files: dict[str, list[Verdict]] = defaultdict(list)
    for verdict in verdicts:
        if verdict.kept:
            files[verdict.sha256].append(verdict)
    for twins in files.values():
        best = max(twins, key=_fit)
        for verdict in twins:
            if verdict is not best:
                _reject_twin(verdict, best, "The same file stands")


def _near_duplicates(verdicts: Sequence[Verdict]) -> None:
    kept = [verdict for verdict in verdicts if verdict.kept and verdict.portrait is not None]
    prints = np.array([verdict.fingerprint for verdict in kept], np.uint64)
    portraits = np.array([verdict.portrait for verdict in kept], np.uint8)
    vectors = np.array([verdict.id_embedding for verdict in kept])
    for i, j in near_pairs(prints, portraits, vectors):
        first, second = kept[i], kept[j]
        if not (first.kept and second.kept):
            continue
        if first.photo.person != second.photo.person:
            worse, better = (second, first) if _fit(first) >= _fit(second) else (first, second)
            _reject_twin(worse, better, "Nearly the same picture stands")
        else:
            larger = second.face_px > LARGER * first.face_px
            worse, better = (first, second) if larger else (second, first)
            sentence = f"Nearly the same picture as {better.photo.path}"
            worse.reject("near_duplicate", sentence, better.photo)


def _fit(verdict: Verdict) -> tuple[bool, float]:
    """How well a photo fits the name it stands under: a named person's before a folder of many people."""
    return not verdict.photo.mixed, -2.0 if verdict.similarity is None else round(verdict.similarity, 6)


def _reject_twin(verdict: Verdict, better: Verdict, what: str) -> None:
    where = f"under {better.photo.person} ({better.photo.path}), where it fits as well or better"
    verdict.reject("other_name", f"{what} {where}", better.photo)
