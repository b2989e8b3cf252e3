"""What is drawn for a sample follows from its seed, whoever else is in its batch."""

import torch
from torch.testing import assert_close

from adaface.recipes.base.chance import derived, next_levels, normal, uniform

SEEDS = (5, 6, 7, 8)


def test_a_sample_s_numbers_do_not_depend_on_the_others():
    assert_close(normal(SEEDS, 3)[2:], normal(SEEDS[2:], 3), rtol=0, atol=0)
    assert_close(uniform(SEEDS, 2)[1:2], uniform(SEEDS[1:2], 2), rtol=0, atol=0)


def test_purposes_have_seeds_of_their_own():
    assert len({seed for purpose in range(5) for seed in derived(SEEDS, purpose)}) == 20


def test_the_next_level_by_hand():
    """Two more steps: a = 2^-0.3 = 0.8123; 0.5^a = 0.5695, 0.7^a = 0.7485."""
    ends = next_levels(torch.tensor([1000, 1000]), torch.tensor([0.0, 1.0]), 3)
    assert ends.tolist() == [569, 748]


def test_more_steps_go_down_more_slowly():
    middle = torch.tensor([0.5])
    assert next_levels(torch.tensor([900]), middle, 7) > next_levels(torch.tensor([900]), middle, 3)
