"""Five landmarks -> the aligned 112 x 112 crop that ArcFace-style recognisers were trained on."""

import numpy as np
from numpy.typing import NDArray

from adaface.errors import ShapeError
from adaface.face.types import Floats, Pixels

CROP = 112
# Where right eye, left eye, nose tip, right and left mouth corner lie in the crop (the ArcFace template).
TEMPLATE: Floats = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]],
    np.float32,
)
TEMPLATE.flags.writeable = False


def similarity_transform(
    landmarks: NDArray[np.floating], template: NDArray[np.floating] = TEMPLATE
) -> NDArray[np.float64]:
    """Turn, scale and shift (2, 3) that take `landmarks` (n, 2) to `template` (n, 2), least squares.

    Never a mirror image. Source: Umeyama 1991. Raises ShapeError: shapes differ, or all landmarks are one
    point.
    """
    source, target = np.asarray(landmarks, np.float64), np.asarray(template, np.float64)
    if source.shape != target.shape or source.ndim != 2 or source.shape[1] != 2:
        raise ShapeError(f"landmarks {source.shape}: give {target.shape}, x and y of each point")
    a, b = source - source.mean(0), target - target.mean(0)
    spread = float((a**2).sum())
    if not np.isfinite(spread) or spread == 0:
        raise ShapeError("landmarks: all of them are one point, or not numbers. Give five different points")
    # In the plane the best turn and scale is one complex number.
    cosine, sine = (a * b).sum() / spread, (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum() / spread
    turn = np.array([[cosine, -sine], [sine, cosine]])
    return np.hstack([turn, (target.mean(0) - turn @ source.mean(0))[:, None]])


def align(image: Pixels, landmarks: Floats) -> Pixels:
    """Cut the face out of `image` (H, W, 3) uint8: (112, 112, 3), `landmarks` (5, 2) on the template.

    Outside of the picture is black, as in the recognisers' training. Large faces are averaged down, not
    skipped over.
    """
    import cv2

    matrix = similarity_transform(landmarks)
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))  # crop pixels for each picture pixel
    if (
        scale < 0.5
    ):  # the bilinear warp reads 2 x 2 pixels and would skip the rest: halve the scale beforehand
        image, matrix = _reduced(image, matrix, scale)
    crop: Pixels = cv2.warpAffine(image, matrix, (CROP, CROP), flags=cv2.INTER_LINEAR)
    return crop


def _reduced(image: Pixels, matrix: NDArray[np.float64], scale: float) -> tuple[Pixels, NDArray[np.float64]]:
    """The part of the picture under the crop, averaged to about its scale; the transform from there."""
    import cv2

    inverse = cv2.invertAffineTransform(matrix)
    corners = np.array([[0, 0], [CROP, 0], [0, CROP], [CROP, CROP]]) @ inverse[:, :2].T + inverse[:, 2]
    height, width = image.shape[:2]
    x0, y0 = np.clip(np.floor(corners.min(0)), 0, [width - 1, height - 1]).astype(int)
    x1, y1 = np.clip(np.ceil(corners.max(0)) + 1, [x0 + 1, y0 + 1], [width, height]).astype(int)
    part = image[y0:y1, x0:x1]
    size = np.maximum(1, np.rint(np.array([x1 - x0, y1 - y0]) * scale)).astype(int)
    small = cv2.resize(part, (int(size[0]), int(size[1])), interpolation=cv2.INTER_AREA)
    factor = size / [
        x1 - x0,
        y1 - y0,
    ]  # small = factor * (point - corner + 0.5) - 0.5, pixel centres being integers
    back = np.array(
        [
            [1 / factor[0], 0, x0 + 0.5 / factor[0] - 0.5],
            [0, 1 / factor[1], y0 + 0.5 / factor[1] - 0.5],
            [0, 0, 1],
        ]
    )
    return small, matrix @ back
