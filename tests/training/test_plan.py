"""Plans of steps: drawn again they are the same, and parts of a batch are all of it."""

import json

import pytest
import torch

from adaface.errors import ConfigError, FormatError
from adaface.training.distributed import ONE, Ranks, joined
from adaface.training.plan import Part, StepPlan, mixed, seeds, step_generator
from tiny_training import Line


def test_a_plan_comes_back_from_its_json():
    plan = StepPlan(
        step=3, rows=(1, 2), seeds=(5, 6), coins={"flip": True, "words": ["a", "b"], "share": 0.25}
    )
    assert StepPlan.from_json(json.loads(json.dumps(plan.to_json()))) == plan


@pytest.mark.parametrize("broken", [{}, {"step": 1, "rows": None, "seeds": [], "coins": {}}])
def test_what_is_no_plan_is_refused(broken):
    with pytest.raises(FormatError, match="no plan of a step.*Give one that a run wrote"):
        StepPlan.from_json(broken)


def test_a_step_is_drawn_alike_again_and_unlike_its_neighbours():
    plans = [Line().draw(step, step_generator(seed, step), 0.0) for seed in (0, 0, 1) for step in (1, 2)]
    assert plans[:2] == plans[2:4]
    assert len({plan.rows for plan in plans}) == 4
    assert len({plan.seeds for plan in plans}) == 4


def test_seeds_of_neighbouring_steps_have_nothing_in_common():
    drawn = torch.stack([torch.randn(100, generator=step_generator(0, step)) for step in range(200)])
    assert float(torch.corrcoef(drawn).fill_diagonal_(0).abs().max()) < 0.5
    assert len({mixed(seed, step) for seed in range(50) for step in range(50)}) == 2500
    assert len(set(seeds(step_generator(0, 1), 1000))) == 1000


def test_parts_are_as_even_as_can_be_and_leave_nothing_out():
    rows = list(range(10))
    parts = [Part(index, 4).take(rows) for index in range(4)]
    assert [len(part) for part in parts] == [2, 3, 2, 3] and [row for part in parts for row in part] == rows


def test_the_weights_of_a_batchs_parts_are_their_shares():
    plan = StepPlan(step=1, rows=tuple(range(10)))
    assert [Part(index, 4).weight(plan) for index in range(4)] == [0.2, 0.3, 0.2, 0.3]
    assert Part(1, 4).weight(StepPlan(step=1, seeds=(7,))) == 0.25, "a recipe that chooses its own samples"


def test_each_process_has_its_own_parts():
    parts = [part for rank in range(3) for part in Ranks(rank=rank, world=3).parts(2)]
    assert [(part.index, part.count) for part in parts] == [(index, 6) for index in range(6)]
    assert ONE.parts(1) == (Part(),)


def test_without_a_launcher_there_is_one_process(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with joined("cpu") as ranks:
        assert (ranks.rank, ranks.world, ranks.first, ranks.device.type) == (0, 1, True, "cpu")


def test_several_processes_without_a_launcher_are_told_what_to_do(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("MASTER_PORT", raising=False)
    with pytest.raises(ConfigError, match="WORLD_SIZE=2 but no .*MASTER_PORT.*torchrun"), joined("cpu"):
        pass
