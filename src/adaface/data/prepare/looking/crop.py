"""Photo + five landmarks -> a square crop around the whole head, and what of it the photo covers. Letters: S
pixels.

The frame is FFHQ's: its side follows the distance of the eyes and that of eyes and mouth, so that hair and
chin are inside.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adaface.data.corners import within
from adaface.face.types import Floats, Pixels

EYES, EYES_TO_MOUTH = 2.0, 1.8  # half the side in distances of the eyes, and of eyes to mouth (FFHQ)
DOWN = 0.1  # the centre lies below the eyes by this share of the way to the mouth (FFHQ)
GRID = 33  # points each way that the covered share is counted on

Matrix = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Frame:
    """A square in the photo. centre: (2,) pixels. right: (2,), unit vector to the right. half: half its
    side.
    """

    centre: Floats | Matrix
    right: Matrix
    half: float

    def matrix(self, size: int) -> Matrix:
        """Photo pixels -> pixels of the crop of `size`: (2, 3); centres of pixels are integers in both."""
        down = np.array([-self.right[1], self.right[0]])
        turn = np.stack([self.right, down]) * (size / (2 * self.half))
        return np.hstack([turn, (size / 2 - 0.5 - turn @ self.centre)[:, None]])


def head_frame(landmarks: Floats, margin: float = 1.0) -> Frame:
    """The FFHQ frame of a face, turned with it. landmarks: (5, 2) photo pixels. Source: FFHQ's alignment
    rule, with mouth corners and eye points of a five-point detector.
    """
    points = landmarks.astype(np.float64)
    eyes, mouth = points[:2].mean(0), points[3:].mean(0)
    across, along = points[1] - points[0], mouth - eyes
    right = across + np.array([along[1], -along[0]])
    length = float(np.hypot(*right))
    right = right / length if length > 0 else np.array([1.0, 0.0])
    half = max(EYES * float(np.hypot(*across)), EYES_TO_MOUTH * float(np.hypot(*along)), 1.0)
    return Frame(eyes + DOWN * along, right, half * margin)


def inside_photo(frame: Frame, size: tuple[int, int]) -> Frame:
    """The same square without its turn, moved into the photo, and made smaller if it is too large for it.

    size: (width, height) of the photo.
    """
    half = min(frame.half, min(size) / 2)
    low, high = np.full(2, half - 0.5), np.array(size, np.float64) - half - 0.5
    centre = np.clip(frame.centre.astype(np.float64), low, high)
    return Frame(centre, np.array([1.0, 0.0]), half)


def cut(image: Pixels, matrix: Matrix, size: int) -> Pixels:
    """The crop (S, S, 3) that `matrix` (2, 3) takes photo pixels to; beyond the photo its edge is repeated.

    Large photos are averaged down, not skipped over.
    """
    import cv2

    part, matrix = _around(image, matrix, size)
    fine = 2 if _scale(matrix) < 0.5 else 1  # cut twice as large and averaged, it stays sharp
    matrix = fine * matrix + [[0, 0, (fine - 1) / 2], [0, 0, (fine - 1) / 2]]
    part, matrix = _scaled(part, matrix, enlarge=cv2.INTER_CUBIC)
    side, edge = (size * fine, size * fine), cv2.BORDER_REPLICATE
    # OpenCV 5 warps four channels in less than half of the time of three
    four = cv2.cvtColor(part, cv2.COLOR_RGB2RGBA)
    four = cv2.warpAffine(four, matrix, side, flags=cv2.INTER_LINEAR, borderMode=edge)
    crop: Pixels = cv2.cvtColor(four, cv2.COLOR_RGBA2RGB)
    return crop if fine == 1 else cv2.resize(crop, (size, size), interpolation=cv2.INTER_AREA)


def cut_mask(mask: NDArray[np.uint8], matrix: Matrix, size: int) -> NDArray[np.uint8]:
    """The crop (S, S), 0 or 255, of a mask (H, W) of 0 and 255; beyond the photo it is 0."""
    import cv2

    part, matrix = _scaled(*_around(mask, matrix, size), enlarge=None)
    soft = cv2.warpAffine(part, matrix, (size, size), flags=cv2.INTER_LINEAR)
    return np.where(soft >= 128, 255, 0).astype(np.uint8)


def _scale(matrix: Matrix) -> float:
    """Pixels of the crop for each pixel of the photo."""
    return float(np.hypot(*matrix[0, :2]))


def _around(image: Pixels, matrix: Matrix, size: int) -> tuple[Pixels, Matrix]:
    """The part of the photo under the crop and a little more, and the transform from there."""
    height, width = image.shape[:2]
    inverse = np.linalg.inv(matrix[:, :2])
    ends = np.array([[0, 0], [size, 0], [size, size], [0, size]], np.float64) - 0.5
    corners = (ends - matrix[:, 2]) @ inverse.T
    room = 4 + 4 / _scale(matrix)  # four pixels of the photo, and four of the crop
    x0, y0 = np.clip(np.floor(corners.min(0) - room), 0, [width - 1, height - 1]).astype(int)
    x1, y1 = np.clip(np.ceil(corners.max(0) + room), [x0 + 1, y0 + 1], [width, height]).astype(int)
    return image[y0:y1, x0:x1], np.hstack([matrix[:, :2], matrix @ [[x0], [y0], [1]]])


def _scaled(image: Pixels, matrix: Matrix, *, enlarge: int | None) -> tuple[Pixels, Matrix]:
    """The picture at about the crop's scale, and the transform from there.

    A linear warp reads 2 x 2 pixels: of a large picture it would skip the rest. And OpenCV's cubic warp takes
    thrice the time of a cubic enlargement and a linear warp. enlarge: how; None: not at all.
    """
    import cv2

    scale = _scale(matrix)
    if scale > 1 and enlarge is not None:
        factor, way = float(max(2, round(scale))), enlarge
    elif scale < 0.5:
        factor, way = scale, cv2.INTER_AREA
    else:
        return image, matrix
    height, width = image.shape[:2]
    size = max(1, round(width * factor)), max(1, round(height * factor))
    exact = np.array([size[0] / width, size[1] / height])
    # pixel centres are integers: other = exact * (own + 0.5) - 0.5
    back = np.vstack([np.hstack([np.diag(1 / exact), (0.5 / exact - 0.5)[:, None]]), [0, 0, 1]])
    return cv2.resize(image, size, interpolation=way), matrix @ back


def moved(points: Floats | Matrix, matrix: Matrix) -> Floats:
    """Points (n, 2) of the photo in pixels of the crop."""
    return (points @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)


def photo_corners(matrix: Matrix, size: tuple[int, int]) -> Floats:
    """Where the photo's corners lie in the crop: (4, 2), clockwise from its upper left one."""
    width, height = size
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float64) - 0.5
    return moved(corners, matrix)


def covered(corners: Floats, size: int) -> float:
    """Share of a crop's pixels, in [0, 1], that lie in the photo whose corners (4, 2) these are."""
    ends = np.array([-0.5, size - 0.5])
    if within(ends[None], ends[:, None], corners).all():
        return 1.0
    line = np.linspace(0, size - 1, GRID)
    return float(within(line[None], line[:, None], corners).mean())
