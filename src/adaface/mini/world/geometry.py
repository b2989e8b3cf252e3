"""Batched geometry for 64-pixel pictures: crops, jitter, shapes. Shapes: B, S pixels, 5 landmarks."""

import torch
from torch import Generator, Tensor

from adaface.face.differentiable.warp import MIRRORED, apply

SIZE = 64  # pixels of a picture of the mini stack


def jitter(count: int, source: int, side: tuple[float, float], generator: Generator) -> tuple[Tensor, Tensor]:
    """Random crops of `source`-pixel pictures: maps to their pixels (B, 2, 3), who is mirrored (B,) bool.

    side: smallest and largest side of the crop in source pixels.
    The centre moves by up to 2 of them; the tilt has a deviation of 0.05 rad.
    """
    draw = torch.rand(4, count, generator=generator)
    scale = (side[0] + (side[1] - side[0]) * draw[0]) / SIZE
    turn = torch.randn(count, generator=generator) * 0.05
    mirrored = draw[3] < 0.5
    cos, sin = scale * torch.cos(turn), scale * torch.sin(turn)
    rows = torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], 1)
    flip = torch.ones(count, 1, 2)
    flip[mirrored, :, 0] = -1
    rows = rows * flip  # mirror x first
    room = max(0.0, min(2.0, (source - side[0]) / 2))
    centre = (source - 1) / 2 + (draw[1:3].T - 0.5) * 2 * room
    middle = torch.full((2,), (SIZE - 1) / 2)
    shift = centre - apply(rows, middle)
    return torch.cat([rows, shift[..., None]], -1), mirrored


def fixed_crop(count: int, source: int) -> Tensor:
    """The central 64 pixels, unturned: maps to source pixels (B, 2, 3)."""
    shift = (source - SIZE) / 2
    return torch.tensor([[1.0, 0.0, shift], [0.0, 1.0, shift]]).expand(count, -1, -1)


def move_landmarks(landmarks: Tensor, to_source: Tensor, mirrored: Tensor) -> Tensor:
    """Landmarks in source pixels (B, 5, 2) -> pixels of the crop, eyes and corners swapped where mirrored."""
    back = torch.linalg.inv(to_source[..., :2])
    moved = apply(back[:, None], landmarks - to_source[:, None, :, 2])
    return torch.where(mirrored[:, None, None], moved[:, MIRRORED], moved)


def disc(x: Tensor, y: Tensor, centre: Tensor, radius: Tensor) -> Tensor:
    """Soft ellipse on a pixel grid; centre, radius: (B, 2) pixels -> (B, S, S) in 0..1, one pixel of edge."""
    dx = (x - centre[:, 0, None, None]) / radius[:, 0, None, None]
    dy = (y - centre[:, 1, None, None]) / radius[:, 1, None, None]
    distance = (torch.sqrt(dx.square() + dy.square() + 1e-6) - 1) * radius.min(-1).values[:, None, None]
    return (0.5 - distance).clamp(0, 1)


def grid(device: torch.device) -> tuple[Tensor, Tensor]:
    """Pixel coordinates x, y of a picture, each (1, 64, 64)."""
    line = torch.arange(SIZE, dtype=torch.float32, device=device)
    y, x = torch.meshgrid(line, line, indexing="ij")
    return x[None], y[None]
