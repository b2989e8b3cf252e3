"""Masked reconstruction: what is weighed, and that samples stay apart."""

import pytest
import torch
from torch.testing import assert_close

from adaface.losses.reconstruction import masked_mse, place_weight


@pytest.fixture
def pair():
    """Guess, target (3, 2, 4, 4) and a weight (3, 1, 4, 4)."""
    generator = torch.Generator().manual_seed(0)
    guess, target = torch.randn(2, 3, 2, 4, 4, generator=generator)
    return guess, target, torch.rand(3, 1, 4, 4, generator=generator)


def test_with_even_weights_it_is_the_mean_square(pair):
    guess, target, weight = pair
    plain = (guess - target).square().mean((1, 2, 3))
    assert_close(masked_mse(guess, target, torch.full_like(weight, 0.3)), plain)


def test_what_is_masked_out_does_not_count(pair):
    guess, target, weight = pair
    weight[..., 0] = 0
    before = masked_mse(guess, target, weight)
    target[..., 0] += 100
    assert_close(masked_mse(guess, target, weight), before)


def test_what_is_masked_out_has_no_gradient(pair):
    guess, target, weight = pair
    weight[..., 0] = 0
    guess.requires_grad_()
    masked_mse(guess, target, weight).sum().backward()
    assert guess.grad[..., 0].abs().max() == 0
    assert guess.grad[..., 1:].abs().min() > 0


def test_the_scale_of_the_weights_does_not_matter(pair):
    guess, target, weight = pair
    assert_close(masked_mse(guess, target, weight * 7), masked_mse(guess, target, weight))


def test_a_sample_is_its_own_whoever_stands_beside_it(pair):
    together = masked_mse(*pair)
    alone = torch.cat([masked_mse(*(tensor[i : i + 1] for tensor in pair)) for i in range(3)])
    assert_close(together, alone)


def test_a_sample_of_no_weight_is_nothing_and_stays_a_number(pair):
    guess, target, weight = pair
    weight[1] = 0
    guess.requires_grad_()
    losses = masked_mse(guess, target, weight)
    losses.sum().backward()
    assert losses[1] == 0
    assert guess.grad.isfinite().all()


def test_half_precision_is_summed_in_full(pair):
    guess, target, weight = pair
    small = masked_mse(guess.bfloat16() * 300, target.bfloat16() * 300, weight.bfloat16())
    assert small.dtype == torch.float32
    assert_close(small / 90_000, masked_mse(guess, target, weight), rtol=0.03, atol=0.01)


def test_weights_are_the_person_some_background_and_nothing_outside():
    mask, valid = torch.tensor([1.0, 0.0, 0.5, 0.0]), torch.tensor([1.0, 1.0, 1.0, 0.0])
    weights = place_weight(mask.view(1, 1, 1, 4), valid.view(1, 1, 1, 4), 0.1)
    assert_close(weights.flatten(), torch.tensor([1.0, 0.1, 0.55, 0.0]))
