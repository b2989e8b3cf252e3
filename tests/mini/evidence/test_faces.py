"""Who is in the pictures, with a recogniser whose vectors are given."""

import numpy as np
import pytest

from adaface.evaluation.scores.looking import Look
from adaface.mini.evidence.faces import Judge, by_person

RED, GREEN, BLUE = np.eye(3, dtype=np.float32)


class Given:
    """Takes a look's pixels for its first face's vector; further faces are nobody's."""

    name, likeness = "given", "the product"

    def embed(self, seen):
        return [np.stack([one.pixels * (face == 0) for face in one.faces]) for one in seen]

    def compare(self, faces, photos):
        return faces @ photos.T


def seen(vector, faces=1):
    return Look(vector, tuple(range(faces)))


@pytest.fixture
def judge():
    others = [np.stack([GREEN, RED]), np.stack([GREEN]), np.stack([BLUE])]
    return Judge(Given(), np.stack([RED, GREEN, BLUE]), others)


def test_the_margin_is_own_minus_the_mean_of_all_others(judge):
    found = judge([seen(RED), seen(GREEN), seen(RED)], [0, 1, 2])
    # to the three people: red 1/2, 0, 0; green 1/2, 1, 0
    assert found.margin == pytest.approx([0.5, 1 - 0.25, 0 - 0.25])


def test_copying_is_likeness_to_the_given_photo_minus_to_the_others(judge):
    found = judge([seen(RED), seen(GREEN)], [0, 1])
    assert found.copied == pytest.approx([0.5, 0.0])


def test_without_a_face_there_is_no_margin_and_nothing_copied(judge):
    found = judge([None, seen(RED, faces=0), seen(GREEN)], [0, 1, 1])
    assert found.found.tolist() == [False, False, True]
    assert found.margin.tolist()[:2] == [0, 0] and found.margin[2] == pytest.approx(0.75)
    assert np.isnan(found.copied[:2]).all() and not np.isnan(found.copied[2])


def test_the_largest_face_counts(judge):
    found = judge([seen(RED, faces=3)], [0])
    assert found.margin == pytest.approx([0.5])


def test_a_person_without_other_photos_has_no_margin_and_is_nobodys_stranger():
    none = np.zeros((0, 3), np.float32)
    judge = Judge(Given(), np.stack([RED, GREEN, BLUE]), [RED[None], none, BLUE[None]])
    found = judge([seen(RED), seen(GREEN)], [0, 1])
    assert found.margin[0] == pytest.approx(1.0) and np.isnan(found.margin[1])


def test_values_are_averaged_for_each_person():
    values = np.array([1.0, 0.0, np.nan, 5.0])
    means = by_person(values, [0, 0, 1, 1], [0, 1, 2], 3)
    assert means[0] == 0.5 and np.isnan(means[1:]).all()
