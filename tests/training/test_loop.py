"""The loop that all recipes share: it resumes exactly, stops in order, and refuses another recipe's run."""

import json
import os
import signal
import threading

import pytest
import torch
from PIL import Image
from torch import nn
from torch.testing import assert_close

from adaface.errors import ConfigError, FormatError
from adaface.training import checkpoint
from adaface.training.loop import fit
from adaface.training.plan import step_generator
from adaface.training.recipe import Seeded
from adaface.training.settings import LoopConfig, OptimizerConfig, ScheduleConfig
from adaface.training.state import Hooks
from tiny_training import Line, config


def weights(recipe):
    return nn.utils.parameters_to_vector(recipe.modules["line"].parameters()).detach().clone()


def metrics(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("optimizer", ["adamw", "prodigy", "muon"])
def test_two_and_two_steps_equal_four_bit_for_bit(tmp_path, optimizer):
    rest = {"optimizer": OptimizerConfig(name=optimizer), "accumulate": 2}
    fit(Line(dropout=0.5), config(2, **rest), tmp_path / "a", seed=3)
    again, whole = Line(dropout=0.5), Line(dropout=0.5)
    progress = fit(again, config(4, **rest), tmp_path / "a", seed=3)
    assert progress.step == 4 and progress.finished
    assert [step for step, *_ in again.seen] == [3, 3, 4, 4]
    fit(whole, config(4, **rest), tmp_path / "b", seed=3)
    assert torch.equal(weights(again), weights(whole))
    for name in (checkpoint.WEIGHTS, checkpoint.AVERAGES):
        one, two = ((tmp_path / run / "checkpoints/step-000000004" / name).read_bytes() for run in "ab")
        assert one == two


def test_a_step_is_the_same_whatever_was_done_with_torchs_own_stream(tmp_path):
    runs = [Line(dropout=0.5), Line(dropout=0.5)]
    for index, recipe in enumerate(runs):
        torch.rand(index * 7)
        fit(recipe, config(3), tmp_path / str(index))
    assert torch.equal(*map(weights, runs))


def test_torchs_own_stream_goes_on_as_if_unused(tmp_path):
    before = torch.get_rng_state()
    fit(Line(dropout=0.5), config(2), tmp_path)
    assert torch.equal(torch.get_rng_state(), before)


def test_another_seed_sees_other_samples(tmp_path):
    one, two = Line(), Line()
    fit(one, config(1), tmp_path / "a", seed=0)
    fit(two, config(1), tmp_path / "b", seed=1)
    assert one.seen != two.seen


def test_training_learns(tmp_path):
    told = []
    rate = OptimizerConfig(learning_rate=0.05)
    fit(Line(), config(150, optimizer=rate), tmp_path, hooks=Hooks(log=told.append))
    assert told[-1]["error"] < 0.1 * told[0]["error"]


def test_a_finished_run_does_nothing_more(tmp_path):
    fit(Line(), config(3), tmp_path)
    again = Line()
    assert fit(again, config(3), tmp_path).finished
    assert again.seen == []


def test_the_averages_are_left_in_the_modules_and_the_weights_in_the_checkpoint(tmp_path):
    recipe = Line()
    fit(recipe, config(5, ema_decay=0.9), tmp_path)
    kept, averaged = Line(), Line()
    checkpoint.load_weights(tmp_path, kept.modules, averages=False)
    checkpoint.load_weights(tmp_path, averaged.modules)
    assert torch.equal(weights(averaged), weights(recipe))
    assert not torch.equal(weights(kept), weights(recipe))


def test_without_an_average_the_weights_are_left_and_none_is_saved(tmp_path):
    recipe, kept = Line(), Line()
    fit(recipe, config(5, ema_decay=0.0), tmp_path)
    folder = checkpoint.load_weights(tmp_path, kept.modules)
    assert torch.equal(weights(kept), weights(recipe))
    assert not (folder / checkpoint.AVERAGES).exists()


@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_run_after_its_step_and_saves(tmp_path, kind):
    class Told(Line):
        def loss(self, plan, part):
            if plan.step == 3:
                os.kill(os.getpid(), kind)
            return super().loss(plan, part)

    before = signal.getsignal(kind)
    progress = fit(Told(), config(100), tmp_path)
    assert progress.step == 3 and not progress.finished
    assert checkpoint.read_state(checkpoint.latest(tmp_path)).step == 3
    assert signal.getsignal(kind) == before


def test_a_second_ctrl_c_ends_a_run_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr("adaface.training.loop.AGAIN_S", -1.0)

    class Impatient(Line):
        def loss(self, plan, part):
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            return super().loss(plan, part)

    with pytest.raises(KeyboardInterrupt):
        fit(Impatient(), config(100), tmp_path)
    assert checkpoint.latest(tmp_path) is None


def test_a_run_in_a_thread_of_its_own_needs_no_signals(tmp_path):
    done = []
    thread = threading.Thread(target=lambda: done.append(fit(Line(), config(2), tmp_path)))
    thread.start()
    thread.join(30)
    assert done[0].finished


def test_seconds_end_a_run_too(tmp_path):
    progress = fit(Line(), config(10**6, seconds=0.05), tmp_path)
    assert progress.seconds >= 0.05 and progress.finished


def test_metrics_are_one_json_line_a_step(tmp_path):
    fit(Line(), config(3), tmp_path)
    rows = metrics(tmp_path)
    assert [row["step"] for row in rows] == [1, 2, 3]
    assert {"error", "seconds", "grad_norm", "learning_rate"} <= rows[0].keys()


def test_metrics_are_means_since_the_last_line(tmp_path):
    told = []
    fit(Line(), config(4), tmp_path / "a", hooks=Hooks(log=told.append))
    fit(Line(), config(5, log_steps=2), tmp_path / "b")
    means = [(told[i]["error"] + told[i + 1]["error"]) / 2 for i in (0, 2)]
    assert [row["error"] for row in metrics(tmp_path / "b")] == pytest.approx(means, rel=1e-5)


def test_steps_that_are_done_again_are_told_once(tmp_path):
    fit(Line(), config(2), tmp_path)
    with (tmp_path / "metrics.jsonl").open("a") as lines:  # as a kill after step 3 leaves it
        lines.write('{"step": 3, "error": 1.0}\n{"step": 4, "er')
    fit(Line(), config(4), tmp_path)
    assert [row["step"] for row in metrics(tmp_path)] == [1, 2, 3, 4]


def test_hooks_add_figures_to_the_lines(tmp_path):
    fit(Line(), config(1), tmp_path, hooks=Hooks(figures=lambda: {"waiting": 0.5}))
    assert metrics(tmp_path)[0]["waiting"] == 0.5


def test_progress_is_told_after_each_step(tmp_path):
    told = []
    fit(
        Line(), config(4), tmp_path, hooks=Hooks(tell=lambda at: told.append((at.share, at.step, at.samples)))
    )
    assert told == [(0.25, 1, 8), (0.5, 2, 16), (0.75, 3, 24), (1.0, 4, 32)]


def test_a_recipe_is_told_of_its_samples_before_their_step(tmp_path):
    class Eager(Line):
        def loss(self, plan, part):
            self.known = [*getattr(self, "known", []), max(step for step, _ in self.prepared)]
            return super().loss(plan, part)

    recipe = Eager()
    fit(recipe, config(5, ahead=2, accumulate=2), tmp_path)
    assert recipe.known == [3, 3, 4, 4, 5, 5, 5, 5, 5, 5]
    assert recipe.prepared == [(step, part) for step in range(1, 6) for part in range(2)]


def test_parts_of_a_batch_give_the_gradients_of_the_whole(tmp_path):
    norms = {}
    for accumulate in (1, 2, 3, 8):
        folder = tmp_path / str(accumulate)
        recipe = Line()
        fit(recipe, config(3, accumulate=accumulate), folder)
        norms[accumulate] = [row["grad_norm"] for row in metrics(folder)] + weights(recipe).tolist()
        rows = tuple(row for step, _, part in recipe.seen if step == 1 for row in part)
        assert rows == recipe.draw(1, step_generator(0, 1), 0.0).rows, "each sample once"
    for other in (2, 3, 8):
        assert norms[other] == pytest.approx(norms[1], rel=1e-4, abs=1e-5)


def test_a_batch_too_small_for_its_parts_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="batch of 8 for 1 processes that read it in 9 parts.*at least 9"):
        fit(Line(batch=8), config(1, accumulate=9), tmp_path)


def test_another_recipes_run_is_refused_and_left_alone(tmp_path):
    fit(Line(width=3), config(1), tmp_path)
    before = (checkpoint.latest(tmp_path) / checkpoint.WEIGHTS).read_bytes()
    with pytest.raises(FormatError, match="a run of other sizes: line.0.weight is 4x3 there and 4x4 here"):
        fit(Line(width=4), config(2), tmp_path)
    assert (checkpoint.latest(tmp_path) / checkpoint.WEIGHTS).read_bytes() == before


def test_another_optimisers_run_is_refused(tmp_path):
    fit(Line(), config(1), tmp_path)
    with pytest.raises(FormatError, match="optimiser is adamw, now it is prodigy.*init_from"):
        fit(Line(), config(2, optimizer=OptimizerConfig(name="prodigy")), tmp_path)


def test_a_run_of_an_older_version_is_refused_by_its_name(tmp_path):
    (tmp_path / "save-000000012").mkdir()
    with pytest.raises(FormatError, match="run of an older adaface.*new folder, or remove this one"):
        fit(Line(), config(2), tmp_path)


def test_what_a_run_ran_on_is_written_for_each_start(tmp_path):
    about = {"data": "0123"}
    fit(Line(), config(2), tmp_path, about=about, seed=5)
    fit(Line(), config(3), tmp_path, about=about, seed=5)
    told = json.loads((tmp_path / "run.json").read_text())
    assert told["data"] == "0123"
    assert [(row["step"], row["processes"], row["seed"]) for row in told["started"]] == [(0, 1, 5), (2, 1, 5)]
    assert told["started"][0]["versions"]["torch"].startswith(torch.__version__.split("+")[0])


def test_a_finished_run_ends_with_a_sample_of_the_averages_a_stopped_one_at_once(tmp_path):
    class Seen(Line):
        def sample(self):
            return Image.new("RGB", (8, 8), "red")

    fit(Seen(signal_at=1), config(2), tmp_path)
    assert not (tmp_path / "samples").exists()
    fit(Seen(), config(2), tmp_path)
    with Image.open(tmp_path / "samples" / "step-000000002.png") as picture:
        assert picture.size == (8, 8)


def test_samples_come_every_so_many_steps(tmp_path):
    class Seen(Line):
        def sample(self):
            return Image.new("RGB", (8, 8), "red")

    fit(Seen(), config(5, sample_steps=2), tmp_path)
    assert sorted(path.name[-6:] for path in (tmp_path / "samples").iterdir()) == [
        "02.png",
        "04.png",
        "05.png",
    ]


def test_a_recipe_in_one_method_trains_from_a_seed_a_step(tmp_path):
    class Stepping:
        def __init__(self):
            self.inner = Line()
            self.modules, self.sample = self.inner.modules, self.inner.sample

        def step(self, generator):
            x = torch.randn(8, 3, generator=generator)
            return {"error": (self.modules["line"](x)[:, 0] - x.sum(1)).square().mean()}

    halves, whole = Stepping(), Stepping()
    fit(Seeded(halves), config(2), tmp_path / "a")
    fit(Seeded(halves), config(4), tmp_path / "a")
    fit(Seeded(whole), config(4), tmp_path / "b")
    assert torch.equal(weights(halves), weights(whole))


def test_float16_skips_a_step_whose_gradients_overflow_and_goes_on(tmp_path):
    recipe = Line()
    progress = fit(recipe, config(30, precision="fp16"), tmp_path)
    assert progress.finished
    assert 0 < progress.skipped < 30
    assert metrics(tmp_path)[-1]["skipped"] == progress.skipped
    state = checkpoint.read_state(checkpoint.latest(tmp_path))
    assert state.loss_scale[0] == 2.0**16 / 2**progress.skipped
    assert all(weight.dtype == torch.float32 for weight in recipe.modules["line"].parameters())


def test_bfloat16_arithmetic_keeps_float32_weights(tmp_path):
    exact, rough = Line(), Line()
    fit(exact, config(3), tmp_path / "a")
    fit(rough, config(3, precision="bf16"), tmp_path / "b")
    assert not torch.equal(weights(exact), weights(rough))
    assert_close(weights(exact), weights(rough), atol=2e-2, rtol=0)


def test_weights_in_half_precision_are_not_trained(tmp_path):
    recipe = Line()
    recipe.modules["line"].half()
    with pytest.raises(ConfigError, match="line.0.weight is torch.float16.*Load what is trained as float32"):
        fit(recipe, config(1), tmp_path)


def test_frozen_modules_are_nothing_to_train(tmp_path):
    recipe = Line()
    recipe.modules["line"].requires_grad_(False)
    with pytest.raises(ConfigError, match="nothing to train"):
        fit(recipe, config(1), tmp_path)


def test_the_ends_of_a_run_must_be_ahead():
    with pytest.raises(ConfigError, match="steps=0: give one above 0"):
        LoopConfig(steps=0)
    with pytest.raises(ConfigError, match="ema_decay=1.0: give 0 <= ema_decay < 1"):
        LoopConfig(ema_decay=1.0)
    with pytest.raises(ConfigError, match="precision=int8: there are bf16, fp16, fp32"):
        LoopConfig(precision="int8")
    with pytest.raises(ConfigError, match="log_steps=0: give at least 1"):
        LoopConfig(log_steps=0)


def test_a_schedule_that_never_decays_is_refused():
    with pytest.raises(ConfigError, match="nothing is left to decay.*loop.schedule.warmup_steps=10$"):
        LoopConfig(steps=100, schedule=ScheduleConfig(decay="linear", warmup_steps=100))
