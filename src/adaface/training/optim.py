"""The optimisers, and the learning rate over their steps."""

import io
import math
from collections.abc import Mapping
from contextlib import redirect_stdout
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from adaface.errors import ConfigError, FormatError
from adaface.optional import require
from adaface.training.settings import OptimizerConfig, ScheduleConfig


def rate_factor(config: ScheduleConfig, step: int, steps: int, share: float) -> float:
    """The factor of the learning rate for step `step` (from 0) of `steps`, `share` (0..1) of the run done.

    A ramp from `warmup_from` to 1, times the decay: linear begins at the ramp's end and reaches `floor` at
    the run's; a cosine runs over the whole of it. In steps of the optimiser: the original counted batches
    for the length and updates for the schedule, and ended at .55 instead of .09.
    """
    ramp = 1.0
    if step < config.warmup_steps:
        ramp = config.warmup_from + (1 - config.warmup_from) * (step + 1) / config.warmup_steps
    if config.decay == "constant":
        return ramp
    if config.decay == "cosine":
        left = 0.5 * (1 + math.cos(math.pi * share))
    else:
        begin = min(config.warmup_steps / steps, 1.0)
        left = 1 - max(0.0, share - begin) / (1 - begin) if begin < 1 else 1.0
    return ramp * (config.floor + (1 - config.floor) * left)


# of a group; its other entries are where it stands
SETTINGS = ("betas", "weight_decay", "momentum", "d_coef")


class Optimizers:
    """One optimiser, or two that share the weights between them, stepped together."""

    def __init__(
        self, weights: Mapping[str, nn.Parameter], tables: set[str], config: OptimizerConfig
    ) -> None:
        """weights: what is trained, by name. tables: the names that are token tables, no matrices for Muon.

        Raises ConfigError: Muon on a torch without it. MissingExtra: Prodigy is not installed.
        """
        rate = config.rate
        self.parts: dict[str, Optimizer]
        self.rates = {"adamw": rate, "prodigy": rate, "muon": rate * config.muon_rate}
        if config.name == "prodigy":
            self.parts = {"prodigy": _prodigy(list(weights.values()), config)}
        elif config.name == "muon":
            matrices = {name for name, w in weights.items() if w.ndim == 2 and name not in tables}
            rest = [weight for name, weight in weights.items() if name not in matrices]
            self.parts = {"muon": _muon([weights[name] for name in sorted(matrices)], config)}
            self.parts |= {"adamw": _adamw(rest, config)} if rest else {}
        else:
            self.parts = {"adamw": _adamw(list(weights.values()), config)}

    def step(self, factor: float) -> None:
        """One update; factor: of the learning rate."""
        for name, part in self.parts.items():
            for group in part.param_groups:
                group["lr"] = self.rates[name] * factor
            part.step()

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for part in self.parts.values():
            part.zero_grad(set_to_none=True)

    def state_dict(self) -> dict[str, Any]:
        """Each part's, by its name."""
        return {name: part.state_dict() for name, part in self.parts.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave, moved to the weights; settings stay those of the config.

        Raises FormatError: of other optimisers, or no such state.
        """
        if set(state) != set(self.parts):
            raise FormatError(
                f"the run's optimiser is {' + '.join(map(str, state))}, now it is {' + '.join(self.parts)}. "
                "Go on with the same one, or start a new run from its weights (init_from)"
            )
        for name, part in self.parts.items():
            _load(name, part, state[name])


def _load(name: str, part: Optimizer, state: Any) -> None:
    before = [dict(group) for group in part.param_groups]
    try:
        part.load_state_dict(state)
        lacking = [
            key for old, new in zip(before, part.param_groups, strict=True) for key in old.keys() - new
        ]
        if lacking:
            raise KeyError(lacking[0])
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise FormatError(
            f"the state of {name} is none ({error!r}). Start a new run from the weights (init_from)"
        ) from error
    for old, new in zip(before, part.param_groups, strict=True):
        new.update({key: old[key] for key in SETTINGS if key in old})


def _adamw(weights: list[nn.Parameter], config: OptimizerConfig) -> Optimizer:
    return torch.optim.AdamW(
        weights, lr=config.rate, betas=config.betas, weight_decay=config.weight_decay, fused=True
    )


def _prodigy(weights: list[nn.Parameter], config: OptimizerConfig) -> Optimizer:
    """As the original's: bias correction on, no safeguard for the warm-up."""
    with redirect_stdout(io.StringIO()):  # it prints there how it decays the weights
        made: Optimizer = require("prodigyopt", extra="train").Prodigy(
            weights,
            lr=config.rate,
            betas=config.betas,
            weight_decay=config.weight_decay,
            d_coef=config.d_coef,
            use_bias_correction=True,
        )
    return made


def _muon(weights: list[nn.Parameter], config: OptimizerConfig) -> Optimizer:
    muon = getattr(torch.optim, "Muon", None)
    if muon is None:
        raise ConfigError(
            f"optimizer.name=muon: torch {torch.__version__} has no Muon. Install torch 2.9 or newer, or "
            "choose adamw"
        )
    if not weights:
        raise ConfigError("optimizer.name=muon: no matrices among what is trained. Choose adamw")
    made: Optimizer = muon(
        weights,
        lr=config.rate * config.muon_rate,
        weight_decay=config.weight_decay,
        momentum=config.momentum,
        adjust_lr_fn="match_rms_adamw",  # so that one learning rate serves both
    )
    return made
