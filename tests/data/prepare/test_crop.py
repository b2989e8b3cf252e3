"""The frame of a head, and what of it the photo covers."""

import numpy as np
import pytest

from adaface.data.corners import pixels_inside
from adaface.data.prepare.looking.crop import (
    covered,
    cut,
    cut_mask,
    head_frame,
    inside_photo,
    moved,
    photo_corners,
)
from adaface.face.align import TEMPLATE

POINTS = TEMPLATE * 0.8 + np.array([60, 50], np.float32)


def ffhq(points, size, margin=1.0):
    """The rule as it is published, for one point after the other."""
    em, mm = points[:2].mean(0), points[3:].mean(0)
    a, b = points[1] - points[0], mm - em
    x = a - np.array([-b[1], b[0]])
    x /= np.hypot(*x)
    y = np.array([-x[1], x[0]])
    h = max(2.0 * np.hypot(*a), 1.8 * np.hypot(*b)) * margin
    s, c = size / (2 * h), em + 0.1 * b
    return np.array([[s * (p - c) @ x, s * (p - c) @ y] for p in points]) + size / 2 - 0.5


@pytest.mark.parametrize("turn", [0, 30, 180, -100])
def test_the_frame_is_that_of_ffhq_turned_with_the_face(turn):
    angle = np.deg2rad(turn)
    matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = (POINTS @ matrix.T).astype(np.float32)
    made = moved(points, head_frame(points, 1.25).matrix(80))
    np.testing.assert_allclose(made, ffhq(points.astype(np.float64), 80, 1.25), atol=1e-3)
    assert made[0, 0] < made[1, 0] and made[0, 1] < made[3, 1]  # upright


def test_a_turned_photo_gives_the_same_crop():
    rng = np.random.default_rng(0)
    photo = np.kron(rng.integers(0, 255, (24, 24, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    straight = cut(photo, head_frame(POINTS).matrix(64), 64)
    turned = np.ascontiguousarray(np.rot90(photo))
    points = np.stack([POINTS[:, 1], 191 - POINTS[:, 0]], 1)
    crop = cut(turned, head_frame(points).matrix(64), 64)
    assert np.abs(straight.astype(int) - crop).mean() < 1


def test_a_large_photo_is_averaged_not_skipped_over():
    photo = np.zeros((1600, 1600, 3), np.uint8)
    photo[:, ::8] = 255  # lines that a coarse look would miss, or see as grey only when averaged
    crop = cut(photo, head_frame(TEMPLATE * 12).matrix(64), 64)
    assert np.abs(crop[8:-8, 8:-8].astype(float) - 255 / 8).max() < 16


def test_landmarks_of_one_point_still_give_a_frame():
    frame = head_frame(np.full((5, 2), 7, np.float32))
    assert np.isfinite(frame.matrix(64)).all()


def test_what_lies_beyond_the_photo_is_known():
    matrix = np.array([[1.0, 0, 10], [0, 1.0, 0]])  # the photo begins at the crop's 10th pixel
    corners = photo_corners(matrix, (100, 100))
    assert covered(corners, 40) == pytest.approx(0.75, abs=0.03)
    inside = pixels_inside(corners, 40)
    assert not inside[:, :10].any() and inside[:, 10:].all()


def test_a_crop_within_the_photo_is_covered_wholly():
    assert covered(photo_corners(head_frame(POINTS).matrix(64), (400, 400)), 64) == 1
    turned = np.array([[0.6, -0.8, 32.0], [0.8, 0.6, -20.0]])
    assert 0 < covered(photo_corners(turned, (60, 60)), 64) < 1


def test_a_turned_photo_covers_all_pixels_or_all_but_the_corners():
    tips = np.array([[0, -1], [1, 0], [0, 1], [-1, 0]], np.float32)  # 63 to a corner pixel, along both sides
    assert pixels_inside(31.5 + 63.5 * tips, 64).all()
    inside = pixels_inside(31.5 + 62.5 * tips, 64)
    assert (~inside).sum() == 4 and not inside[[0, 0, -1, -1], [0, -1, 0, -1]].any()


def test_the_square_crop_never_leaves_the_photo():
    frame = inside_photo(head_frame(POINTS - 60), (120, 90))
    assert covered(photo_corners(frame.matrix(64), (120, 90)), 64) == 1
    assert frame.half == 45


def test_a_mask_is_cut_as_its_photo_and_nothing_beyond():
    mask = np.full((100, 100), 255, np.uint8)
    mask[:50] = 0
    crop = cut_mask(mask, np.array([[1.0, 0, 10], [0, 1.0, 0]]), 100)
    assert set(np.unique(crop)) == {0, 255}
    assert not crop[:50].any() and not crop[:, :10].any() and crop[50:, 10:].all()
