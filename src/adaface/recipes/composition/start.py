"""Where a compositional step begins: clean latents that are to be noised. B samples, C h w, T, D.

From a photo, or primed: drawn from noise by a few guided steps under the class's composed prompt with a touch
of the person's, so that the scene is laid out already. Source: AdaFace, start of a compositional step;
docs/method.md.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from adaface.recipes.base.denoising import Denoiser
from adaface.recipes.base.predictions import ddim_step

LARGE, POWER = 0.1, 0.35  # share of the picture above which a face is made smaller, and how fast


@torch.no_grad()
def primed(
    denoiser: Denoiser,
    contexts: Sequence[Tensor],
    shares: Sequence[float],
    empty: Tensor,
    noise: Tensor,
    *,
    steps: int,
    guidance: float,
) -> Tensor:
    """Clean latents (B, C, h, w) of a drawing that is cut short: DDIM, `steps` even ones, from pure noise.

    contexts: (B, T, D) each; what the UNet says under them, guided away from what it says under `empty` (1,
    T, D), is mixed by `shares`, whose sum is 1. The last prediction of clean latents counts.
    """
    used = [(context, share) for context, share in zip(contexts, shares, strict=True) if share]
    levels = torch.linspace(denoiser.steps - 1, 0, steps + 1).round().long().tolist()[:-1]
    schedule = denoiser.alphas  # once: each look copies it to the device
    alphas = [schedule[level] for level in levels]
    latents = noise
    for level, now, then in zip(levels, alphas, [*alphas[1:], torch.ones_like(alphas[0])], strict=True):
        timesteps = torch.full((len(latents),), level, device=latents.device)
        under = guided(denoiser, latents, timesteps, [context for context, _ in used], empty, guidance)
        mixed = torch.stack([share * one for one, (_, share) in zip(under, used, strict=True)]).sum(0)
        latents = ddim_step(denoiser.prediction_type, latents, mixed, now, then)
    return latents


@torch.no_grad()
def guided(
    denoiser: Denoiser,
    noisy: Tensor,
    timesteps: Tensor,
    contexts: Sequence[Tensor],
    empty: Tensor,
    guidance: float,
) -> list[Tensor]:
    """What the UNet says of noisy latents (B, C, h, w) under each context, away from an empty one (1, T, D).

    One pass for all of them: what it says under the empty context is asked once.
    """
    count = len(contexts) + 1
    said = denoiser.predict(
        noisy.repeat(count, 1, 1, 1),
        timesteps.repeat(count),
        torch.cat([*contexts, empty.expand(len(noisy), -1, -1)]),
    )
    *under, without = said.float().chunk(count)
    return [without + guidance * (one - without) for one in under]


def on_noise(latents: Tensor, face: Tensor, noise: Tensor, shrink: Tensor, share: Tensor) -> Tensor:
    """Photos' latents (B, C, h, w) with noise beside the person, made smaller, and noise all over.

    face: (B, 1, h, w) in 0..1. shrink, share: (B,) in 0..1: how far large faces are made smaller, and how
    much of the result is noise. A variance of 1 is kept where the photo's is 1.
    """
    area = face.mean((1, 2, 3)).clamp_min(1e-3)
    least = (LARGE / area).clamp_max(1) ** POWER
    scale = 1 - shrink * (1 - least)
    small = torch.stack([_smaller(one, float(by)) for one, by in zip(latents, scale, strict=True)])
    mask = torch.stack([_smaller(one, float(by)) for one, by in zip(face, scale, strict=True)])
    start = small * mask + noise * (1 - mask)
    amount = share[:, None, None, None]
    return (1 - amount).sqrt() * start + amount.sqrt() * noise


def _smaller(picture: Tensor, scale: float) -> Tensor:
    """A picture (C, h, w) made smaller in the middle of as much room, zeros beside."""
    high, wide = picture.shape[-2:]
    size = (max(1, round(high * scale)), max(1, round(wide * scale)))
    if size == (high, wide):
        return picture
    small = F.interpolate(picture[None], size, mode="bilinear", antialias=True, align_corners=False)[0]
    top, left = (high - size[0]) // 2, (wide - size[1]) // 2
    return F.pad(small, (left, wide - size[1] - left, top, high - size[0] - top))
