"""Whole pictures -> unit features, and their cosines. Letters: N pictures, R photos of a subject, E width."""

from collections.abc import Callable, Sequence
from itertools import groupby

import numpy as np
from PIL import Image

from adaface.errors import AdaFaceError, ImageError
from adaface.evaluation.records import Case, Subject
from adaface.face.images import load_image
from adaface.face.types import Floats, ImageSource

BATCH = 32  # pictures that a model sees at a time
MAX_SIDE = 1024  # of pictures that go into a model of 224 pixels; more is only slower
Embed = Callable[[Sequence[Image.Image]], Floats]  # N pictures -> unit features (N, E)


def features(images: Sequence[Image.Image], embed: Embed) -> list[Floats | None]:
    """Unit features (E,) of each picture, BATCH at a time; None where it cannot be read.

    A picture that comes several times is looked at once.
    """
    distinct = {id(image): image for image in images}
    opened = {key: one for key, image in distinct.items() if (one := _readable(image)) is not None}
    whole = list(opened.values())
    rows = [row for i in range(0, len(whole), BATCH) for row in embed(whole[i : i + BATCH])]
    found = dict(zip(opened, rows, strict=True))
    return [found.get(id(image)) for image in images]


def photo_features(subjects: Sequence[Subject], embed: Embed) -> tuple[dict[str, Floats], list[str]]:
    """Features (R, E) of the photos that score each subject, and notes for people. A subject without such a
    photo is not among them.
    """
    known: dict[str, Floats] = {}
    notes: list[str] = []
    for subject in subjects:
        photos = []
        for path in subject.references:
            try:
                photos.append(_opened(path))
            except AdaFaceError as error:
                notes.append(unreadable(subject.name, error))
        rows = [row for row in features(photos, embed) if row is not None]
        if rows:
            known[subject.name] = np.stack(rows)
    return known, notes


def unreadable(name: str, error: AdaFaceError) -> str:
    """The note about a photo of the subject `name` that cannot be read."""
    return f"{name}: {str(error).rstrip('.')}. The photo is left out"


def mean_of_pairs(row: Floats | None, names: Sequence[str], photos: dict[str, Floats]) -> float | None:
    """Mean cosine of a picture (E,) with a subject's photos (R, E); of several subjects the mean over them.

    None: no picture, no subject, or one without photos.
    """
    if row is None or not names or any(name not in photos for name in names):
        return None
    return float(np.mean([(photos[name] @ row).mean() for name in names]))


def diversity(cases: Sequence[Case], rows: Sequence[Floats | None]) -> list[float | None]:
    """For each picture 1 minus the mean cosine of all pairs in its group of seeds; None for a single one."""
    order = sorted(range(len(cases)), key=lambda i: cases[i].picture.group)
    told: list[float | None] = [None] * len(cases)
    for _, members in groupby(order, key=lambda i: cases[i].picture.group):
        seen = [(i, row) for i in members if (row := rows[i]) is not None]
        if len(seen) < 2:
            continue
        stacked = np.stack([row for _, row in seen])
        cosines = (stacked @ stacked.T)[np.triu_indices(len(seen), 1)]
        for i, _ in seen:
            told[i] = float(1 - cosines.mean())
    return told


def _opened(source: ImageSource) -> Image.Image:
    return Image.fromarray(load_image(source, max_side=MAX_SIDE))


def _readable(image: Image.Image) -> Image.Image | None:
    try:
        return _opened(image)
    except ImageError:
        return None
