"""Several photos of one person -> one ID embedding; photos of somebody else are left out. Letters: F faces.

A photo belongs to the person if the cosine of its face with the mean of the other photos' faces reaches the
recogniser's `same_person`. Who the person is, the photos vote: the largest group that agrees.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from adaface.errors import DifferentPeopleError, NoFaceError
from adaface.face.recognize import unit
from adaface.face.types import Face, Floats

SAME_PICTURE = 0.9995  # cosine of a picture with its own copy; other photos of a person stay below about 0.95
_ROUNDS = 5  # of choosing faces and averaging; it settles after one or two


@dataclass(frozen=True)
class LeftOut:
    """A photo that was not used: its name, why, and its similarity to the person if that was the reason."""

    name: str
    reason: str
    similarity: float | None = None


@dataclass(frozen=True, eq=False)
class PhotoSet:
    """One person out of several photos.

    id_embedding: (D_id,) float32 of length 1, the mean of the faces' embeddings weighted by quality. faces:
    those used, in the order of `used`, the names of their photos. left_out: the others, each with its reason.
    notes: what the caller should tell the user. recognizer: name of the network whose embeddings these are.
    """

    id_embedding: Floats
    faces: tuple[Face, ...]
    used: tuple[str, ...]
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = ()
    recognizer: str = "unknown"

    @property
    def similarities(self) -> tuple[float, ...]:
        """Cosine of each used face with the mean of the other ones; empty for a single photo."""
        if len(self.faces) < 2:
            return ()
        others = (mean_embedding([*self.faces[:k], *self.faces[k + 1 :]]) for k in range(len(self.faces)))
        return tuple(face.similarity(mean) for face, mean in zip(self.faces, others, strict=True))


@dataclass(eq=False)
class Candidates:
    """A photo on its way into a PhotoSet: its faces, the preferred one (the largest) first; at least one."""

    name: str
    faces: Sequence[Face]


def mean_embedding(faces: Sequence[Face]) -> Floats:
    """Mean of unit ID embeddings weighted by quality, normalised again: (D_id,).

    Raises NoFaceError: no faces.
    """
    if not faces:
        raise NoFaceError("no faces to take the mean of. Give at least one photo with a face")
    weights = np.array([face.quality for face in faces], np.float32)
    return unit(weights @ np.stack([face.id_embedding for face in faces]))


def combine(
    photos: Sequence[Candidates],
    *,
    same_person: float | None,
    reference: Floats | None = None,
    keep_all: bool = False,
) -> PhotoSet:
    """One person out of photos, each with one or more faces.

    same_person: least cosine of a photo with the mean of the others; None: nobody is left out. reference:
    unit ID embedding (D_id,) of the person, which then decides instead of the majority. keep_all: use every
    photo's first face.
    Raises NoFaceError: no photos, or none like the reference. DifferentPeopleError: no group of photos that
    agree is larger than all others.
    """
    photos, copies = _without_copies(photos)
    if keep_all or same_person is None or (len(photos) == 1 and reference is None):
        note = (
            ()
            if len(photos) == 1 or keep_all
            else ("the photos were not compared: same_person is not known here",)
        )
        return _photo_set(photos, [photo.faces[0] for photo in photos], copies, note)
    start = reference if reference is not None else _majority(photos, same_person)
    chosen = _settle(photos, start, same_person, fixed=reference is not None)
    kept = [
        (photo, face)
        for photo, (face, similarity) in zip(photos, chosen, strict=True)
        if similarity >= same_person
    ]
    others = [
        LeftOut(
            photo.name,
            f"another person (similarity {similarity:.2f}, at least {same_person:.2f} is expected)",
            similarity,
        )
        for photo, (_, similarity) in zip(photos, chosen, strict=True)
        if similarity < same_person
    ]
    if not kept:
        raise NoFaceError(_nobody(others, same_person))
    notes = [
        f"{photo.name}: {len(photo.faces)} faces; took the one like the other photos, not the largest"
        for photo, face in kept
        if face is not photo.faces[0]
    ]
    return _photo_set([photo for photo, _ in kept], [face for _, face in kept], [*copies, *others], notes)


def _photo_set(
    photos: Sequence[Candidates], faces: Sequence[Face], left_out: Sequence[LeftOut], notes: Sequence[str]
) -> PhotoSet:
    names = tuple(photo.name for photo in photos)
    return PhotoSet(mean_embedding(faces), tuple(faces), names, tuple(left_out), tuple(notes))


def _without_copies(photos: Sequence[Candidates]) -> tuple[list[Candidates], list[LeftOut]]:
    """A photo given twice must not count twice."""
    kept: list[Candidates] = []
    copies: list[LeftOut] = []
    for photo in photos:
        twin = next((k for k in kept if k.faces[0].similarity(photo.faces[0]) > SAME_PICTURE), None)
        if twin is None:
            kept.append(photo)
        else:
            copies.append(LeftOut(photo.name, f"the same picture as {twin.name}"))
    return kept, copies


def _likest(photo: Candidates, centre: Floats) -> tuple[Face, float]:
    similarities = [face.similarity(centre) for face in photo.faces]
    best = int(np.argmax(similarities))
    return photo.faces[best], similarities[best]


def _settle(
    photos: Sequence[Candidates], centre: Floats, same_person: float, *, fixed: bool
) -> list[tuple[Face, float]]:
    """Each photo's face of the person and its similarity to the other photos' mean (fixed: to `centre`)."""
    chosen = [_likest(photo, centre) for photo in photos]
    if fixed:
        return chosen
    members: list[bool] = []
    for _ in range(_ROUNDS):
        before, members = members, [similarity >= same_person for _, similarity in chosen]
        if members == before or not any(members):
            break
        chosen = [
            _likest(photo, _centre_without(chosen, members, k, centre)) for k, photo in enumerate(photos)
        ]
    return chosen


def _centre_without(
    chosen: Sequence[tuple[Face, float]], members: Sequence[bool], k: int, centre: Floats
) -> Floats:
    """Mean of the members but `k`: a face in its own mean would vouch for itself."""
    others = [face for j, (face, _) in enumerate(chosen) if members[j] and j != k]
    return mean_embedding(others) if others else centre


@dataclass(eq=False)
class _Group:
    """The faces, one of each photo at most, that agree with one face."""

    photos: frozenset[int]
    faces: Sequence[Face]
    rank: tuple[int, int, float]  # photos, faces that are the largest of their photo, sum of similarities


def _group_around(seed: Face, photos: Sequence[Candidates], same_person: float) -> _Group:
    likest = [_likest(photo, seed.id_embedding) for photo in photos]
    agree = [k for k, (_, similarity) in enumerate(likest) if similarity >= same_person]
    faces = [likest[k][0] for k in agree]
    largest = sum(likest[k][0] is photos[k].faces[0] for k in agree)
    return _Group(frozenset(agree), faces, (len(agree), largest, sum(likest[k][1] for k in agree)))


def _majority(photos: Sequence[Candidates], same_person: float) -> Floats:
    """Mean embedding of the largest group of photos that agree.

    Raises DifferentPeopleError: no two agree, or another group without a common photo is as large.
    """
    groups = [_group_around(face, photos, same_person) for photo in photos for face in photo.faces]
    best = max(groups, key=lambda group: group.rank)
    rivals = [
        group for group in groups if not group.photos & best.photos and len(group.photos) >= len(best.photos)
    ]
    if rivals or len(best.photos) < 2:
        raise _different_people([best, *rivals], photos, same_person)
    return mean_embedding(best.faces)


def _different_people(
    groups: Sequence[_Group], photos: Sequence[Candidates], same_person: float
) -> DifferentPeopleError:
    distinct = sorted(
        {tuple(sorted(group.photos)) for group in groups}, key=lambda group: (-len(group), group)
    )
    named = [tuple(photos[k].name for k in group) for group in distinct]
    pairs = [
        max(face.similarity(other) for face in photos[i].faces for other in photos[j].faces)
        for i in range(len(photos))
        for j in range(i)
        if not any(i in group and j in group for group in distinct)
    ]
    shown = " | ".join(", ".join(group) for group in named[:6])
    alike = (
        f" (similarity {max(pairs):.2f} at most, one person has {same_person:.2f} or more)" if pairs else ""
    )
    return DifferentPeopleError(
        f"the photos show different people: {shown}{alike}. Remove the wrong ones, give a photo of the "
        "person as reference (--reference), or use them all with keep_all (--keep-all)",
        groups=named,
    )


def _nobody(left_out: Sequence[LeftOut], same_person: float) -> str:
    best = max((item.similarity for item in left_out if item.similarity is not None), default=0.0)
    return (
        f"{', '.join(item.name for item in left_out[:6])}: no face is like the reference (best similarity "
        f"{best:.2f}, at least {same_person:.2f} is expected). Give other photos, a clearer "
        "reference, or use them all with keep_all (--keep-all)"
    )
