"""Several denoising steps in a row by a teacher, and a student asked along the way. Shapes: B, C, h, w, T, D.

Teacher and student are shown the same noisy latents at every step. Source: AdaFace, stage 1; docs/method.md.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from adaface.recipes.base.chance import derived, next_levels, normal, uniform

RAISE = 1.3  # most that a noise level is raised by (AdaFace, stage 1)
Loss = Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Level:
    """One step of a roll-out: timesteps (B,), and fresh noise (B, C, h, w)."""

    timesteps: Tensor
    noise: Tensor


def raised(timesteps: Tensor, share: float, count: int, drawn: Tensor) -> Tensor:
    """Timesteps (B,) below `count`, a share of them drawn anew from U[t, 1.3 t]; the highest is the bound.

    drawn: (B, 2), numbers in 0..1: each sample's coin, and where in the range it comes to lie. Source:
    AdaFace, stage 1, choice of the noise level; docs/method.md.
    """
    coin, where = drawn.to(timesteps.device).unbind(-1)
    higher = (timesteps * (1 + (RAISE - 1) * where)).long().clamp_max(count - 1)
    return torch.where(coin < share, higher, timesteps)


def late_start(timesteps: Tensor, steps: int, levels: int) -> Tensor:
    """Where a roll-out of so many steps begins: the more steps, the nearer to pure noise; (B,).

    (4 t + (n - 1) * levels) / (n + 3). Source: AdaFace, stage 1; docs/method.md.
    """
    return ((4 * timesteps + (steps - 1) * levels) // (3 + steps)).clamp_max(levels - 1)


def levels(first: Level, seeds: Sequence[int], steps: int) -> Iterator[Level]:
    """The steps of a roll-out: the first one as given, then lower ones with noise from the samples' seeds."""
    yield first
    timesteps = first.timesteps
    for number in range(1, steps):
        places = uniform(derived(seeds, 2 * number)).to(timesteps.device)
        timesteps = next_levels(timesteps, places, steps)
        noise = normal(derived(seeds, 2 * number + 1), *first.noise.shape[1:])
        yield Level(timesteps, noise.to(first.noise))


class Gathered(torch.autograd.Function):
    """A loss whose gradient for the context is known already: backward hands it on."""

    @staticmethod
    def forward(ctx: Any, context: Tensor, loss: Tensor, gradient: Tensor) -> Tensor:
        """The loss, as it is."""
        ctx.save_for_backward(gradient)
        ctx.kind = context.dtype
        return loss.clone()

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor, None, None]:
        """The known gradient times the outer one."""
        (gradient,) = ctx.saved_tensors
        return (gradient * outer[0]).to(ctx.kind), None, None


def gathered(context: Tensor, losses: Iterator[Loss]) -> Tensor:
    """The sum of losses of one context (B, T, D), a scalar; only one loss's graph is in memory at a time.

    losses: each a function of the context, computed and walked backward before the next one is asked for; so
    many steps take the memory of one, and nothing is computed twice. Without gradients: the plain sum. With
    float16 the graphs are kept, since gradients that are not scaled yet would vanish in it.
    """
    if not torch.is_grad_enabled() or not context.requires_grad or _half(context):
        return torch.stack([loss(context) for loss in losses]).sum()
    leaf = context.detach().requires_grad_(True)
    gradient, total = torch.zeros_like(leaf, dtype=torch.float32), torch.zeros((), device=leaf.device)
    for loss in losses:
        value = loss(leaf)
        with torch.autocast(leaf.device.type, enabled=False):
            (found,) = torch.autograd.grad(value, leaf)
        gradient += found
        total += value.detach().float()
    known: Tensor = Gathered.apply(context, total, gradient)
    return known


def _half(tensor: Tensor) -> bool:
    kind = tensor.device.type
    return torch.is_autocast_enabled(kind) and torch.get_autocast_dtype(kind) == torch.float16
