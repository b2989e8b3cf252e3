"""Which points lie in the photo whose corners in a crop are known. Letter: S pixels of a crop's side."""

import numpy as np
from numpy.typing import NDArray

from adaface.face.types import Floats

_EDGE = 1e-3  # pixels: so near to an edge a point is inside, whatever the corners were rounded to


def pixels_inside(corners: Floats, size: int) -> NDArray[np.bool_]:
    """Which pixels (S, S) of a crop have their centres in the photo. corners: as of `within`."""
    ends = np.array([0.0, size - 1.0])
    if within(ends[None], ends[:, None], corners).all():  # as of most photos, and a quadrilateral is convex
        return np.ones((size, size), bool)
    line = np.arange(size, dtype=np.float64)
    return within(line[None], line[:, None], corners)


def within(x: NDArray[np.float64], y: NDArray[np.float64], corners: Floats) -> NDArray[np.bool_]:
    """Which points lie in a convex quadrilateral, edges included.

    x, y: arrays that can be broadcast together. corners: (4, 2), in order around it, either way.
    """
    points = corners.astype(np.float64)
    along = np.roll(points, -1, axis=0) - points  # (4, 2): the sides
    beyond = np.roll(points, -2, axis=0) - points
    turn = np.sign((along[:, 0] * beyond[:, 1] - along[:, 1] * beyond[:, 0]).sum()) or 1.0
    found = np.ones(np.broadcast(x, y).shape, bool)
    for (left, top), (right, down) in zip(points, along, strict=True):
        side = turn * ((y - top) * right - (x - left) * down)
        found &= side >= -_EDGE * np.hypot(right, down)
    return found
