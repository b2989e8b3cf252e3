"""Losses between a prediction and its target. Shapes: B samples, C channels, H and W of the latents."""

import torch
from torch import Tensor


def masked_mse(guess: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Mean square of the error of each sample, weighted by place: sum(w * d^2) / (C * sum(w)), (B,).

    guess, target: (B, C, H, W). weight: (B, 1, H, W), >= 0; a sample of no weight at all gives 0. A mean a
    sample, not one over the batch: so the mean over ranks or micro-batches is that over all their samples.
    Source: AdaFace, masked reconstruction; docs/method.md.
    """
    error = (guess.float() - target.float()).square().mean(1, keepdim=True)  # (B, 1, H, W)
    weight = weight.float()
    return (weight * error).sum((1, 2, 3)) / weight.sum((1, 2, 3)).clamp_min(torch.finfo(torch.float32).tiny)


def place_weight(mask: Tensor, valid: Tensor, background: float) -> Tensor:
    """Weights of the places of a photo: 1 on the person, `background` beside, 0 outside of the photo.

    mask, valid: (B, 1, H, W) in 0..1, shares of a latent's place that show the person and the photo.
    """
    return valid * (mask + background * (1 - mask))
