"""A recipe of a few numbers, for tests of the loop: it fits y = 2 x, each sample from its own seed."""

import os
import signal

import torch
from torch import nn

from adaface.training.plan import StepPlan, sample_generator, seeds
from adaface.training.settings import LoopConfig, OptimizerConfig, ScheduleConfig


class Line:
    """y = 2 x from 3 numbers a sample; rows from `rows` samples; can spoil a sample or signal itself."""

    def __init__(self, *, width=3, batch=8, rows=100, spoilt=None, signal_at=None, dropout=0.0):
        with torch.random.fork_rng():
            torch.default_generator.manual_seed(0)
            layers = [nn.Linear(width, 4), nn.Dropout(dropout), nn.Linear(4, 1)]
        self.modules = {"line": nn.Sequential(*layers)}
        self.width, self.batch, self.rows = width, batch, rows
        self.spoilt, self.signal_at = spoilt, signal_at
        self.seen, self.prepared = [], []

    def draw(self, step, generator, share):
        rows = torch.randint(self.rows, (self.batch,), generator=generator).tolist()
        scale = 1 + float(torch.rand((), generator=generator))
        return StepPlan(
            step=step, rows=tuple(rows), seeds=seeds(generator, self.batch), coins={"scale": scale}
        )

    def prepare(self, plan, part):
        self.prepared.append((plan.step, part.index))

    def loss(self, plan, part):
        self.seen.append((plan.step, part.index, tuple(part.take(plan.rows))))
        if plan.step == self.signal_at:
            os.kill(os.getpid(), signal.SIGTERM)
        x = torch.stack(
            [torch.randn(self.width, generator=sample_generator(s)) for s in part.take(plan.seeds)]
        )
        for place, row in enumerate(part.take(plan.rows)):
            if row == self.spoilt:
                x[place] = torch.nan
        guess = self.modules["line"](x)[:, 0].float()
        return {"error": (guess - 2 * plan.coins["scale"] * x.sum(1)).square().mean()}

    def sample(self):
        return None

    def names(self, plan):
        return [f"photo-{row}" for row in plan.rows]


def config(steps, **rest):
    """A short run with a constant rate whatever its length, so that it can be cut in two."""
    settings = dict(
        precision="fp32",
        log_steps=1,
        optimizer=OptimizerConfig(learning_rate=1e-2),
        schedule=ScheduleConfig(decay="constant", warmup_steps=0),
    )
    return LoopConfig(steps=steps, **{**settings, **rest})
