"""Deltas of text features, of the UNet's features and of attention, by hand."""

import pytest
import torch
from torch.testing import assert_close

from adaface.losses.attention import HINGE, attention_delta, attention_norm, attention_outside
from adaface.losses.feature_delta import delta_target, feature_delta, pooled
from adaface.losses.prompt_delta import prompt_delta


def four(*shape, seed=0):
    return torch.randn(4, *shape, generator=torch.Generator().manual_seed(seed))


# --- prompts


def test_a_change_of_the_same_direction_costs_nothing():
    single, other = torch.tensor([[[1.0, 0, 0, 0]]]), torch.tensor([[[0.0, 2, 0, 0]]])
    change = torch.tensor([[[0.0, 0, 1, -1]]])  # square to both, of mean 0
    loss = prompt_delta(single, single + change, other, other + 3 * change, torch.ones(1, 1))
    assert_close(loss, torch.zeros(1), atol=1e-6, rtol=0)


def test_an_opposite_change_costs_two_and_one_at_a_right_angle_one():
    single = torch.zeros(1, 1, 4)
    one, other = torch.tensor([[[0.0, 0, 1, -1]]]), torch.tensor([[[1.0, -1, 0, 0]]])
    weight = torch.ones(1, 1)
    assert_close(prompt_delta(single, one, single, -one, weight), torch.tensor([2.0]))
    assert_close(prompt_delta(single, one, single, other, weight), torch.tensor([1.0]))


def test_positions_count_by_their_weight():
    single = torch.zeros(1, 2, 4)
    subject = torch.tensor([[[0.0, 0, 1, -1], [0.0, 0, 1, -1]]])
    common = torch.tensor([[[0.0, 0, 1, -1], [0.0, 0, -1, 1]]])  # distances 0 and 2
    assert_close(
        prompt_delta(single, subject, single, common, torch.tensor([[3.0, 1.0]])), torch.tensor([0.5])
    )


def test_the_class_s_large_numbers_count_most():
    single = torch.zeros(1, 1, 4)
    subject, common = torch.tensor([[[1.0, -1, 1, -1]]]), torch.tensor([[[2.0, -2, 1, -1]]])
    # squared with signs: (4, -4, 1, -1); 1 - 10 / (2 sqrt(34))
    assert_close(
        prompt_delta(single, subject, single, common, torch.ones(1, 1)), torch.tensor([1 - 5 / 34**0.5])
    )


# --- features


def test_the_residual_of_a_person_may_grow_but_not_turn():
    common, person = torch.tensor([[1.0, 0, 0]]), torch.tensor([[0.0, 1, 0]])
    single = common + person
    assert_close(
        feature_delta(single, common + 5 * person, common, common), torch.zeros(1), atol=1e-5, rtol=0
    )
    turned = common + torch.tensor([[0.0, 0, 3]])  # square to the single residual: 9 over three numbers
    assert_close(feature_delta(single, turned, common, common), torch.tensor([3.0]), atol=1e-4, rtol=0)


def test_gradients_of_the_feature_delta_are_each_samples_own():
    features = four(3, 2, 2, 2)
    features.requires_grad_()
    feature_delta(*features)[1].backward()
    touched = features.grad.abs().amax((0, 2, 3, 4)) > 0
    assert touched.tolist() == [False, True, False]


@pytest.mark.parametrize(("side", "made"), [(4, 4), (8, 3), (16, 7), (32, 7), (64, 15)])
def test_features_are_averaged_in_windows_that_fit_their_size(side, made):
    assert pooled(torch.randn(1, 2, side, side)).shape == (1, 2, made, made)


def test_features_have_unit_variance_so_that_their_scale_does_not_matter():
    features = four(2, 3, 4, 4)[0]
    assert_close(pooled(100 * features), pooled(features), atol=1e-4, rtol=1e-4)
    assert_close(pooled(features).square().mean((1, 2, 3)), torch.ones(2), atol=1e-3, rtol=0)


def test_a_place_of_no_weight_is_nothing():
    weight = torch.ones(1, 1, 4, 4)
    weight[..., 0] = 0
    seen = pooled(four(1, 3, 4, 4)[0], weight)
    assert seen[..., 0].abs().max() == 0 and seen[..., 1:].abs().min() > 0


def test_the_target_is_the_class_s_scene_with_what_the_person_adds_to_the_face():
    single, common, composed = (torch.full((1, 2, 1, 2), value) for value in (5.0, 3.0, 10.0))
    face = torch.tensor([1.0, 0.0]).view(1, 1, 1, 2)
    assert delta_target(single, common, composed, face)[0, 0, 0].tolist() == [12.0, 10.0]


# --- attention


def test_a_change_of_attention_that_is_the_same_costs_nothing():
    common, change = torch.tensor([[[1.0, 0, 0]]]), torch.tensor([[[0.0, 1, -1]]])
    loss = attention_delta(common + change, common + 2 * change, common, common)
    assert_close(loss, torch.zeros(1), atol=1e-5, rtol=0)
    assert_close(attention_delta(common + change, common - change, common, common), torch.tensor([2.0]))


def test_mean_scores_are_to_be_the_class_s():
    one = torch.ones(1, 2, 4)
    assert_close(attention_norm(3 * one, 5 * one, one, one), torch.tensor([6.0]))  # 2 single, 4 composed
    assert_close(attention_norm(one, one, one, one), torch.zeros(1))


def test_attention_beside_the_face_counts_above_the_hinge():
    shares = torch.tensor([[[0.5, 0.4, 0.01], [0.3, 0.2, 0.01]]])  # two heads, three places
    outside = torch.tensor([[0.0, 1.0, 1.0]])
    assert_close(attention_outside(shares, outside), torch.tensor([(0.3 - HINGE) / 2]))
    assert float(attention_outside(shares, torch.zeros(1, 3))) == 0
