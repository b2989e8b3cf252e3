"""Optimisers and the learning rate over the steps."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from adaface.errors import ConfigError, FormatError, MissingExtra
from adaface.training.loop import fit
from adaface.training.optim import Optimizers, rate_factor
from adaface.training.plan import Part
from adaface.training.settings import OptimizerConfig, ScheduleConfig
from adaface.training.state import Hooks, Weights
from tiny_training import Line, config


def factors(schedule, steps):
    return [rate_factor(schedule, step, steps, step / steps) for step in range(steps)]


def test_a_linear_decay_begins_after_the_warm_up_and_ends_at_the_floor():
    schedule = ScheduleConfig(decay="linear", warmup_steps=10, floor=0.1)
    told = factors(schedule, 110)
    assert told[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert told[10] == pytest.approx(1.0)
    assert told[60] == pytest.approx(0.55)
    assert rate_factor(schedule, 110, 110, 1.0) == pytest.approx(0.1)


def test_the_originals_schedule_is_a_plateau_and_a_linear_decay():
    """ConstantLR(1) for 500 updates, then 1 -> .09 over the rest, which it meant and missed."""
    told = factors(ScheduleConfig(decay="linear", warmup_steps=500, warmup_from=1.0, floor=1 - 1 / 1.1), 5500)
    assert set(told[:501]) == {1.0}
    assert told[-1] == pytest.approx(1 - 4999 / (1.1 * 5000))


def test_a_cosine_runs_over_the_whole_of_it_times_the_ramp():
    told = factors(ScheduleConfig(decay="cosine", warmup_steps=2, floor=0.0), 100)
    assert told[0] == pytest.approx(0.5)
    assert told[50] == pytest.approx(0.5)
    assert all(a > b for a, b in pairwise(told[1:]))


def test_a_cosine_by_time_has_no_use_for_the_number_of_steps():
    schedule = ScheduleConfig(decay="cosine", warmup_steps=200, floor=0.02)
    assert rate_factor(schedule, 5000, 10**6, 0.5) == pytest.approx(0.51)


def test_a_constant_rate_has_a_warm_up_only():
    told = factors(ScheduleConfig(decay="constant", warmup_steps=4, warmup_from=0.2), 10)
    assert told == pytest.approx([0.4, 0.6, 0.8, 1.0] + [1.0] * 6)


@pytest.mark.parametrize("accumulate", [1, 4])
def test_the_schedule_counts_updates_however_a_batch_is_read(tmp_path, accumulate):
    told = []
    schedule = ScheduleConfig(decay="linear", warmup_steps=2, floor=0.0)
    fit(
        Line(),
        config(6, schedule=schedule, accumulate=accumulate),
        tmp_path,
        hooks=Hooks(log=lambda row: told.append(row["learning_rate"])),
    )
    assert told == pytest.approx([0.005, 0.01, 0.01, 0.0075, 0.005, 0.0025])


def test_each_optimiser_learns(tmp_path):
    rates = {"adamw": 0.05, "prodigy": None, "muon": 0.05}
    for name, rate in rates.items():
        told = []
        settings = config(150, optimizer=OptimizerConfig(name=name, learning_rate=rate, d_coef=2.0))
        fit(Line(), settings, tmp_path / name, hooks=Hooks(log=told.append))
        assert told[-1]["error"] < 0.5 * told[0]["error"], name


def test_prodigys_coefficient_scales_the_rate_that_it_finds(tmp_path):
    found = {}
    for coefficient in (0.5, 2.0):
        recipe = Line()
        settings = OptimizerConfig(name="prodigy", d_coef=coefficient)
        optimizers = Optimizers(dict(recipe.modules["line"].named_parameters()), set(), settings)
        for step in range(5):
            optimizers.zero_grad()
            plan = recipe.draw(step, torch.Generator().manual_seed(step), 0.0)
            recipe.loss(plan, Part())["error"].backward()
            optimizers.step(1.0)
        found[coefficient] = optimizers.parts["prodigy"].param_groups[0]["d"]
    assert found[2.0] > found[0.5]


def test_muon_takes_matrices_and_adamw_the_rest():
    module = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 3), nn.LayerNorm(3), nn.Conv2d(1, 1, 3))
    weights = Weights({"m": module}, averaged=False)
    optimizers = Optimizers(weights.trained, weights.tables, OptimizerConfig(name="muon", muon_rate=5.0))

    def of(name):
        return {id(weight) for group in optimizers.parts[name].param_groups for weight in group["params"]}

    assert of("muon") == {id(module[1].weight)}
    assert of("adamw") == {id(weight) for weight in module.parameters()} - of("muon")
    assert optimizers.rates["muon"] == pytest.approx(5 * optimizers.rates["adamw"])


def test_muon_without_matrices_or_on_an_older_torch_is_refused(monkeypatch):
    weights = {"norm": nn.Parameter(torch.ones(3))}
    with pytest.raises(ConfigError, match="no matrices among what is trained. Choose adamw"):
        Optimizers(weights, set(), OptimizerConfig(name="muon"))
    monkeypatch.delattr(torch.optim, "Muon", raising=False)
    with pytest.raises(ConfigError, match="has no Muon. Install torch 2.9 or newer"):
        Optimizers(weights, set(), OptimizerConfig(name="muon"))


def test_prodigy_without_its_package_names_the_command(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "prodigyopt", None)
    with pytest.raises(MissingExtra, match=r"pip install 'adaface\[train\]'"):
        Optimizers({"w": nn.Parameter(torch.ones(3))}, set(), OptimizerConfig(name="prodigy"))


def test_settings_out_of_range_are_named():
    for values, said in (
        ({"name": "sgd"}, "optimizer.name=sgd: there are adamw, prodigy, muon"),
        ({"learning_rate": float("inf")}, "optimizer.learning_rate=inf: give a number that is not infinite"),
        ({"d_coef": float("inf")}, "optimizer.d_coef=inf: give a number that is not infinite"),
        ({"muon_rate": float("inf")}, "optimizer.muon_rate=inf: give a number that is not infinite"),
        ({"learning_rate": 0.0}, "optimizer.learning_rate=0.0: give one above 0"),
        ({"betas": (0.9, 1.0)}, "optimizer.beta2=1.0: give 0 <= beta2 < 1"),
        ({"betas": (0.9,)}, r"optimizer.betas=\[0.9\]: give two numbers"),
        ({"weight_decay": -1.0}, "optimizer.weight_decay=-1.0: give 0 or more"),
    ):
        with pytest.raises(ConfigError, match=said):
            OptimizerConfig(**values)
    for values, said in (
        ({"decay": "square"}, "schedule.decay=square: there are cosine, linear, constant"),
        ({"warmup_steps": -1}, "schedule.warmup_steps=-1: give 0 or more"),
        ({"floor": 1.5}, "schedule.floor=1.5: give a share from 0 to 1"),
    ):
        with pytest.raises(ConfigError, match=said):
            ScheduleConfig(**values)


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("adamw", {"weight_decay": 0.5, "betas": (0.5, 0.6)}),
        ("muon", {"momentum": 0.5, "weight_decay": 0.5}),
        ("prodigy", {"d_coef": 3.0, "betas": (0.5, 0.6)}),
    ],
)
def test_changed_settings_of_an_optimiser_count_when_a_run_goes_on(name, changed):
    def made(**values):
        weights = dict(Line().modules["line"].named_parameters())
        return Optimizers(weights, set(), OptimizerConfig(name=name, **values))

    before, after = made(), made(**changed)
    for weight in (w for part in before.parts.values() for g in part.param_groups for w in g["params"]):
        weight.grad = torch.ones_like(weight)
    before.step(1.0)
    after.load_state_dict(before.state_dict())
    old, new = before.parts[name].param_groups[0], after.parts[name].param_groups[0]
    assert {key: new[key] for key in changed} == changed
    kept = {"d", "d_max", "d_numerator", "k"} & old.keys()
    assert {key: new[key] for key in kept} == {key: old[key] for key in kept}
    assert bool(kept) == (name == "prodigy")


@pytest.mark.parametrize(
    "state",
    [{}, 5, {"state": {}, "param_groups": []}, {"state": {}, "param_groups": [{}]},
     {"state": {}, "param_groups": [{"params": [0, 1, 2, 3]}]}],
)  # fmt: skip
def test_a_state_that_is_none_is_told(state):
    optimizers = Optimizers(dict(Line().modules["line"].named_parameters()), set(), OptimizerConfig())
    with pytest.raises(FormatError, match="the state of adamw is none .*init_from"):
        optimizers.load_state_dict({"adamw": state})


def test_prodigy_prints_nothing_into_a_commands_output(capsys):
    Optimizers({"w": nn.Parameter(torch.ones(3))}, set(), OptimizerConfig(name="prodigy"))
    assert capsys.readouterr().out == ""
