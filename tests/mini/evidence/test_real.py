"""A user's photo as a pack of one: framed as the face packs are."""

import numpy as np
import pytest
import torch

from adaface.face.analyzer import FaceAnalyzer
from adaface.mini.evidence.real import framed, pack_of


@pytest.fixture(scope="module")
def found(astronaut):
    return FaceAnalyzer().face(astronaut)


def test_a_photo_becomes_a_crop_of_80_pixels_with_its_landmarks(astronaut, found):
    pack = pack_of(astronaut, found)
    assert pack.images.shape == (1, 3, 80, 80) and pack.images.dtype == torch.uint8
    crop = pack.images[0].permute(1, 2, 0).numpy()
    large = np.repeat(np.repeat(crop, 4, 0), 4, 1)
    again = FaceAnalyzer().face(large).landmarks / 4
    assert np.abs(again - pack.landmarks[0].numpy()).max() < 2.5  # found anew where they are said to be
    assert torch.equal(pack.ids[0], torch.from_numpy(found.id_embedding))


def test_the_eyes_of_the_framed_photo_are_level_and_in_its_upper_middle(astronaut, found):
    pack = pack_of(astronaut, found)
    [picture] = framed(pack)
    assert picture.size == (64, 64)
    left, right = (pack.landmarks[0, :2] - 8).tolist()
    assert abs(left[1] - right[1]) < 2 and 20 < left[0] < 32 < right[0] < 44 and 20 < left[1] < 34
