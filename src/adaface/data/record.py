"""What is known of a photo on its way into a data set. Letters: S pixels of a crop's side, D_id."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adaface.face.types import Floats


@dataclass(frozen=True)
class Photo:
    """One file to look at.

    folder: the root that it was found below. root: what the data set calls that folder. path: relative to it,
    with slashes. person: whose photo it is; with `mixed`, the name of a folder of many people. mask: the path
    of its given mask, relative to `folder`.
    """

    folder: Path
    root: str
    path: str
    person: str
    mixed: bool = False
    mask: str | None = None

    @property
    def file(self) -> Path:
        """Where it is."""
        return self.folder / self.path


@dataclass(frozen=True)
class Chunk:
    """Some photos that one worker looks at in one go. name: unique, and another one for other settings."""

    name: str
    photos: tuple[Photo, ...]


@dataclass(frozen=True)
class Rejection:
    """Why a photo is not in the data set.

    code: a key of `adaface.data.prepare.telling.reasons.REASONS`. sentence: what was found in this photo, for
    people.
    """

    code: str
    sentence: str


@dataclass(frozen=True, eq=False, slots=True)
class FaceLook:
    """One face of a photo, cut out of it.

    landmarks: (5, 2) float32 in pixels of the crop. score: the detector's. face_px: shorter side of its box
    in the photo. quality: in (0, 1]. inside: share of the crop that the photo covers; corners: where the
    photo's corners lie in the crop, (4, 2), or None if it covers all of it. fingerprint, portrait: of the
    crop, as of `adaface.data.prepare.judging.duplicates`. image, mask: offset and length of the encoded crop
    and its mask in the chunk's blobs. age: in years. gender: "male" or "female". Both are None where no
    backend tells.
    """

    id_embedding: Floats
    landmarks: Floats
    score: float
    face_px: float
    quality: float
    inside: float
    corners: Floats | None
    fingerprint: int
    portrait: NDArray[np.uint8]
    image: tuple[int, int]
    mask: tuple[int, int] | None
    age: float | None = None
    gender: str | None = None


@dataclass(frozen=True, eq=False, slots=True)
class Look:
    """What was seen in one photo: a rejection, or one or more usable faces, the largest first.

    sha256: of the file's bytes; "" if it could not be read. size: (width, height) of the upright photo.
    """

    photo: Photo
    sha256: str
    size: tuple[int, int] = (0, 0)
    rejection: Rejection | None = None
    faces: tuple[FaceLook, ...] = field(default=())
