"""The gates' arithmetic, by hand-computed cases."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from adaface.mini.gates import CHOICES, HeldOut, _hits, all_facts, interval, margins, share


def people(*directions) -> HeldOut:
    others = [torch.tensor([d], dtype=torch.float32) for d in directions]
    return HeldOut(pack=None, given=torch.arange(len(others)), others=others)


def test_the_margin_is_own_minus_strangers():
    three = people([1.0, 0.0], [0.0, 1.0], [-1.0, 0.0])
    drawn = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    found = torch.tensor([True, True, False])
    # own 1, strangers (0, -1); own 0, strangers (1, -1); no face: 0
    assert margins(drawn, found, three) == pytest.approx([1.5, 0.0, 0.0])


def test_swapping_people_turns_the_margin_around():
    two = people([1.0, 0.0], [-1.0, 0.0])
    right = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    found = torch.tensor([True, True])
    assert_close(margins(right, found, two), -margins(right.flip(0), found, two))


def test_a_picture_that_fits_its_own_caption_best_is_a_hit():
    scores = np.eye(40, dtype=np.float32)
    assert _hits(scores, 0).mean() == 1
    assert _hits(scores[:, np.roll(np.arange(40), 1)], 0).mean() == 0
    assert 0 <= _hits(np.random.default_rng(0).random((40, 40), np.float32), 0).mean() < 6 / CHOICES


def test_the_captions_to_choose_from_have_different_facts():
    facts = all_facts(torch.Generator().manual_seed(0), 64)
    shown = {
        (int(a), int(b), int(c))
        for a, b, c in zip(facts.background, facts.accessory, facts.style, strict=True)
    }
    assert len(shown) == 64


def test_intervals_hold_their_mean_and_narrow_with_people():
    rng = np.random.default_rng(0)
    few, many = rng.normal(1, 1, 20), rng.normal(1, 1, 2000)
    for row in (few, many):
        mean, low, high = interval(row)
        assert low < mean < high
    assert interval(many)[2] - interval(many)[1] < (interval(few)[2] - interval(few)[1]) / 3


def test_a_share_is_the_ratio_of_means_over_the_same_people():
    part = np.array([0.1, 0.2, 0.3])
    assert share(part, part * 2) == pytest.approx((0.5, 0.5, 0.5))
