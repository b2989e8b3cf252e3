"""What a face is, and the doors for other detectors and recognisers. Letters: F faces.

Coordinates are pixels (x to the right, y down) of the upright picture as the user sees it; the five landmarks
are always in the order right eye, left eye, nose tip, right mouth corner, left mouth corner of the person, so
the first eye is the left one in the picture.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels: TypeAlias = NDArray[np.uint8]  # (H, W, 3), RGB
Floats: TypeAlias = NDArray[np.float32]
ImageSource: TypeAlias = str | Path | bytes | Image.Image | NDArray[Any]


class Detection(NamedTuple):
    """One face as a detector sees it."""

    box: Floats  # (4,): x0, y0, x1, y1
    landmarks: Floats  # (5, 2)
    score: float  # in (0, 1]


@dataclass(frozen=True, eq=False)
class Face:
    """One face of a picture.

    box: (4,) float32, x0 y0 x1 y1; it may reach over the border of the picture. landmarks: (5, 2) float32.
    Both are zeros where there was no picture, only a ready ID embedding. score: the detector's, in (0, 1].
    id_embedding: (D_id,) float32 of length 1. quality: in (0, 1], how far the embedding can be trusted
    (`adaface.face.analyzer.quality`); it is the weight of this face in a mean over several photos.
    """

    box: Floats
    landmarks: Floats
    score: float
    id_embedding: Floats
    quality: float

    @property
    def width(self) -> float:
        """Width of the box in pixels."""
        return float(self.box[2] - self.box[0])

    @property
    def height(self) -> float:
        """Height of the box in pixels."""
        return float(self.box[3] - self.box[1])

    @property
    def area(self) -> float:
        """Area of the box in square pixels."""
        return self.width * self.height

    @property
    def size_px(self) -> float:
        """Shorter side of the box in pixels, which `min_face_px` is compared with."""
        return min(self.width, self.height)

    def similarity(self, other: "Face | Floats") -> float:
        """Cosine with another face, or with a unit ID embedding (D_id,): in [-1, 1]."""
        vector = other.id_embedding if isinstance(other, Face) else other
        return float(self.id_embedding @ vector)


@dataclass(frozen=True, eq=False)
class AlignedCrop:
    """A picture that is an aligned face crop already, as ArcFace tools write them; taken undetected.

    image: anything `load_image` reads, square; it is scaled to 112 x 112 if need be.
    """

    image: ImageSource


class FaceDetector(Protocol):
    """Finds faces in one picture. Must be safe to call from two threads."""

    def __call__(self, image: Pixels) -> list[Detection]:
        """RGB picture (H, W, 3) uint8 -> its faces in pixels of that picture, in any order, or []."""
        ...


class FaceRecognizer(Protocol):
    """Turns aligned crops into ID embeddings. Must be safe to call from two threads.

    It may have a `same_person`, the cosine from which on two photos are taken for one person; without it, or
    with None, nobody is left out of several photos.
    """

    @property
    def name(self) -> str:
        """What files record, so that embeddings of two recognisers are never mixed."""
        ...

    @property
    def dim(self) -> int:
        """D_id, the length of an embedding."""
        ...

    def __call__(self, crops: Pixels) -> Floats:
        """Aligned RGB crops (F, 112, 112, 3) uint8 -> unit vectors (F, D_id) float32, row by row."""
        ...
