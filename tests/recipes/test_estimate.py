"""What a dry run says before anything is trained."""

import importlib.util
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from adaface.recipes import estimate as estimates
from adaface.recipes.base.recipe import PhotoRecipe
from adaface.recipes.estimate import estimate
from adaface.recipes.kept import Kept
from adaface.training.distributed import ONE
from tiny_recipe import small

ROW = 4 * 4 * 10  # bytes of 10 rows of 4 numbers


@pytest.fixture(scope="module")
def found(tiny_stack, faces):
    """Of a run of 4 steps with 4 samples."""
    return estimate(small(tiny_stack, faces), ONE)


def test_parameters_are_counted_by_part(found):
    assert found.parameters.keys() == {"encoder", "unet", "vae", "text_encoder", "id_prompter"}
    assert found.trained == found.parameters["encoder"] > 0


def test_the_memory_of_adamw_is_four_times_the_weights_and_its_average(found):
    memory = found.memory
    assert memory.weights == memory.gradients == memory.averages == found.trained * 4 / 1e6
    assert memory.optimizer == pytest.approx(2 * memory.weights, rel=1e-3)  # and its counts of steps
    assert memory.total > memory.activations > 0


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="resident memory is Linux's")
def test_python_and_the_libraries_are_in_the_sum(found):
    assert found.memory.process > 100
    assert found.memory.total > found.memory.process + 4 * found.memory.weights


def test_saving_counts_where_it_takes_more_than_a_step(settings):
    """A step of one sample keeps less than the optimiser's file and the weights aside."""
    memory = estimate(settings(batch=1, gradient_checkpointing=True), ONE).memory
    assert memory.activations >= memory.optimizer


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="peaks are read from /proc")
def test_a_run_takes_what_is_said_to_15_percent(repo, tiny_stack, faces):
    """Each in a process of its own, by the benchmark's functions."""
    spec = importlib.util.spec_from_file_location("train_memory", repo / "benchmarks" / "train_memory.py")
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    row = benchmark.compare(64, faces, [f"stack={tiny_stack}", "device=cpu", "frozen=fp32"])
    assert row["parts"]["activations"] > 50, "not the libraries alone"
    assert row["ok"], row


def test_more_samples_at_once_take_more_memory(settings, found):
    half = estimate(settings(loop={"accumulate": 2}), ONE)
    assert half.memory.activations < found.memory.activations
    assert half.per_process == found.per_process == 4


def test_the_whole_run_is_its_steps(found):
    assert found.steps == 4
    assert found.seconds == pytest.approx(4 * found.seconds_a_step)


def test_the_first_step_s_plan_is_shown(found):
    assert len(found.plan["rows"]) == len(found.plan["seeds"]) == 4
    assert found.plan["coins"].keys() == {"template"}


def test_people_read_it_in_seven_lines(found):
    assert len(found.lines()) == 7
    text = "\n".join(found.lines())
    for words in (
        "12 pictures of 4 people",
        "4 samples over 1 processes",
        "first step: person",
        "trained;",
        "MB",
        "s a step",
    ):
        assert words in text


def test_json_has_the_sum_too(found):
    told = found.to_json()
    assert told["memory"]["total"] == pytest.approx(found.memory.total)
    assert told["config"]["batch"] == 4


def test_a_recipe_of_one_kind_of_step_says_nothing_of_kinds(found):
    (kind,) = found.kinds
    assert (kind.share, kind.seconds) == (1, found.seconds_a_step)
    assert not any("kinds" in line for line in found.lines())


def test_graphs_that_are_walked_and_forgotten_do_not_add_up():
    rows = torch.zeros(10, 4, requires_grad=True)
    with Kept(set()) as kept:
        for _ in range(3):
            made = rows.exp().exp()  # each keeps what it gives
            assert kept.now == 2 * ROW
            made.sum().backward()
            del made
            assert kept.now == 0
    assert kept.most == 2 * ROW


def test_graphs_that_are_kept_add_up():
    rows = torch.zeros(10, 4, requires_grad=True)
    with Kept(set()) as kept:
        both = [rows.exp(), rows.exp()]
        assert kept.now == len(both) * ROW


def test_what_several_graphs_keep_counts_once_and_weights_not_at_all():
    layer = nn.Linear(4, 4, bias=False)
    rows = torch.zeros(10, 4)
    with Kept({layer.weight.untyped_storage().data_ptr()}) as kept:
        both = [layer(rows), layer(rows)]
        assert kept.now == ROW
        deeper = layer(both[0])  # keeps the weights, too
        assert kept.now == 2 * ROW
    assert deeper.shape == (10, 4)


def test_a_teacher_that_is_the_base_s_unet_is_counted_once(settings):
    """The tiny stack's teacher reads the base's own UNet."""
    plain, taught = (estimate(settings(recipe=name), ONE) for name in ("reconstruct", "distill_identity"))
    assert taught.memory.frozen == plain.memory.frozen


def test_each_kind_of_step_counts_by_its_share(settings, monkeypatch):
    """Of six templates, two are called short."""
    called = ["short", "short", "long", "long", "long", "long"]
    monkeypatch.setattr(PhotoRecipe, "kind", lambda self, plan: called[plan.coins["template"]])
    found = estimate(settings(loop={"steps": 1000}), ONE)
    often, seldom = found.kinds
    assert (often.name, seldom.name) == ("long", "short")
    assert often.share == pytest.approx(2 / 3, abs=0.1)
    assert often.share + seldom.share == pytest.approx(1)
    mean = often.share * often.seconds + seldom.share * seldom.seconds
    assert found.seconds_a_step == pytest.approx(mean)
    assert found.memory.activations >= max(often.activations, seldom.activations)
    assert found.lines()[-1].startswith("kinds of steps: ")
    assert "% long: " in found.lines()[-1]


def test_a_long_step_is_timed_once_and_short_ones_twice_after_a_first_one(monkeypatch):
    seconds, done = {"one": 0.2, "two": 0.4, "slow": 3.0}, []
    monkeypatch.setattr(estimates, "_timed", lambda recipe, plan, _: done.append(plan) or seconds[plan])
    plans = {"short": ["one", "two", "one"], "long": ["slow", "slow"]}
    took = estimates._times(None, plans, SimpleNamespace(ranks=ONE), lambda text: None)
    assert done == ["one", "one", "two", "slow"]
    assert took == {"short": pytest.approx(0.3), "long": 3.0}


def test_all_processes_time_as_many_steps_as_the_slowest(monkeypatch):
    """Each step waits for all of them: one that did a step more would wait for ever."""
    done = []
    monkeypatch.setattr(estimates, "_timed", lambda recipe, plan, _: done.append(plan) or 0.9)
    slower = SimpleNamespace(ranks=SimpleNamespace(gather=lambda seconds: [seconds, 1.1]))
    assert estimates._times(None, {"step": ["one", "two"]}, slower, lambda text: None) == {"step": 1.1}
    assert done == ["one", "one"]  # the first one is not counted


def test_memory_is_measured_by_the_dearest_plan_of_a_kind_and_time_by_plans_as_they_come(
    settings, monkeypatch
):
    done, loss = {}, PhotoRecipe.loss

    def watched(self, plan, part):
        done[next(reversed(done))].append("dear" in plan.coins)
        return loss(self, plan, part)

    monkeypatch.setattr(
        PhotoRecipe, "dearest", lambda self, plan: replace(plan, coins={**plan.coins, "dear": True})
    )
    monkeypatch.setattr(PhotoRecipe, "loss", watched)
    estimate(settings(), ONE, lambda text: done.update({text: []}))
    assert done.pop("memory: step") == [True, True]  # of one sample, and of two
    assert len(done["time: step"]) > 0 and not any(map(any, done.values()))


def test_what_is_done_is_told_before_it(settings, monkeypatch):
    told = []
    monkeypatch.setattr(PhotoRecipe, "kind", lambda self, plan: "short")
    estimate(settings(), ONE, told.append)
    assert told == [
        "opening the models", "memory: a first step", "memory: short", "time: a first step", "time: short"
    ]  # fmt: skip
