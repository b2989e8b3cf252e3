"""The loop that all recipes share: it resumes exactly, stops in order, and refuses another recipe's run."""

import json
import os
import resource
import signal

import pytest
import torch
from PIL import Image
from torch import nn
from torch.testing import assert_close

from adaface.errors import ConfigError, FormatError, WriteError
from adaface.training.loop import LoopConfig, fit


class Line:
    """Fits y = 2 x with noise from the generator; can send itself a signal."""

    def __init__(self, width: int = 3, signal_at: int | None = None) -> None:
        torch.manual_seed(0)
        self.modules = {"line": nn.Linear(width, 1)}
        self.width, self.signal_at, self.steps = width, signal_at, 0

    def step(self, generator):
        self.steps += 1
        if self.steps == self.signal_at:
            os.kill(os.getpid(), signal.SIGTERM)
        x = torch.randn(8, self.width, generator=generator)
        return {"error": (self.modules["line"](x) - 2 * x.sum(1, keepdim=True)).square().mean()}

    def sample(self):
        return None


def config(steps: int, **rest) -> LoopConfig:
    return LoopConfig(steps=steps, bf16=False, log_every=1, warmup_steps=1, **rest)


def constant(steps: int) -> LoopConfig:
    """The same learning rate whatever the number of steps, so that a run can be cut in two."""
    return config(steps, final_share=1.0)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def saved(folder, name):
    (save,) = folder.glob("save-*")
    return save / name


def test_two_and_two_steps_equal_four_bit_for_bit(tmp_path):
    halves, whole = Line(), Line()
    fit(halves, constant(2), tmp_path / "a", generator())
    again = Line()
    progress = fit(again, constant(4), tmp_path / "a", generator())
    assert progress.step == 4 and progress.finished
    assert again.steps == 2
    fit(whole, constant(4), tmp_path / "b", generator())
    for one, two in zip(again.modules["line"].parameters(), whole.modules["line"].parameters(), strict=True):
        assert torch.equal(one, two)


def test_training_learns(tmp_path):
    recipe = Line()
    fit(recipe, config(400, learning_rate=0.05, ema_decay=0.9), tmp_path, generator())
    assert_close(recipe.modules["line"].weight, torch.full((1, 3), 2.0), atol=0.05, rtol=0)


def test_a_finished_run_does_nothing_more(tmp_path):
    fit(Line(), config(3), tmp_path, generator())
    again = Line()
    fit(again, config(3), tmp_path, generator())
    assert again.steps == 0


def test_sigterm_ends_a_run_after_its_step_and_saves(tmp_path):
    progress = fit(Line(signal_at=3), config(100), tmp_path, generator())
    assert progress.step == 3 and not progress.finished
    assert json.loads(saved(tmp_path, "state.json").read_text())["step"] == 3
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_seconds_end_a_run_too(tmp_path):
    assert fit(Line(), config(10**6, seconds=0.05), tmp_path, generator()).seconds >= 0.05


def test_metrics_are_one_json_line_a_step(tmp_path):
    fit(Line(), config(3), tmp_path, generator())
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3]
    assert {"error", "seconds", "grad_norm"} <= rows[0].keys()


def test_another_recipes_run_is_refused_and_left_alone(tmp_path):
    fit(Line(width=3), config(1), tmp_path, generator())
    before = saved(tmp_path, "state.safetensors").read_bytes()
    with pytest.raises(FormatError, match="run of other sizes.*Choose a new folder"):
        fit(Line(width=4), config(2), tmp_path, generator())
    assert saved(tmp_path, "state.safetensors").read_bytes() == before


def test_a_full_disk_keeps_the_last_save(tmp_path, monkeypatch):
    fit(Line(), config(1), tmp_path, generator())
    before = saved(tmp_path, "state.safetensors").read_bytes()

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("adaface.training.loop.save_file", full)
    with pytest.raises(WriteError, match="No space left"):
        fit(Line(), config(2), tmp_path, generator())
    assert saved(tmp_path, "state.safetensors").read_bytes() == before
    assert not list(tmp_path.glob(".*"))


def test_the_ends_of_a_run_must_be_ahead():
    with pytest.raises(ConfigError, match="steps=0"):
        LoopConfig(steps=0)
    with pytest.raises(ConfigError, match="ema_decay"):
        LoopConfig(ema_decay=1.0)


def test_settings_that_would_divide_by_zero_or_stand_still_are_refused():
    for name in ("warmup_steps", "log_every"):
        with pytest.raises(ConfigError, match=f"{name}=0.*at least 1"):
            LoopConfig(**{name: 0})
    with pytest.raises(ConfigError, match="learning_rate=0.0: give one above 0"):
        LoopConfig(learning_rate=0.0)


def test_a_disk_that_fills_up_during_the_optimizers_part_is_a_write_error(tmp_path):
    class Wide(Line):
        """Weights that are never trained make no file; the optimizer's part is the larger one."""

    fit(Wide(width=2000), config(1), tmp_path, generator())
    before = saved(tmp_path, "state.safetensors").read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    size = len(before) + 100  # the weights fit, the optimizer's numbers do not
    assert saved(tmp_path, "optimizer.pt").stat().st_size > size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        with pytest.raises(WriteError, match="not saved.*Free some space"):
            fit(Wide(width=2000), config(2), tmp_path, generator())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert saved(tmp_path, "state.safetensors").read_bytes() == before
    assert not list(tmp_path.glob(".*"))


def test_progress_is_told_after_each_step(tmp_path):
    told = []
    fit(Line(), config(4), tmp_path, generator(), lambda share, at: told.append((share, at.step)))
    assert told == [(0.25, 1), (0.5, 2), (0.75, 3), (1.0, 4)]


def test_metrics_are_means_since_the_last_line(tmp_path):
    class Counting(Line):
        def step(self, generator):
            return super().step(generator) | {"count": torch.tensor(float(self.steps))}

    fit(Counting(), LoopConfig(steps=5, bf16=False, log_every=2), tmp_path, generator())
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["count"] for row in rows] == [1.5, 3.5]


def test_a_finished_run_ends_with_a_sample_of_the_averages(tmp_path):
    class Seen(Line):
        def sample(self):
            return Image.new("RGB", (8, 8), "red")

    fit(Seen(signal_at=1), config(2), tmp_path, generator())
    assert not (tmp_path / "sample.png").exists(), "a stopped run ends at once"
    fit(Seen(), config(2), tmp_path, generator())
    with Image.open(tmp_path / "sample.png") as picture:
        assert picture.size == (8, 8)
