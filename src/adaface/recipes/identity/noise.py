"""What is drawn for each sample of a step, from its own seed. Shapes: B samples, K rows, D wide, D_id.

So it does not depend on which other samples its part of the batch holds, nor on how many parts there are.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from adaface.training.plan import mixed, sample_generator


def derived(seeds: Sequence[int], purpose: int) -> tuple[int, ...]:
    """Seeds of the samples for one purpose, unlike those for any other."""
    return tuple(mixed(seed, purpose) for seed in seeds)


def normal(seeds: Sequence[int], *shape: int) -> Tensor:
    """Standard normal numbers (B, *shape), each sample's from its seed; on the CPU."""
    return torch.stack([torch.randn(shape, generator=sample_generator(seed)) for seed in seeds])


def uniform(seeds: Sequence[int], *shape: int) -> Tensor:
    """Numbers in 0..1 (B, *shape), each sample's from its seed; on the CPU."""
    return torch.stack([torch.rand(shape, generator=sample_generator(seed)) for seed in seeds])


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
