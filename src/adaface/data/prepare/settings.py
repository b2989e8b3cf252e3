"""How photos are prepared: everything that changes what comes out, and nothing else."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from adaface.data.layout import IMAGE_TYPES
from adaface.errors import ConfigError

CROPS = ("align", "square")
LARGEST, SMALLEST = 2048, 16  # side of a crop
# What only decides on photos that were looked at, or only adds a file: looks do not depend on it.
JUDGING = frozenset({"same_person", "filter_people", "drop_near_duplicates", "least_similarity"})
JUDGING |= {"original_layout"}


@dataclass(frozen=True, kw_only=True)
class PrepareSettings:
    """What is kept, and how it is cut.

    size: side of the square crops, in pixels. crop: "align" turns the face upright and frames it as FFHQ
    does; "square" cuts the square upright with the photo's edges, never beyond them. margin: of that frame, 1
    is FFHQ's. image_type: how crops are stored. min_face_px: least shorter side of the face's box in the
    photo. min_quality: least `adaface.face.quality.quality`. min_inside: least share of the crop that the
    photo covers. same_person: least similarity to the person's other photos; None: the recogniser's own
    figure. filter_people, drop_near_duplicates: whether these steps are done.
    Raises ConfigError: a value out of its range.
    """

    size: int = 512
    crop: str = "align"
    margin: float = 1.0
    image_type: str = "jpg"
    min_face_px: float = 40.0
    min_quality: float = 0.2
    min_inside: float = 0.75
    same_person: float | None = None
    filter_people: bool = True
    drop_near_duplicates: bool = True

    def __post_init__(self) -> None:
        if not SMALLEST <= self.size <= LARGEST or self.size % 8:
            raise ConfigError(f"size={self.size}: give {SMALLEST} to {LARGEST} pixels, a multiple of 8")
        for name, allowed in (("crop", CROPS), ("image_type", IMAGE_TYPES)):
            if getattr(self, name) not in allowed:
                raise ConfigError(f"{name}={getattr(self, name)!r}: give one of {', '.join(allowed)}")
        if not 0.5 <= self.margin <= 4:
            raise ConfigError(f"margin={self.margin:g}: give 0.5 (close) to 4 (wide), FFHQ's frame is 1")
        if not self.min_face_px >= 1:
            raise ConfigError(f"min_face_px={self.min_face_px:g}: give 1 or more, usual is 40")
        for name in ("min_quality", "min_inside"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name}={getattr(self, name):g}: give a number from 0 to 1")
        if self.same_person is not None and not -1 < self.same_person < 1:
            raise ConfigError(f"same_person={self.same_person:g}: give a cosine between -1 and 1")


def looking(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Of recorded settings, those that a look at a photo depends on; the others only judge what was seen."""
    return {name: value for name, value in settings.items() if name not in JUDGING}


def shown(value: object) -> str:
    """A recorded setting as people write it."""
    if isinstance(value, Mapping):
        return "(" + ", ".join(f"{name} {shown(one)}" for name, one in value.items()) + ")"
    words = {None: "none", True: "yes", False: "no"}
    return words[value] if value is None or isinstance(value, bool) else str(value)


def digest(data: object) -> str:
    """One hex digest of anything JSON can hold."""
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()
