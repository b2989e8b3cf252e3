"""Crops and alignment, against hand-made points."""

import torch
from torch.testing import assert_close

from adaface.mini.recipes.sface import SFace, embed
from adaface.mini.world import geometry


def test_a_similarity_takes_its_points_to_their_targets():
    points = torch.tensor([[[0.0, 0.0], [2.0, 0.0], [0.0, 2.0]]])
    turned = points @ torch.tensor([[0.0, 3.0], [-3.0, 0.0]]) + torch.tensor([5.0, -1.0])
    maps = geometry.similarity(points, turned)
    assert_close(points @ maps[0, :, :2].T + maps[0, :, 2], turned)


def test_a_fixed_crop_is_the_centre():
    picture = torch.rand(1, 3, 80, 80)
    assert_close(geometry.resample(picture, geometry.fixed_crop(1, 80), 64), picture[:, :, 8:72, 8:72])


def test_landmarks_move_with_their_picture():
    generator = torch.Generator().manual_seed(0)
    maps, mirrored = geometry.jitter(16, 80, (60, 70), generator)
    marks = torch.tensor([[30.0, 35.0], [50.0, 35.0], [40.0, 45.0], [33.0, 55.0], [47.0, 55.0]]).expand(
        16, -1, -1
    )
    picture = torch.zeros(16, 1, 80, 80)
    picture[:, :, 45, 40] = 1  # the nose
    moved = geometry.move_landmarks(marks, maps, mirrored)
    brightest = geometry.resample(picture, maps, 64).flatten(1).argmax(1)
    found = torch.stack([brightest % 64, brightest // 64], -1).float()
    assert (found - moved[:, 2]).abs().max() < 1.01
    assert (moved[:, 0, 0] < moved[:, 1, 0]).all(), "the image-left eye stays left in mirrored pictures too"


def test_the_differentiable_recogniser_equals_the_packaged_one():
    from adaface.face.recognize import default_recognizer

    crops = (torch.rand(2, 112, 112, 3, generator=torch.Generator().manual_seed(0)) * 255).byte()
    ours = SFace()(crops.permute(0, 3, 1, 2).float())
    assert_close(ours, torch.from_numpy(default_recognizer()(crops.numpy())), atol=1e-5, rtol=0)


def test_the_recogniser_gives_gradients_to_the_picture():
    picture = torch.rand(1, 3, 64, 64, requires_grad=True)
    marks = torch.tensor([[[22.0, 28.0], [42.0, 28.0], [32.0, 36.0], [25.0, 45.0], [39.0, 45.0]]])
    embed(SFace(), picture, marks)[0, 0].backward()
    assert picture.grad is not None and picture.grad.abs().sum() > 0


def test_crops_and_alignment_are_exact_inside_of_autocast():
    generator = torch.Generator().manual_seed(0)
    maps, mirrored = geometry.jitter(4, 80, (60, 70), generator)
    marks, picture = (
        80 * torch.rand(4, 5, 2, generator=generator),
        torch.rand(4, 3, 80, 80, generator=generator),
    )

    def everything():
        moved = geometry.move_landmarks(marks, maps, mirrored)
        return geometry.resample(picture, maps, 64), moved, geometry.align(picture, moved)

    plain = everything()
    with torch.autocast("cpu", torch.bfloat16):
        rounded = everything()
    for one, two in zip(plain, rounded, strict=True):
        assert torch.equal(one, two)
