"""Which face is whose?"""

import numpy as np
import pytest

from adaface.evaluation.scores.matching import assigned, best_matching


def test_everybody_gets_a_face_of_their_own_so_that_the_sum_is_largest():
    # the greedy choice (0.9 for the first) would leave the second with 0.1: 1.0 in all instead of 1.6
    assert best_matching(np.array([[0.9, 0.8], [0.8, 0.1]])) == (1, 0)


def test_with_one_face_for_two_people_the_one_who_is_more_like_it_gets_it():
    assert best_matching(np.array([[0.2], [0.7]])) == (None, 0)


def test_a_face_is_given_even_if_it_is_unlike():
    assert best_matching(np.array([[-0.4, -0.2]])) == (1,)


def test_without_faces_nobody_has_one():
    assert best_matching(np.zeros((2, 0))) == (None, None)


def test_swapping_the_faces_swaps_the_choice():
    table = np.random.default_rng(0).normal(size=(3, 4))
    swapped = best_matching(table[:, ::-1])
    assert tuple(3 - face for face in swapped) == best_matching(table)


@pytest.mark.parametrize(
    ("table", "share"),
    [
        ([[0.9, 0.1], [0.2, 0.8]], 1.0),  # each face is nearest to its own person
        ([[0.9, 0.8], [0.5, 0.6]], 0.5),  # both faces are the first person's
        ([[0.9], [0.2]], 0.5),  # the second person has none
        ([[0.5, 0.1], [0.5, 0.9]], 0.5),  # as like the one as the other is nobody's own
        ([[0.5, 0.0, 0.0], [0.6, 0.9, 0.0], [0.1, 0.0, 0.9]], 2 / 3),  # the first face is the second's
        (np.zeros((2, 0)), 0.0),
    ],
)
def test_the_share_of_people_with_their_own_face(table, share):
    table = np.array(table)
    assert assigned(table, best_matching(table)) == share


def test_two_faces_of_nobody_in_particular_have_three_quarters():
    rng = np.random.default_rng(0)
    tables = rng.normal(size=(4000, 2, 2))
    assert np.mean([assigned(t, best_matching(t)) for t in tables]) == pytest.approx(0.75, abs=0.02)
