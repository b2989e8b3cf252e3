"""Crops and alignment, against hand-made points."""

import torch
from torch.testing import assert_close

from adaface.face.differentiable import warp
from adaface.mini.world import geometry


def test_a_fixed_crop_is_the_centre():
    picture = torch.rand(1, 3, 80, 80)
    assert_close(warp.resample(picture, geometry.fixed_crop(1, 80), 64), picture[:, :, 8:72, 8:72])


def test_landmarks_move_with_their_picture():
    generator = torch.Generator().manual_seed(0)
    maps, mirrored = geometry.jitter(16, 80, (60, 70), generator)
    marks = torch.tensor([[30.0, 35.0], [50.0, 35.0], [40.0, 45.0], [33.0, 55.0], [47.0, 55.0]]).expand(
        16, -1, -1
    )
    picture = torch.zeros(16, 1, 80, 80)
    picture[:, :, 45, 40] = 1  # the nose
    moved = geometry.move_landmarks(marks, maps, mirrored)
    brightest = warp.resample(picture, maps, 64).flatten(1).argmax(1)
    found = torch.stack([brightest % 64, brightest // 64], -1).float()
    assert (found - moved[:, 2]).abs().max() < 1.01
    assert (moved[:, 0, 0] < moved[:, 1, 0]).all(), "the image-left eye stays left in mirrored pictures too"


def test_crops_and_alignment_are_exact_inside_of_autocast():
    generator = torch.Generator().manual_seed(0)
    maps, mirrored = geometry.jitter(4, 80, (60, 70), generator)
    marks, picture = (
        80 * torch.rand(4, 5, 2, generator=generator),
        torch.rand(4, 3, 80, 80, generator=generator),
    )

    def everything():
        moved = geometry.move_landmarks(marks, maps, mirrored)
        return warp.resample(picture, maps, 64), moved, warp.align(picture, moved)

    plain = everything()
    with torch.autocast("cpu", torch.bfloat16):
        rounded = everything()
    for one, two in zip(plain, rounded, strict=True):
        assert torch.equal(one, two)
