"""How like a person a picture is, with gradients: what sets the person apart counts."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import normalize
from torch.testing import assert_close

from adaface.face.differentiable.network import SFace, embed
from adaface.recipes.base.likeness import changed, landmarks_in, likeness


@pytest.fixture(scope="module")
def picture():
    """The astronaut's face as a training picture: (1, 3, 64, 64) in -1..1."""
    from skimage import data

    face = Image.fromarray(data.astronaut()).crop((130, 10, 320, 200)).resize((64, 64))
    return torch.from_numpy(np.array(face)).permute(2, 0, 1)[None].float() / 127.5 - 1


def somebody():
    """An ID embedding (1, 128) of nobody in particular."""
    return normalize(torch.randn(1, 128, generator=torch.Generator().manual_seed(0)))


def test_a_picture_is_most_like_its_own_person_and_gains_by_what_sets_them_apart(picture):
    recognizer = SFace()
    landmarks, rows = landmarks_in(picture)
    assert rows.tolist() == [0]
    own = embed(recognizer, picture, landmarks)
    nobody = torch.zeros(128)
    assert float(likeness(recognizer, picture, own, nobody)) == pytest.approx(1, abs=1e-4)
    assert float(likeness(recognizer, picture, somebody(), nobody)) < 0.5
    assert float(likeness(recognizer, picture, own, own[0])) == pytest.approx(0, abs=1e-4)


def test_likeness_gives_gradients_to_the_picture(picture):
    recognizer, leaf = SFace(), picture.clone().requires_grad_()
    likeness(recognizer, leaf, somebody(), torch.zeros(128)).sum().backward()
    assert leaf.grad.abs().max() > 0


def test_a_face_that_is_a_little_changed_stays_the_same_persons(picture):
    recognizer, landmarks = SFace(), landmarks_in(picture)[0]
    own = embed(recognizer, picture, landmarks)
    seen = [changed(picture, landmarks, [seed]) for seed in range(12)]
    likenesses = [float((embed(recognizer, *one) * own).sum()) for one in seen]
    assert min(likenesses) > 0.5
    assert len({round(value, 4) for value in likenesses}) == 12


def test_half_of_the_changed_pictures_are_mirrored_with_their_landmarks():
    pictures = torch.zeros(40, 3, 64, 64)
    pictures[..., :32] = 1  # left half white
    landmarks = torch.tensor([[8.0, 20], [24, 20], [16, 30], [10, 40], [22, 40]]).expand(40, -1, -1)
    seen, marks = changed(pictures, landmarks, range(40))
    white_on_the_right = seen[..., 32:].mean((1, 2, 3)) > seen[..., :32].mean((1, 2, 3))
    assert 10 < int(white_on_the_right.sum()) < 30
    assert torch.equal(marks[..., 0].mean(1) > 32, white_on_the_right)
    assert (marks[:, 0, 0] < marks[:, 1, 0]).all()  # the first eye stays the left one in the picture
    assert float((pictures[..., :32] - 1).abs().max()) == 0  # the given ones stay


def test_what_is_seen_of_a_face_follows_from_its_own_seed(picture):
    recognizer, ids, mean = SFace(), torch.eye(128)[:1], torch.zeros(128)
    two = likeness(recognizer, picture.expand(2, -1, -1, -1), ids.expand(2, -1), mean, [3, 4])
    alone = likeness(recognizer, picture, ids, mean, [4])
    assert_close(two[1:], alone, atol=1e-5, rtol=0)
    assert two[0] != two[1]


def test_a_picture_without_a_face_has_no_likeness(picture):
    recognizer, blank = SFace(), torch.zeros(1, 3, 64, 64)
    landmarks, _ = landmarks_in(picture)
    own = embed(recognizer, picture, landmarks)
    assert likeness(recognizer, blank, own, torch.zeros(128)).tolist() == [0]
    both = likeness(recognizer, torch.cat([blank, picture]), own.expand(2, -1), torch.zeros(128))
    assert both.tolist() == pytest.approx([0, 1], abs=1e-4)
    leaf = blank.clone().requires_grad_()
    likeness(recognizer, leaf, own, torch.zeros(128)).sum().backward()
    assert leaf.grad.abs().max() == 0
