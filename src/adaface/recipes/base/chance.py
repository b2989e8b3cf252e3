"""What is drawn for each sample of a step, from its own seed. B samples.

So it does not depend on which other samples its part of the batch holds, nor on how many parts there are.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from adaface.training.plan import mixed, sample_generator

SHRINK = (
    0.5,
    0.7,
)  # the next noise level is this share of the last one, at one step in all (AdaFace, stage 1)
SLOWER = -0.3  # the power of (steps - 1) that the exponent falls by: many steps go down more slowly


def derived(seeds: Sequence[int], purpose: int) -> tuple[int, ...]:
    """Seeds of the samples for one purpose, unlike those for any other."""
    return tuple(mixed(seed, purpose) for seed in seeds)


def normal(seeds: Sequence[int], *shape: int) -> Tensor:
    """Standard normal numbers (B, *shape), each sample's from its seed; on the CPU."""
    return torch.stack([torch.randn(shape, generator=sample_generator(seed)) for seed in seeds])


def uniform(seeds: Sequence[int], *shape: int) -> Tensor:
    """Numbers in 0..1 (B, *shape), each sample's from its seed; on the CPU."""
    return torch.stack([torch.rand(shape, generator=sample_generator(seed)) for seed in seeds])


def next_levels(timesteps: Tensor, shares: Tensor, steps: int) -> Tensor:
    """The next timesteps (B,) of a roll-out of `steps`, at places `shares` (B,) in 0..1 of their range.

    floor of U[0.5^a t, 0.7^a t], a = (steps - 1)^-0.3. Source: AdaFace, stage 1; docs/method.md.
    """
    power = (steps - 1) ** SLOWER
    low, high = SHRINK[0] ** power, SHRINK[1] ** power
    return (timesteps * (low + (high - low) * shares)).long()
