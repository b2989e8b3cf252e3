"""PHOTOS -> PICTURES: photos scored as if they were drawn, so that every figure has a ceiling and a floor."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from adaface.evaluation.records import Picture, Subject, World

SAME, OTHER = "same", "other"
MOST_OWN, MOST_OTHERS = 4, 8  # photos a subject


def anchors(world: World, seed: int = 0) -> list[Picture]:
    """Photos that stand for pictures, those of each subject together.

    Kind "same": photos of the subject that do not score it, the best that a method can reach. There are none
    where the given photos score: a photo compared with itself says nothing. Kind "other": photos of other
    subjects, passed off as this one's; their given ones, since a margin compares them with the photos that
    score. `seed` draws which.
    """
    rng = np.random.default_rng(seed)
    photos = []
    for subject in world.subjects:
        own = subject.given if subject.apart else ()
        photos += _pictures(subject, SAME, _some(own, rng, MOST_OWN))
        others = [other for other in world.subjects if other.name != subject.name]
        strangers = [path for other in others for path in other.given or other.scored]
        photos += _pictures(subject, OTHER, _some(strangers, rng, MOST_OTHERS))
    return photos


def _some(paths: Sequence[Path], rng: np.random.Generator, most: int) -> list[Path]:
    chosen = rng.permutation(len(paths))[:most]
    return [paths[index] for index in sorted(chosen)]


def _pictures(subject: Subject, kind: str, paths: Sequence[Path]) -> list[Picture]:
    return [
        Picture((subject.name,), "", "", number, str(path), kind=kind, variant=f"photo: {kind}")
        for number, path in enumerate(paths)
    ]
