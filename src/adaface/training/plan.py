"""What one step does, decided before it: which samples, and every coin. Shapes: B samples of all processes.

A step's plan is drawn from the run's seed and the step's number alone, so that it can be drawn ahead, again
after a stop, on each of several processes, and once more to look at a step that failed.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

import torch
from torch import Generator

from adaface.errors import FormatError

Coin = bool | int | float | str | None | list["Coin"]  # what JSON gives back as it was
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class StepPlan:
    """One step of the optimiser, the run's `step`-th.

    rows: of the data, one for each sample of the batch of all processes; empty for recipes that choose their
    own. seeds: one for each sample, of all that is the sample's own (noise, augmentation), so that it does
    not depend on which process reads it; one in all where a recipe chooses its own. coins: what they share.
    """

    step: int
    rows: tuple[int, ...] = ()
    seeds: tuple[int, ...] = ()
    coins: Mapping[str, Coin] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The plan in lists, numbers and words, which `from_json` reads."""
        return asdict(self) | {"rows": list(self.rows), "seeds": list(self.seeds)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "StepPlan":
        """The plan that `to_json` wrote. Raises FormatError: it is none."""
        try:
            rows, seeds = (tuple(int(number) for number in value[name]) for name in ("rows", "seeds"))
            return cls(step=int(value["step"]), rows=rows, seeds=seeds, coins=dict(value["coins"]))
        except (KeyError, TypeError, ValueError) as error:
            raise FormatError(f"no plan of a step ({error!r}). Give one that a run wrote") from error


@dataclass(frozen=True)
class Part:
    """The share of a batch that one process reads at once: part `index` of `count`."""

    index: int = 0
    count: int = 1

    def take(self, of_all: Sequence[T]) -> Sequence[T]:
        """The part of something that has one entry for each sample of the batch, in order."""
        total = len(of_all)  # the parts differ by one at most
        return of_all[total * self.index // self.count : total * (self.index + 1) // self.count]

    def weight(self, plan: StepPlan) -> float:
        """The share of the batch that this part is; all parts' sum is 1."""
        if not plan.rows:
            return 1 / self.count
        return len(self.take(plan.rows)) / len(plan.rows)


def step_generator(seed: int, step: int) -> Generator:
    """The generator of all that is drawn for step `step` of a run with this seed."""
    return sample_generator(mixed(seed, step))


def sample_generator(seed: int) -> Generator:
    """A sample's own generator, from its seed in a plan."""
    return Generator().manual_seed(seed)


def seeds(generator: Generator, count: int) -> tuple[int, ...]:
    """So many seeds for a plan's samples."""
    return tuple(torch.randint(2**31 - 1, (count,), generator=generator).tolist())


def mixed(*numbers: int) -> int:
    """One seed from several numbers, unlike that of numbers nearby: 0 <= seed < 2**32."""
    text = ",".join(map(str, numbers)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=4).digest(), "big")  # torch reads no more of it
