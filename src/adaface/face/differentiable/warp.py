"""Similarities and resampling of batches of pictures, with gradients. Shapes: B, C, S pixels, 5 landmarks."""

import torch
import torch.nn.functional as F
from torch import Tensor

from adaface.face.align import CROP, TEMPLATE

MIRRORED = [1, 0, 2, 4, 3]  # the landmarks of a mirrored picture


def apply(turn: Tensor, points: Tensor) -> Tensor:
    """Points (..., 2) turned by matrices (..., 2, 2), without a product that autocast would round."""
    return (turn * points[..., None, :]).sum(-1)


def similarity(source: Tensor, target: Tensor) -> Tensor:
    """Least-squares similarity that takes source (B, P, 2) to target (B, P, 2): (B, 2, 3)."""
    mean_s, mean_t = source.mean(1), target.mean(1)
    s, t = source - mean_s[:, None], target - mean_t[:, None]
    norm = s.square().sum((1, 2))
    a = (s * t).sum((1, 2)) / norm
    b = (s[..., 0] * t[..., 1] - s[..., 1] * t[..., 0]).sum(1) / norm
    turn = torch.stack([torch.stack([a, -b], -1), torch.stack([b, a], -1)], 1)  # (B, 2, 2)
    shift = mean_t - apply(turn, mean_s)
    return torch.cat([turn, shift[..., None]], -1)


def resample(images: Tensor, to_source: Tensor, size: int, mode: str = "bilinear") -> Tensor:
    """Pictures (B, C, S, S) seen through maps from output to source pixels (B, 2, 3): (B, C, size, size)."""
    line = torch.arange(size, dtype=torch.float32, device=images.device)
    y, x = torch.meshgrid(line, line, indexing="ij")
    maps = to_source[..., None, None]  # (B, 2, 3, 1, 1)
    points = maps[:, :, 0] * x + maps[:, :, 1] * y + maps[:, :, 2]  # (B, 2, size, size)
    extent = torch.tensor(images.shape[:1:-1], device=images.device)  # width, height
    grid = (points.permute(0, 2, 3, 1) + 0.5) * 2 / extent - 1
    return F.grid_sample(images, grid, mode=mode, padding_mode="border", align_corners=False)


def align(images: Tensor, landmarks: Tensor, size: int = CROP) -> Tensor:
    """Faces (B, 3, S, S) moved onto the recogniser's template: (B, 3, size, size); differentiable."""
    template = torch.from_numpy(TEMPLATE * (size / CROP)).to(images.device).expand(len(images), -1, -1)
    return resample(images, similarity(template, landmarks), size)
