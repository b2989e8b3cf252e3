"""A detector's second chances: the picture as it is, framed, smaller, larger, and turned. Letters: F faces.

Each try is a `View`: the picture with a border, scaled, turned by quarters. What is found is carried back to
the pixels of the picture. The tries stop at the first one that finds a face.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from adaface.face.types import Detection, FaceDetector, Floats, Pixels

SIDE = 640  # longer side of the copy that is searched: faces of 10 to 400 pixels there
FINE_SIDE = 1600  # for small faces in a large picture
COARSE_SIDES = (320, 160)  # for a face that fills the picture
BORDER = 0.5  # of the longer side, around a tight crop
SURE = 0.9  # below it the picture may be turned: 120 LFW photos score from 0.899, upside down about 0.82
FRAME = (114, 114, 114)
# Least score in another look: of 600 cut-outs without a face the first look sees one in 33 (galaxies and a
# cat mostly), all looks in 53 with the detector's own 0.6, in 37 with this.
AGAIN = 0.75


@dataclass(frozen=True)
class View:
    """One way to look at a picture.

    side: longer side in pixels, border included. border: share of the longer side, added all round.
    turns: quarters, counter-clockwise.
    """

    side: int = SIDE
    border: float = 0.0
    turns: int = 0

    def detect(self, detector: FaceDetector, image: Pixels) -> list[Detection]:
        """Faces of `image` (H, W, 3) as the detector sees them in this view, in pixels of `image`."""
        import cv2

        height, width = image.shape[:2]
        pad = round(max(height, width) * self.border)
        scale = self.side / (max(height, width) + 2 * pad)
        inner = max(1, round(width * scale)), max(1, round(height * scale))
        small = cv2.resize(image, inner, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
        edge = round(pad * scale)
        if edge:
            small = cv2.copyMakeBorder(small, edge, edge, edge, edge, cv2.BORDER_CONSTANT, value=FRAME)
        found = detector(np.ascontiguousarray(np.rot90(small, self.turns)))
        factors = np.array([inner[0] / width, inner[1] / height], np.float32)
        return [self._back(face, small.shape, edge, factors) for face in found]

    def _back(self, face: Detection, shape: Sequence[int], edge: int, factors: Floats) -> Detection:
        def point(xy: Floats) -> Floats:  # (n, 2) in the view -> (n, 2) in the picture
            # the centre of a pixel is an integer in both
            return (_unturned(xy, shape, self.turns) - edge + 0.5) / factors - 0.5

        corners = point(face.box.reshape(2, 2))
        box = np.concatenate([corners.min(0), corners.max(0)]).astype(np.float32)
        return Detection(box, point(face.landmarks).astype(np.float32), face.score)


def _unturned(xy: Floats, shape: Sequence[int], turns: int) -> Floats:
    """Points (n, 2) of a picture turned by quarters -> of the picture (H, W) before it was turned."""
    height, width = shape[:2]
    x, y = xy[:, 0], xy[:, 1]
    right, bottom = width - 1, height - 1
    before = ((x, y), (right - y, x), (right - x, bottom - y), (y, bottom - x))[turns % 4]
    return np.stack(before, axis=1)


def find_faces(detector: FaceDetector, image: Pixels, *, persistent: bool = True) -> list[Detection]:
    """Faces of `image` (H, W, 3), in its pixels, in any order; [] if there is none.

    persistent: try again with a border, other scales and turned, when nothing was found, and turned also when
    the best score is low (an upside-down face is found, but its landmarks are wrong). False: one look, which
    also suits a detector whose scores are not on YuNet's scale.
    """
    found = View(_side(image)).detect(detector, image)
    if not persistent:
        return found
    for view in _retries(image) if not found else ():
        found = _again(view, detector, image)
        if found:
            break
    if _best(found) >= SURE:
        return found
    border = 0.0 if found else BORDER
    turned = [_again(View(_side(image), border, turns), detector, image) for turns in (1, 2, 3)]
    return max([found, *turned], key=_best)  # the first of equals: as it is


def _again(view: View, detector: FaceDetector, image: Pixels) -> list[Detection]:
    return [face for face in view.detect(detector, image) if face.score >= AGAIN]


def _side(image: Pixels) -> int:
    return min(SIDE, max(image.shape[:2]))


def _retries(image: Pixels) -> Iterator[View]:
    yield View(SIDE, BORDER)
    yield View(SIDE // 2, BORDER)
    if max(image.shape[:2]) > SIDE:
        yield View(min(FINE_SIDE, max(image.shape[:2])))
    for side in COARSE_SIDES:
        yield View(side)


def _best(found: Sequence[Detection]) -> float:
    return max((face.score for face in found), default=0.0)
