"""Orthogonal subtraction and cosines, by hand."""

import pytest
import torch
from torch.testing import assert_close

from adaface.losses.orthogonal import orthogonal, powered_distance, weighted_mean


def test_what_lies_along_the_reference_is_taken_away():
    left = orthogonal(torch.tensor([3.0, 4.0]), torch.tensor([2.0, 0.0]))
    assert_close(left, torch.tensor([0.0, 4.0]), atol=1e-5, rtol=0)


def test_what_is_left_has_nothing_of_the_reference_whatever_its_length():
    vector, reference = torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(0))
    for scale in (0.1, 1.0, 30.0):
        assert_close(
            (orthogonal(vector, scale * reference) * reference).sum(-1), torch.zeros(5), atol=1e-3, rtol=0
        )


def test_a_reference_of_zeros_takes_nothing_away():
    vector = torch.tensor([[1.0, -2.0]])
    assert_close(orthogonal(vector, torch.zeros(1, 2)), vector)


@pytest.mark.parametrize("scale", [0.1, 1.0, 100.0])
def test_rounding_leaves_no_direction_of_a_vector_along_its_reference(scale):
    """Cosines would take it for one, with a gradient as large as that of a true one is over its length."""
    rows = scale * torch.randn(200, 768, generator=torch.Generator().manual_seed(0))
    vector = ((1 + 1e-7) * rows).requires_grad_()
    left = orthogonal(vector, rows)
    assert not left.any()
    powered_distance(torch.ones_like(rows), left, 2).sum().backward()
    assert not vector.grad.any()


def test_a_small_part_beside_the_reference_is_kept():
    left = orthogonal(torch.tensor([10.0, 1e-3]), torch.tensor([10.0, 0.0]))
    assert_close(left, torch.tensor([0.0, 1e-3]), atol=1e-6, rtol=0)


def test_half_precision_is_computed_in_full():
    assert orthogonal(torch.ones(2).bfloat16(), torch.ones(2).bfloat16()).dtype == torch.float32


@pytest.mark.parametrize(
    ("one", "other", "distance"),
    [([1.0, 0.0], [5.0, 0.0], 0.0), ([1.0, 0.0], [0.0, 2.0], 1.0), ([1.0, 0.0], [-3.0, 0.0], 2.0)],
)
def test_the_distance_is_one_minus_the_cosine(one, other, distance):
    assert_close(powered_distance(torch.tensor([one]), torch.tensor([other])), torch.tensor([distance]))


def test_a_power_makes_the_references_large_numbers_count_more():
    guess, target = torch.tensor([[1.0, 1.0]]), torch.tensor([[2.0, -1.0]])
    # squared with its sign, the reference is (4, -1): 1 - (4 - 1) / (sqrt(2) sqrt(17))
    assert_close(powered_distance(guess, target, 2), torch.tensor([1 - 3 / 34**0.5]))
    assert_close(powered_distance(guess, target, 1), torch.tensor([1 - 1 / 10**0.5]))


def test_a_vector_of_zeros_is_far_and_has_no_gradient():
    guess = torch.zeros(2, 3, requires_grad=True)
    distance = powered_distance(guess, torch.ones(2, 3))
    distance.sum().backward()
    assert_close(distance, torch.ones(2))
    assert guess.grad.abs().max() == 0


def test_a_weighted_mean_is_each_samples_own():
    values = torch.tensor([[1.0, 5.0], [2.0, 8.0], [3.0, 3.0]])
    weight = torch.tensor([[1.0, 3.0], [1.0, 0.0], [0.0, 0.0]])
    assert_close(weighted_mean(values, weight), torch.tensor([4.0, 2.0, 0.0]), atol=1e-5, rtol=1e-5)
