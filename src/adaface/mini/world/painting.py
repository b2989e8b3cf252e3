"""Colours and how they mix: what scenes, accessories and styles are painted with. Shapes: B, 64 pixels."""

from collections.abc import Sequence

import torch
from torch import Tensor


def colour(red: float, green: float, blue: float, like: Tensor) -> Tensor:
    """A colour (1, 3, 1, 1) in 0..1, on the device of `like`."""
    return torch.tensor([red, green, blue], device=like.device).view(1, 3, 1, 1)


def mix(low: Tensor, high: Tensor, share: Tensor) -> Tensor:
    """`low` where share is 0, `high` where it is 1; the shapes broadcast."""
    return low + (high - low) * share


def soft(depth: Tensor) -> Tensor:
    """Depth inside a shape in pixels, negative outside -> cover in 0..1, one pixel of edge; same shape."""
    return (depth + 0.5).clamp(0, 1)


def choose(options: Sequence[Tensor], which: Tensor) -> Tensor:
    """Row b of the option which[b].

    options: the first is (B, 3, 64, 64), the others expand to it. which: (B,) int64. Returns (B, 3, 64, 64).
    """
    first = options[0]
    stacked = torch.stack([option.expand_as(first) for option in options], 1)  # (B, options, 3, 64, 64)
    return stacked[torch.arange(len(first), device=first.device), which.to(first.device)]
