"""Which of several faces: the largest, or the one that the caller means. Letters: F faces."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from adaface.errors import ConfigError, NoFaceError, SeveralFacesError
from adaface.face.types import Detection, Face, Floats


@dataclass(frozen=True, kw_only=True, eq=False)
class Choice:
    """How one of several faces is chosen: at most one of the three ways, else the largest.

    index: 0 is the largest. position: x, y in pixels of the upright picture. reference: unit ID embedding
    (D_id,). strict: without one of these, several faces are an error.
    Raises ConfigError: more than one way.
    """

    index: int | None = None
    position: tuple[float, float] | None = None
    reference: Floats | None = None
    strict: bool = False

    def __post_init__(self) -> None:
        given = [name for name in ("index", "position", "reference") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ConfigError(
                f"{' and '.join(given)} are given together: choose the face in one way, leave out the others"
            )

    def pick(
        self, faces: Sequence[Face], size: tuple[int, int], same_person: float | None, name: str
    ) -> Face:
        """One of `faces` (at least one, the largest first) of the picture `name` of `size` (width, height).

        Raises what the functions of this file raise.
        """
        if self.index is not None:
            return by_index(faces, self.index, name)
        if self.position is not None:
            return by_position(faces, self.position, size, name)
        if self.reference is not None:
            return by_likeness(faces, self.reference, same_person, name)
        return only(faces, name) if self.strict else faces[0]


def largest(faces: Sequence[Detection]) -> Detection | None:
    """The detected face of the largest area; None if there is none."""
    return max(faces, key=lambda f: float((f.box[2] - f.box[0]) * (f.box[3] - f.box[1])), default=None)


def by_index(faces: Sequence[Face], index: int, name: str) -> Face:
    """Face number `index`, counted from 0, the largest first; negative numbers count from the smallest.

    Raises ConfigError: there are not that many.
    """
    if not -len(faces) <= index < len(faces):
        raise ConfigError(
            f"{name}: there is no face number {index}; the largest is number 0, the last {len(faces) - 1}. "
            f"{places(faces)}"
        )
    return faces[index]


def by_position(
    faces: Sequence[Face], position: tuple[float, float], size: tuple[int, int], name: str
) -> Face:
    """The face whose box holds the point, else the nearest box; of several, the one with the nearest centre.

    position: x, y in pixels of the upright picture. size: its width and height.
    Raises ConfigError: the point is not two numbers, or outside of the picture.
    """
    point = np.asarray(position, np.float64)
    if point.shape != (2,) or not np.isfinite(point).all():
        raise ConfigError(f"position={position}: give x and y in pixels of the upright picture")
    if (point < 0).any() or (point > size).any():
        raise ConfigError(
            f"{name}: position {position} is outside of the picture ({size[0]}x{size[1]}). {places(faces)}"
        )

    def distances(face: Face) -> tuple[float, float]:
        outside = np.maximum(0, np.maximum(face.box[:2] - point, point - face.box[2:]))
        centre = (face.box[:2] + face.box[2:]) / 2
        return float(np.hypot(*outside)), float(np.hypot(*(centre - point)))

    return min(faces, key=distances)


def by_likeness(faces: Sequence[Face], reference: Floats, same_person: float | None, name: str) -> Face:
    """The face most like the unit ID embedding `reference` (D_id,).

    Raises NoFaceError: none reaches the cosine `same_person`.
    """
    likest = max(faces, key=lambda face: face.similarity(reference))
    best = likest.similarity(reference)
    if same_person is not None and best < same_person:
        raise NoFaceError(
            f"{name}: no face is like the reference (the best similarity of {len(faces)} is {best:.2f}, the "
            f"same person has {same_person:.2f} or more). Use a clearer reference, or choose by index "
            f"(--face-index) or position (--face-position). {places(faces)}"
        )
    return likest


def only(faces: Sequence[Face], name: str) -> Face:
    """The one face. Raises SeveralFacesError with the boxes: there are more."""
    if len(faces) > 1:
        raise SeveralFacesError(
            f"{name}: {len(faces)} faces where one was expected. Choose one by index, position or reference "
            f"(--face-index, --face-position, --reference), or crop the picture. {places(faces)}",
            boxes=[
                (float(x0), float(y0), float(x1), float(y1))
                for x0, y0, x1, y1 in (face.box for face in faces)
            ],
        )
    return faces[0]


def places(faces: Sequence[Face], most: int = 6) -> str:
    """Where the faces are, for a message: number and box of each."""
    shown = [f"{k}: ({', '.join(f'{v:.0f}' for v in face.box)})" for k, face in enumerate(faces[:most])]
    more = f" and {len(faces) - most} more" if len(faces) > most else ""
    return f"Faces as number: (x0, y0, x1, y1): {', '.join(shown)}{more}"
