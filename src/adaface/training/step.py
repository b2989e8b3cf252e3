"""One step of the optimiser: a plan in, an update out, over all processes and parts."""

import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from adaface.training.distributed import Ranks
from adaface.training.optim import Optimizers, rate_factor
from adaface.training.plan import Part, StepPlan, mixed
from adaface.training.recipe import Recipe
from adaface.training.settings import LoopConfig
from adaface.training.state import Weights

TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
LEAST_SCALE = 2.0**-14


@dataclass
class Outcome:
    """What became of a plan's gradients. The same in all processes but for what they `hear` of each other."""

    terms: dict[str, float]  # means over the batch
    norm: float  # of the gradients, before they are clipped
    bad: list[int] = field(default_factory=list)  # parts whose loss is no number

    @property
    def finite(self) -> bool:
        """True if the loss of each part and the gradients are numbers."""
        return not self.bad and math.isfinite(self.norm)


@dataclass
class LossScale:
    """Keeps small gradients above float16's least number: doubled while it goes well, halved when it is not.

    Own, since two optimisers must skip a step together and all processes too; they see one gradient norm.
    """

    value: float = 2.0**16
    good: int = 0
    patience: int = 2000

    def update(self, *, finite: bool) -> None:
        """After a step."""
        self.good = self.good + 1 if finite else 0
        if not finite:
            self.value /= 2
        elif self.good == self.patience:
            self.value, self.good = self.value * 2, 0


class Stepper:
    """Weights, optimisers and the way from a plan to an update."""

    def __init__(self, recipe: Recipe, config: LoopConfig, ranks: Ranks) -> None:
        """Raises ConfigError: nothing to train, or settings that do not fit what is trained."""
        self.recipe, self.config, self.ranks = recipe, config, ranks
        self.weights = Weights(recipe.modules, averaged=config.ema_decay > 0)
        self.optimizers = Optimizers(self.weights.trained, self.weights.tables, config.optimizer)
        self.parts = ranks.parts(config.accumulate)
        self.scale = LossScale() if config.precision == "fp16" else None
        self.losses: nn.Module = _Losses(recipe)
        if ranks.world > 1:
            # a term that only one process has (a face was found there) makes weights used there alone
            # (looking for them takes a walk over the graph, of no measurable time; torch warns of none found)
            self.losses = DistributedDataParallel(
                self.losses,
                find_unused_parameters=getattr(recipe, "unused", True),
                gradient_as_bucket_view=True,
            )

    def gradients(self, plan: StepPlan) -> Outcome:
        """Leave the gradients of the whole batch in the weights, averaged over it and clipped."""
        self.optimizers.zero_grad()
        found = [self._backward(plan, part, last=part is self.parts[-1]) for part in self.parts]
        weights = list(self.weights.trained.values())
        if self.scale is not None:
            grads = [weight.grad for weight in weights if weight.grad is not None]
            torch._foreach_mul_(grads, 1 / self.scale.value)
        norm = nn.utils.clip_grad_norm_(weights, self.config.max_grad_norm)
        return self._outcome(plan, found, norm)

    def update(self, outcome: Outcome, step: int, share: float) -> bool:
        """Step number `step` (from 0), at `share` (0..1) of the run; False: skipped, for float16 alone."""
        if self.scale is not None:
            self.scale.update(finite=outcome.finite)
            if not outcome.finite:
                return False
        self.optimizers.step(self.factor(step, share))
        self.weights.average(min(self.config.ema_decay, (1 + step) / (10 + step)))
        return True

    def factor(self, step: int, share: float) -> float:
        """Of the learning rate."""
        return rate_factor(self.config.schedule, step, self.config.steps, share)

    def hopeless(self, outcome: Outcome) -> bool:
        """True if the outcome is no mere overflow of scaled float16 gradients."""
        if outcome.finite:
            return False
        return self.scale is None or bool(outcome.bad) or self.scale.value <= LEAST_SCALE

    def measure(self, plan: StepPlan, part: Part) -> Outcome:
        """The loss and gradient norm of one part by itself, in this process; nothing is updated."""
        self.optimizers.zero_grad()
        with self._seeded(plan, part), self.autocast():
            terms = self.recipe.loss(plan, part)
        total(terms).backward()
        norm = nn.utils.clip_grad_norm_(self.weights.trained.values(), math.inf)
        self.optimizers.zero_grad()
        values = {name: float(term.detach()) for name, term in terms.items()}
        bad = [] if all(map(math.isfinite, values.values())) else [part.index]
        return Outcome(values, float(norm), bad)

    def _backward(self, plan: StepPlan, part: Part, *, last: bool) -> dict[str, Tensor]:
        weight = part.weight(plan)
        factor = weight * self.ranks.world * (self.scale.value if self.scale else 1.0)  # DDP takes the mean
        with self._alone(last), self._seeded(plan, part):
            with self.autocast():
                terms: dict[str, Tensor] = self.losses(plan, part)
            (total(terms) * factor).backward()
        return {name: term.detach().float() * weight for name, term in terms.items()}

    def _outcome(self, plan: StepPlan, found: Sequence[dict[str, Tensor]], norm: Tensor) -> Outcome:
        """Read all numbers at once: each read makes the host wait for the device."""
        flat = torch.stack([norm.float(), *(term for terms in found for term in terms.values())]).tolist()
        values = iter(flat[1:])
        sums: dict[str, float] = {}
        bad = []
        for part, terms in zip(self.parts, found, strict=True):
            own = {name: next(values) for name in terms}
            bad += [] if all(map(math.isfinite, own.values())) else [part.index]
            for name, value in own.items():
                sums[name] = sums.get(name, 0.0) + value
        return Outcome(sums, flat[0], bad)

    def _alone(self, last: bool) -> AbstractContextManager[Any]:
        """Gradients are exchanged with those of the last part."""
        if last or not isinstance(self.losses, DistributedDataParallel):
            return nullcontext()
        return self.losses.no_sync()

    def autocast(self) -> AbstractContextManager[Any]:
        """The precision of the arithmetic, for as long as it lasts."""
        kind = TYPES[self.config.precision]
        return torch.autocast(self.weights.device.type, kind, enabled=kind is not torch.float32)

    @contextmanager
    def _seeded(self, plan: StepPlan, part: Part) -> Iterator[None]:
        """Torch's own streams (dropout) follow from the plan in here, and go on afterwards as if unused."""
        seed, device = mixed(*plan.seeds[:1], plan.step, part.index), self.weights.device
        gpus = [device] if device.type == "cuda" else []
        with torch.random.fork_rng(devices=gpus):
            torch.default_generator.manual_seed(seed)
            for gpu in gpus:
                torch.cuda.default_generators[gpu.index].manual_seed(seed)
            yield


class _Losses(nn.Module):
    """A recipe's loss as the forward of a module, which is what DistributedDataParallel wraps."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.trained = nn.ModuleList(recipe.modules.values())
        self.loss = recipe.loss

    def forward(self, plan: StepPlan, part: Part) -> dict[str, Tensor]:
        return self.loss(plan, part)


def total(terms: dict[str, Tensor]) -> Tensor:
    """The sum of a loss's terms, in float32."""
    return torch.stack([term.float() for term in terms.values()]).sum()
