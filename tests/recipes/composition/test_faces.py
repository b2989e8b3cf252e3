"""Where faces are, and how unlike the person a picture is."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from adaface.face.differentiable.network import SFace, embed
from adaface.recipes.base.drawn import landmarks_in
from adaface.recipes.composition.faces import REACH, face_places, unlike


@pytest.fixture(scope="module")
def picture():
    """The astronaut's face as a training picture: (1, 3, 64, 64) in -1..1."""
    from skimage import data

    face = Image.fromarray(data.astronaut()).crop((130, 10, 320, 200)).resize((64, 64))
    return torch.from_numpy(np.array(face)).permute(2, 0, 1)[None].float() / 127.5 - 1


def test_a_face_is_where_its_landmarks_are():
    marks = torch.tensor([[[24.0, 24], [40, 24], [32, 32], [26, 40], [38, 40]]])  # middle (32, 32), reach 20
    places = face_places(marks, torch.tensor([1]), 2, 64, (8, 8))
    assert places.shape == (2, 1, 8, 8)
    assert places[0].max() == 0
    assert places[1, 0, 3:5, 3:5].min() == 1
    assert places[1, 0, 0, 0] == 0
    # the place at (28, 52) is 20.4 pixels away, about the reach of 20: half of it
    assert float(places[1, 0, 6, 3]) == pytest.approx(0.5 + (REACH * 16 - 416**0.5) / 8, abs=1e-4)


def test_without_faces_there_is_no_place():
    assert face_places(torch.zeros(0, 5, 2), torch.zeros(0, dtype=torch.long), 3, 64, (8, 8)).max() == 0


def test_the_own_person_is_nearer_than_somebody_else(picture):
    recognizer = SFace()
    marks, _ = landmarks_in(picture)
    own = embed(recognizer, picture, marks)
    other = torch.nn.functional.normalize(
        torch.randn(1, 128, generator=torch.Generator().manual_seed(0)), dim=-1
    )
    pictures = torch.cat([picture, picture, torch.zeros_like(picture)]).requires_grad_()
    values = unlike(recognizer, pictures, torch.cat([own, other, own]), torch.zeros(128), [1, 1, 1])
    assert values[0] < 0.5 < values[1]
    assert values[2] == 1
    values.sum().backward()
    assert pictures.grad[0].abs().max() > 0
    assert pictures.grad[2].abs().max() == 0


def test_what_is_seen_of_a_face_follows_from_its_own_seed(picture):
    recognizer, faces, mean = SFace(), torch.eye(128)[:1], torch.zeros(128)
    two = unlike(recognizer, picture.expand(2, -1, -1, -1), faces.expand(2, -1), mean, [3, 4])
    alone = unlike(recognizer, picture, faces, mean, [4])
    assert_close(two[1:], alone, atol=1e-5, rtol=0)
    assert two[0] != two[1]


def test_what_all_faces_share_does_not_count(picture):
    recognizer = SFace()
    own = embed(recognizer, picture, landmarks_in(picture)[0])
    assert float(unlike(recognizer, picture, own, own[0], [1])) == pytest.approx(1, abs=1e-4)
