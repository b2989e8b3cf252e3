"""Backgrounds behind the person. Shapes: B pictures of 64 pixels."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from adaface.mini.world.geometry import SIZE, disc, grid
from adaface.mini.world.painting import choose, colour, mix, soft


@dataclass(frozen=True, kw_only=True)
class Canvas:
    """Where a scene is painted, and the chance in it.

    x, y: pixel coordinates (1, 64, 64). down: 0 at the top to 1 at the bottom, (1, 1, 64, 64).
    chance: four numbers in 0..1 for each picture, (B, 4, 1, 1, 1). stars: (B, 1, 64, 64) in 0..1.
    """

    x: Tensor
    y: Tensor
    down: Tensor
    chance: Tensor
    stars: Tensor


def new_canvas(count: int, device: torch.device, generator: Generator) -> Canvas:
    """A canvas for `count` pictures. The chance is drawn for every picture, whichever scene it gets."""
    x, y = grid(device)
    chance = torch.rand(count, 4, generator=generator).to(device)[..., None, None, None]
    stars = (torch.rand(count, 1, SIZE, SIZE, generator=generator) < 0.008).float().to(device)
    stars = (F.avg_pool2d(stars, 3, 1, 1) * 5 + stars).clamp(0, 1)
    return Canvas(x=x, y=y, down=(y / (SIZE - 1))[:, None], chance=chance, stars=stars)


def meadow(on: Canvas) -> Tensor:
    """A blue sky over grass with a wavy horizon: (B, 3, 64, 64)."""
    height, wave, phase = on.chance[:, 0], on.chance[:, 1], on.chance[:, 2]  # each (B, 1, 1, 1)
    horizon = 28 + 14 * height + 2 * torch.sin(on.x / (4 + 4 * wave) + 6 * phase)  # (B, 1, 64, 64)
    sky = mix(colour(0.35, 0.62, 0.95, on.x), colour(0.75, 0.88, 1.0, on.x), on.down)
    grass = mix(colour(0.35, 0.72, 0.25, on.x), colour(0.12, 0.45, 0.1, on.x), on.down)
    return mix(sky, grass, soft(on.y[:, None] - horizon))


def night_sky(on: Canvas) -> Tensor:
    """Dark blue with stars: (B, 3, 64, 64)."""
    dark = mix(colour(0.02, 0.02, 0.12, on.x), colour(0.08, 0.08, 0.3, on.x), on.down)
    return mix(dark, colour(1.0, 1.0, 0.9, on.x), on.stars)


def sunset(on: Canvas) -> Tensor:
    """Purple to orange with a sun somewhere: (B, 3, 64, 64)."""
    across, height = on.chance[:, 0, 0, 0], on.chance[:, 1, 0, 0]  # each (B, 1)
    centre = torch.cat([6 + 52 * across, 14 + 26 * height], -1)
    sun = disc(on.x, on.y, centre, torch.full_like(centre, 7))
    dusk = mix(colour(0.45, 0.15, 0.5, on.x), colour(1.0, 0.6, 0.15, on.x), on.down)
    return mix(dusk, colour(1.0, 0.95, 0.6, on.x), sun[:, None])


def striped_wall(on: Canvas) -> Tensor:
    """Upright stripes of red and white: (B, 3, 64, 64)."""
    width, shift = on.chance[:, 2], on.chance[:, 3]  # each (B, 1, 1, 1)
    stripes = (0.5 + 6 * torch.sin((on.x[:, None] + 16 * shift) * (0.7 + 0.3 * width))).clamp(0, 1)
    return mix(colour(0.85, 0.15, 0.2, on.x), colour(0.97, 0.97, 0.94, on.x), stripes)


SCENES = {
    "in a meadow": meadow,
    "under a night sky": night_sky,
    "at sunset": sunset,
    "in front of a striped wall": striped_wall,
}


def put_before_background(crops: Tensor, masks: Tensor, which: Tensor, generator: Generator) -> Tensor:
    """The person of each crop before scene which[b]; 0 leaves the crop as it is.

    crops: (B, 3, 64, 64) in 0..1. masks: (B, 1, 64, 64) in 0..1. which: (B,), 1 + an index into SCENES.
    """
    canvas = new_canvas(len(crops), crops.device, generator)
    scenes = [paint(canvas) for paint in SCENES.values()]
    return mix(choose([crops, *scenes], which), crops, masks)
