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


def beach(on: Canvas) -> Tensor:
    """A pale sky, a band of turquoise sea, yellow sand: (B, 3, 64, 64)."""
    height, wave = on.chance[:, 0], on.chance[:, 1]  # each (B, 1, 1, 1)
    shore = 34 + 8 * height + 1.5 * torch.sin(on.x / 5 + 6 * wave)  # (B, 1, 64, 64)
    sky = mix(colour(0.55, 0.8, 0.98, on.x), colour(0.85, 0.93, 1.0, on.x), on.down)
    wet = mix(sky, colour(0.1, 0.62, 0.68, on.x), soft(on.y[:, None] - (20 + 8 * height)))
    return mix(wet, colour(0.95, 0.85, 0.58, on.x), soft(on.y[:, None] - shore))


def snow(on: Canvas) -> Tensor:
    """White ground under a grey sky, flakes falling: (B, 3, 64, 64)."""
    grey = mix(colour(0.5, 0.56, 0.66, on.x), colour(0.78, 0.82, 0.88, on.x), on.down)
    hill = 40 + 6 * on.chance[:, 0] + 3 * torch.sin(on.x / 9 + 6 * on.chance[:, 1])
    ground = mix(grey, colour(0.97, 0.98, 1.0, on.x), soft(on.y[:, None] - hill))
    return mix(ground, torch.ones_like(ground), (2 * on.stars).clamp(0, 1))


def forest(on: Canvas) -> Tensor:
    """Dark green with brown trunks: (B, 3, 64, 64)."""
    green = mix(colour(0.1, 0.3, 0.12, on.x), colour(0.04, 0.14, 0.05, on.x), on.down)
    shift, pace = on.chance[:, 0], on.chance[:, 1]
    trunks = (3 * torch.sin((on.x[:, None] + 20 * shift) * (0.42 + 0.12 * pace)) - 1.2).clamp(0, 1)
    return mix(green, colour(0.4, 0.25, 0.12, on.x), trunks)


def desert(on: Canvas) -> Tensor:
    """Orange dunes under a teal sky: (B, 3, 64, 64)."""
    ridge = 26 + 12 * on.chance[:, 0] + 5 * torch.sin(on.x / (7 + 5 * on.chance[:, 1]) + 6 * on.chance[:, 2])
    sky = mix(colour(0.25, 0.66, 0.7, on.x), colour(0.75, 0.88, 0.82, on.x), on.down)
    sand = mix(colour(0.98, 0.7, 0.35, on.x), colour(0.75, 0.4, 0.15, on.x), on.down)
    return mix(sky, sand, soft(on.y[:, None] - ridge))


def brick_wall(on: Canvas) -> Tensor:
    """Rows of brown-red bricks in grey mortar: (B, 3, 64, 64)."""
    down = on.y[:, None] + 6 * on.chance[:, 0]  # (B, 1, 64, 64)
    across = on.x[:, None] + 6 * (torch.floor(down / 6) % 2) + 12 * on.chance[:, 1]
    mortar = torch.maximum((down % 6 < 1.2).float(), (across % 12 < 1.2).float())
    return mix(colour(0.55, 0.24, 0.16, on.x), colour(0.78, 0.76, 0.72, on.x), mortar)


def skyscrapers(on: Canvas) -> Tensor:
    """Grey blocks of several heights with lit windows, a pale sky: (B, 3, 64, 64)."""
    block = torch.floor((on.x[:, None] + 11 * on.chance[:, 0]) / 11)  # (B, 1, 64, 64)
    roof = 8 + 9 * (1 + torch.sin(block * 2.4 + 6 * on.chance[:, 1]))
    windows = ((on.x[:, None] + 11 * on.chance[:, 0]) % 3.67 < 1.8) & (on.y[:, None] % 5 < 2.5)
    tower = mix(colour(0.32, 0.35, 0.42, on.x), colour(0.98, 0.88, 0.45, on.x), windows.float())
    sky = mix(colour(0.72, 0.8, 0.9, on.x), colour(0.92, 0.92, 0.88, on.x), on.down)
    return mix(sky, tower, soft(on.y[:, None] - roof))


def under_water(on: Canvas) -> Tensor:
    """Bright to deep blue-green with wavering light: (B, 3, 64, 64)."""
    deep = mix(colour(0.15, 0.8, 0.85, on.x), colour(0.0, 0.2, 0.38, on.x), on.down)
    sway = on.x[:, None] + 5 * torch.sin(on.y[:, None] / 6 + 6 * on.chance[:, 0])
    rays = 0.5 * (torch.sin(sway * 0.55 + 6 * on.chance[:, 1]) - 0.2).clamp(0, 1) * (1 - on.down)
    return mix(deep, colour(0.75, 1.0, 0.95, on.x), rays)


def dotted_wall(on: Canvas) -> Tensor:
    """Violet dots on yellow: (B, 3, 64, 64)."""
    size = 9 + 3 * on.chance[:, 0]
    across, down = ((axis[:, None] + 9 * shift) % size - size / 2 for axis, shift in _shifted(on))
    dots = soft(0.3 * size - (across.square() + down.square()).sqrt())
    return mix(colour(0.98, 0.85, 0.2, on.x), colour(0.5, 0.15, 0.65, on.x), dots)


def _shifted(on: Canvas) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    return (on.x, on.chance[:, 1]), (on.y, on.chance[:, 2])


SCENES = {
    "in a meadow": meadow,
    "under a night sky": night_sky,
    "at sunset": sunset,
    "in front of a striped wall": striped_wall,
    "at the beach": beach,
    "in the snow": snow,
    "in a forest": forest,
    "in a desert": desert,
    "in front of a brick wall": brick_wall,
    "in front of skyscrapers": skyscrapers,
    "under water": under_water,
    "in front of a dotted wall": dotted_wall,
}


def put_before_background(crops: Tensor, masks: Tensor, which: Tensor, generator: Generator) -> Tensor:
    """The person of each crop before scene which[b]; 0 leaves the crop as it is.

    crops: (B, 3, 64, 64) in 0..1. masks: (B, 1, 64, 64) in 0..1. which: (B,), 1 + an index into SCENES.
    """
    canvas = new_canvas(len(crops), crops.device, generator)
    scenes = [paint(canvas) for paint in SCENES.values()]
    return mix(choose([crops, *scenes], which), crops, masks)
