"""PHOTOS -> CASES: photos scored as if they were pictures, so that every figure has a ceiling and a floor."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from adaface.errors import AdaFaceError
from adaface.evaluation.records import Case, Picture, Subject, World
from adaface.face.images import load_image

SAME, OTHER = "same", "other"
MOST_OWN, MOST_OTHERS = 4, 8  # photos a subject


def anchors(world: World, seed: int = 0) -> list[Case]:
    """Photos that stand for pictures, those of each subject together.

    Kind "same": photos of the subject that do not score it, the best that a method can reach. There are none
    where the given photos score: a photo compared with itself says nothing. Kind "other": photos of other
    subjects, passed off as this one's; their given ones, since a margin compares them with the photos that
    score. `seed` draws which; photos that cannot be read are left out.
    """
    rng = np.random.default_rng(seed)
    cases = []
    for subject in world.subjects:
        own = subject.given if subject.apart else ()
        cases += _cases(subject, SAME, _some(own, rng, MOST_OWN))
        others = [other for other in world.subjects if other.name != subject.name]
        strangers = [path for other in others for path in other.given or other.scored]
        cases += _cases(subject, OTHER, _some(strangers, rng, MOST_OTHERS))
    return cases


def _some(paths: Sequence[Path], rng: np.random.Generator, most: int) -> list[Path]:
    chosen = rng.permutation(len(paths))[:most]
    return [paths[index] for index in sorted(chosen)]


def _cases(subject: Subject, kind: str, paths: Sequence[Path]) -> list[Case]:
    cases = []
    for number, path in enumerate(paths):
        try:
            image = Image.fromarray(load_image(path))
        except AdaFaceError:
            continue
        picture = Picture((subject.name,), "", "", number, str(path), kind=kind, variant=f"photo: {kind}")
        cases.append(Case(picture, image))
    return cases
