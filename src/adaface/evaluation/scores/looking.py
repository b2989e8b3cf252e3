"""A picture, looked at once for all scores of faces."""

from dataclasses import dataclass

import cv2
import numpy as np

from adaface.face.analyzer import ENLARGE_TO, FaceAnalyzer
from adaface.face.images import load_image
from adaface.face.types import Face, ImageSource, Pixels

MOST = 8  # faces of a picture that are compared with people, the largest ones; a crowd has more


@dataclass(frozen=True, eq=False)
class Look:
    """A picture (H, W, 3) and its faces, the largest first, in its pixels."""

    pixels: Pixels
    faces: tuple[Face, ...]


def look(source: ImageSource, analyzer: FaceAnalyzer) -> Look:
    """Find the faces of a picture. Raises what `adaface.face.images.load_image` raises.

    Small pictures are enlarged first, as the analyser does, so that every recogniser cuts its faces out of
    the same pixels.
    """
    pixels = load_image(source)
    scale = ENLARGE_TO / max(pixels.shape[:2])
    if scale > 1:
        height, width = (max(1, round(side * scale)) for side in pixels.shape[:2])
        pixels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_CUBIC)
    pixels = np.ascontiguousarray(pixels)  # dlib takes no other
    return Look(pixels, tuple(analyzer.faces(pixels)[:MOST]))
