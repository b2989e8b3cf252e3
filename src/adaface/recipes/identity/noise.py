"""Noise on faces and on their rows, from each sample's own seed. B samples, K rows, D wide, D_id."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from adaface.recipes.base.chance import derived, normal, uniform


def noisy_faces(faces: Tensor, spread: tuple[float, float], share: float, seeds: Sequence[int]) -> Tensor:
    """ID embeddings (B, D_id), a share of them with relative noise; their lengths stay.

    spread: least and most strength, in units of an embedding's own deviation. Source: AdaFace, noise on ID
    embeddings; docs/method.md.
    """
    noised = faces + _strength(spread, share, seeds, faces) * faces.std(-1, keepdim=True) * _blur(
        faces, seeds
    )
    return F.normalize(noised, dim=-1) * faces.norm(dim=-1, keepdim=True)


def noisy_rows(rows: Tensor, spread: tuple[float, float], share: float, seeds: Sequence[int]) -> Tensor:
    """Subject rows (B, K, D), a share of the rows with relative noise; gradients pass as if there were none.

    spread: as of `noisy_faces`. Source: AdaFace, noise on subject embeddings; docs/method.md.
    """
    deviation = rows.detach().std(-1, keepdim=True)
    return rows + _strength(spread, share, seeds, rows) * deviation * _blur(rows, seeds)


def _blur(values: Tensor, seeds: Sequence[int]) -> Tensor:
    return normal(derived(seeds, 1), *values.shape[1:]).to(values)


def _strength(spread: tuple[float, float], share: float, seeds: Sequence[int], values: Tensor) -> Tensor:
    """(B, ..., 1): a strength for each vector, 0 for those that are left alone."""
    coin, where = uniform(derived(seeds, 0), 2, *values.shape[1:-1]).to(values).unbind(1)
    strength = spread[0] + (spread[1] - spread[0]) * where
    return torch.where(coin < share, strength, torch.zeros_like(strength))[..., None]
