"""What a dry run says before anything is trained."""

import importlib.util
import sys

import pytest

from adaface.recipes.estimate import estimate
from adaface.training.distributed import ONE
from tiny_recipe import small


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
