"""A roll-out's noise levels, and its losses one after the other in the memory of one."""

import gc
import weakref

import pytest
import torch
from torch.testing import assert_close

from adaface.recipes.identity.rollout import Level, gathered, late_start, levels, raised

TIMES = torch.tensor([0, 100, 500, 900, 999])


def drawn(coin, where):
    return torch.tensor([[coin, where]]).expand(len(TIMES), 2)


def test_without_a_share_no_noise_level_is_raised():
    assert_close(raised(TIMES, 0.0, 1000, drawn(0.0, 1.0)), TIMES)


@pytest.mark.parametrize(("where", "told"), [(0.0, [0, 100, 500, 900, 999]), (1.0, [0, 130, 650, 999, 999])])
def test_a_raised_noise_level_lies_up_to_a_third_higher_and_below_the_last(where, told):
    assert raised(TIMES, 1.0, 1000, drawn(0.5, where)).tolist() == told


def test_each_sample_has_its_own_coin():
    coins = torch.tensor([[0.1, 1.0], [0.9, 1.0]])
    assert raised(torch.tensor([100, 100]), 0.5, 1000, coins).tolist() == [130, 100]


@pytest.mark.parametrize(("steps", "told"), [(1, 500), (3, 666), (5, 750), (7, 800)])
def test_more_steps_begin_nearer_to_pure_noise(steps, told):
    """(4 * 500 + (n - 1) * 1000) // (n + 3)."""
    assert int(late_start(torch.tensor([500]), steps, 1000)) == told


def test_no_start_is_behind_the_last_noise_level():
    assert int(late_start(torch.tensor([999]), 7, 1000)) == 999


def first(count=2):
    return Level(torch.tensor([900] * count), torch.zeros(count, 4, 2, 2))


def test_a_rollout_goes_down_with_fresh_noise_at_each_step():
    start = first()
    seen = list(levels(start, (1, 2), 5))
    assert len(seen) == 5 and seen[0] is start
    times = torch.stack([level.timesteps for level in seen])
    assert (times[1:] < times[:-1]).all() and (times >= 0).all()
    noises = torch.stack([level.noise for level in seen[1:]]).flatten(1)
    assert (torch.corrcoef(noises) - torch.eye(4)).abs().max() < 0.95
    assert not torch.equal(seen[1].noise[0], seen[1].noise[1])


def test_a_sample_s_levels_do_not_depend_on_the_others():
    both, alone = list(levels(first(), (1, 2), 3)), list(levels(first(1), (2,), 3))
    for one, other in zip(both, alone, strict=True):
        assert_close(one.timesteps[1:], other.timesteps)
        assert_close(one.noise[1:], other.noise)


# losses one after the other


def network():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(6, 32), torch.nn.GELU(), torch.nn.Linear(32, 1))


def losses(net, count):
    return (lambda c, k=k: net(c + k).square().mean() for k in range(count))


def test_the_sum_and_its_gradients_are_those_of_all_losses_together():
    net, values = network(), torch.randn(2, 3, 6, generator=torch.Generator().manual_seed(0))
    results = []
    for way in (lambda c: gathered(c, losses(net, 3)), lambda c: sum(loss(c) for loss in losses(net, 3))):
        start = values.clone().requires_grad_()
        total = way(2 * start)
        (3 * total).backward()
        results.append((total.detach(), start.grad))
    assert_close(results[0], results[1])
    assert results[0][1].norm() > 0


def test_one_loss_s_graph_is_gone_before_the_next_one_is_made():
    net, alive, most = network(), weakref.WeakSet(), []

    class Kept:
        def __init__(self, tensor):
            self.tensor = tensor

    def pack(tensor):
        kept = Kept(tensor)
        alive.add(kept)
        most.append(len(alive))
        return kept

    def peak(count):
        most.clear()
        context = torch.randn(2, 3, 6, requires_grad=True) * 1
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda kept: kept.tensor):
            gathered(context, losses(net, count))
        gc.collect()
        return max(most)

    assert peak(5) <= peak(1) + 1


def test_gradients_of_half_precision_features_are_summed_in_float32():
    """One and 1/512 more, seven times: in bfloat16 the small ones would be lost one by one."""
    start = torch.ones(1, 1, 6, requires_grad=True)
    factors = [1.0] + [1 / 512] * 6
    gathered(start.bfloat16(), iter([lambda c, f=f: (f * c.float()).sum() for f in factors])).backward()
    assert_close(start.grad[0, 0, 0], torch.tensor(1 + 6 / 512).bfloat16().float())


def test_without_gradients_it_is_the_plain_sum():
    net, context = network(), torch.ones(1, 2, 6)
    with torch.no_grad():
        assert_close(gathered(context, losses(net, 2)), sum(loss(context) for loss in losses(net, 2)))


def test_float16_keeps_the_graphs_so_that_gradients_can_be_scaled():
    """They would be less than float16's least number where the loop scales them only afterwards."""
    seen, context = [], torch.ones(1, 2, 6, requires_grad=True) * 1

    def loss(given):
        seen.append(given)
        return given.sum()

    with torch.autocast("cpu", torch.float16):
        gathered(context, iter([loss, loss]))
    assert all(given is context for given in seen)
    gathered(context, iter([loss]))
    assert seen[-1] is not context
