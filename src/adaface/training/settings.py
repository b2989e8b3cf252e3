"""How a training runs: its length, precision, optimiser, schedule, and what is kept of it. Free of torch."""

import math
from dataclasses import dataclass, field
from typing import Literal, get_args

from adaface.errors import ConfigError

Precision = Literal["bf16", "fp16", "fp32"]
OptimizerName = Literal["adamw", "prodigy", "muon"]
Decay = Literal["cosine", "linear", "constant"]
PLACES = ("data", "device", "workers", "tensorboard")  # settings that decide nothing of what is learned


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """Which optimiser, and how fast. Raises ConfigError: a value out of range."""

    name: OptimizerName = "adamw"
    learning_rate: float | None = None  # None: 4e-4, and 1 for Prodigy, which finds its own
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.01
    d_coef: float = 1.0  # Prodigy alone: a factor of the rate that it finds
    muon_rate: float = 1.0  # Muon alone: the rate of matrices, in units of `learning_rate`
    momentum: float = 0.95  # Muon alone

    def __post_init__(self) -> None:
        """Check each value."""
        _known("optimizer.name", self.name, get_args(OptimizerName))
        _above("optimizer", learning_rate=self.rate, d_coef=self.d_coef, muon_rate=self.muon_rate)
        _finite("optimizer", learning_rate=self.rate, d_coef=self.d_coef, muon_rate=self.muon_rate)
        if len(self.betas) != 2:
            raise ConfigError(f"optimizer.betas={list(self.betas)}: give two numbers")
        _share("optimizer", beta1=self.betas[0], beta2=self.betas[1], momentum=self.momentum)
        if not 0 <= self.weight_decay < math.inf:
            raise ConfigError(f"optimizer.weight_decay={self.weight_decay}: give 0 or more")

    @property
    def rate(self) -> float:
        """The learning rate, where none is given the optimiser's own."""
        if self.learning_rate is not None:
            return self.learning_rate
        return 1.0 if self.name == "prodigy" else 4e-4


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """The learning rate over the optimiser's steps, as a factor. Raises ConfigError: a value out of range."""

    decay: Decay = "cosine"
    warmup_steps: int = 200
    warmup_from: float = 0.0  # the factor before the first step; 1 makes the warm-up a plateau
    floor: float = 0.02  # the factor at the end

    def __post_init__(self) -> None:
        """Check each value."""
        _known("schedule.decay", self.decay, get_args(Decay))
        if self.warmup_steps < 0:
            raise ConfigError(f"schedule.warmup_steps={self.warmup_steps}: give 0 or more")
        for name in ("warmup_from", "floor"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"schedule.{name}={getattr(self, name)}: give a share from 0 to 1")


@dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """One training. The end is `steps` or `seconds` of training, whichever comes first.

    All counts are steps of the optimiser, whatever the number of processes and of parts a batch is read in.
    Raises ConfigError: a value out of range.
    """

    steps: int = 1_000_000
    seconds: float = math.inf
    accumulate: int = 1  # parts that a process reads its share of the batch in, one after the other
    precision: Precision = "bf16"  # of the arithmetic; the weights and their updates are float32
    max_grad_norm: float = 1.0
    ema_decay: float = 0.999  # of the weights' moving average; 0: none
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    save_steps: int = 500  # a checkpoint every so many; 0: by `save_seconds` alone
    save_seconds: float = math.inf
    keep_last: int = 2  # checkpoints
    keep_best: int = 1  # more of them, by their figure
    log_steps: int = 50
    sample_steps: int = 0  # a picture every so many; 0: with each checkpoint
    ahead: int = 2  # plans that a recipe is told before their step, so that it can read their samples

    def __post_init__(self) -> None:
        """Check each value."""
        _known("precision", self.precision, get_args(Precision))
        _above("", steps=self.steps, seconds=self.seconds, max_grad_norm=self.max_grad_norm)
        _above("", save_seconds=self.save_seconds)
        _share("", ema_decay=self.ema_decay)
        for name, least in (("accumulate", 1), ("keep_last", 1), ("log_steps", 1), ("save_steps", 0)):
            _at_least(name, getattr(self, name), least)
        for name in ("keep_best", "sample_steps", "ahead"):
            _at_least(name, getattr(self, name), 0)
        schedule = self.schedule
        if schedule.decay == "linear" and schedule.warmup_steps >= self.steps:
            raise ConfigError(
                f"schedule.warmup_steps={schedule.warmup_steps}, steps={self.steps}: nothing is left to "
                f"decay. Give a shorter warm-up, such as loop.schedule.warmup_steps={self.steps // 10}"
            )


def _known(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ConfigError(f"{name}={value}: there are {', '.join(known)}")


def _above(within: str, **values: float) -> None:
    for name, value in values.items():
        if not value > 0:
            raise ConfigError(f"{within}{'.' * bool(within)}{name}={value}: give one above 0")


def _finite(within: str, **values: float) -> None:
    for name, value in values.items():
        if not math.isfinite(value):
            raise ConfigError(f"{within}.{name}={value}: give a number that is not infinite")


def _share(within: str, **values: float) -> None:
    for name, value in values.items():
        if not 0 <= value < 1:
            raise ConfigError(f"{within}{'.' * bool(within)}{name}={value}: give 0 <= {name} < 1")


def _at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise ConfigError(f"{name}={value}: give at least {least}")
