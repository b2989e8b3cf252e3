"""The small world: real faces cut out and put before backgrounds, with accessories, in styles. Shapes: B, 64 pixels.

A picture is a pure function of (crop, mask, landmarks, facts, generator); a caption of (facts, phrasing). Both are
exact: what the caption says is what was drawn.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from adaface.mini.geometry import disc, grid

BACKGROUNDS = ("", "in a meadow", "under a night sky", "at sunset", "in front of a striped wall")
ACCESSORIES = ("", "wearing sunglasses", "wearing a red cap", "wearing a blue scarf", "with a red clown nose")
STYLES = ("photo", "black and white photo", "sepia photo", "pencil sketch", "pop art poster")
CLASS_WORDS = ("person", "man", "woman", "young man", "young woman", "old man", "old woman")
PLAIN_SHARE = 0.35  # share of pictures that keep their background, and so for accessories; half for styles


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a batch of pictures shows; each (B,) int64, an index into the tuple of its name, 0 = nothing special."""

    background: Tensor
    accessory: Tensor
    style: Tensor
    class_word: Tensor
    close: Tensor  # 1: a close-up framing

    def __len__(self) -> int:
        return len(self.background)

    def take(self, rows: Tensor) -> "Facts":
        """The facts of these rows, in this order."""
        return Facts(**{name: getattr(self, name)[rows] for name in self.__dataclass_fields__})


def draw_facts(class_word: Tensor, close: Tensor, generator: Generator) -> Facts:
    """Random facts for a batch of crops whose class words (B,) and framings (B,) are known."""
    count = len(class_word)

    def choose(options: int, plain: float) -> Tensor:
        plain_here = torch.rand(count, generator=generator) < plain
        return torch.randint(1, options, (count,), generator=generator) * ~plain_here

    return Facts(
        background=choose(len(BACKGROUNDS), PLAIN_SHARE),
        accessory=choose(len(ACCESSORIES), 0.5),
        style=choose(len(STYLES), 0.6),
        class_word=class_word,
        close=close,
    )


def compose(crops: Tensor, masks: Tensor, landmarks: Tensor, facts: Facts, generator: Generator) -> Tensor:
    """Draw what the facts say.

    crops: (B, 3, 64, 64) in 0..1. masks: (B, 1, 64, 64) in 0..1, the person. landmarks: (B, 5, 2) pixels of the crop.
    Returns (B, 3, 64, 64) in 0..1.
    """
    pictures = _background(crops, masks, facts.background, generator)
    pictures = _accessory(pictures, masks, landmarks, facts.accessory)
    return _style(pictures, facts.style).clamp(0, 1)


def _colour(red: float, green: float, blue: float, like: Tensor) -> Tensor:
    return torch.tensor([red, green, blue], device=like.device).view(1, 3, 1, 1)


def _mix(low: Tensor, high: Tensor, share: Tensor) -> Tensor:
    return low + (high - low) * share


def _background(crops: Tensor, masks: Tensor, which: Tensor, generator: Generator) -> Tensor:
    x, y = grid(crops.device)
    draw = torch.rand(len(crops), 4, generator=generator).to(crops.device)[..., None, None, None]
    stars = (torch.rand(len(crops), 1, 64, 64, generator=generator) < 0.008).float().to(crops.device)
    stars = (F.avg_pool2d(stars, 3, 1, 1) * 5 + stars).clamp(0, 1)
    down = (y / 63)[:, None]
    horizon = 28 + 14 * draw[:, 0] + 2 * torch.sin(x / (4 + 4 * draw[:, 1]) + 6 * draw[:, 2])  # (B, 1, 64)
    ground = (y[:, None] - horizon + 0.5).clamp(0, 1)
    sky = _mix(_colour(0.35, 0.62, 0.95, crops), _colour(0.75, 0.88, 1.0, crops), down)
    grass = _mix(_colour(0.35, 0.72, 0.25, crops), _colour(0.12, 0.45, 0.1, crops), down)
    meadow = _mix(sky, grass, ground)
    night = _mix(_colour(0.02, 0.02, 0.12, crops), _colour(0.08, 0.08, 0.3, crops), down)
    night = _mix(night, _colour(1.0, 1.0, 0.9, crops), stars)
    sun = disc(
        x,
        y,
        torch.cat([6 + 52 * draw[:, 0, 0, 0], 14 + 26 * draw[:, 1, 0, 0]], -1),
        crops.new_full((len(crops), 2), 7),
    )
    dusk = _mix(_colour(0.45, 0.15, 0.5, crops), _colour(1.0, 0.6, 0.15, crops), down)
    dusk = _mix(dusk, _colour(1.0, 0.95, 0.6, crops), sun[:, None])
    stripes = (0.5 + 6 * torch.sin((x[:, None] + 16 * draw[:, 3]) * (0.7 + 0.3 * draw[:, 2]))).clamp(0, 1)
    wall = _mix(_colour(0.85, 0.15, 0.2, crops), _colour(0.97, 0.97, 0.94, crops), stripes)
    scenes = torch.stack([s.expand_as(crops) for s in (crops, meadow, night, dusk, wall)], 1)
    chosen = scenes[torch.arange(len(crops), device=crops.device), which.to(crops.device)]
    return _mix(chosen, crops, masks)


def _accessory(pictures: Tensor, masks: Tensor, landmarks: Tensor, which: Tensor) -> Tensor:
    x, y = grid(pictures.device)
    eyes = landmarks[:, :2].mean(1)
    across = landmarks[:, 1] - landmarks[:, 0]
    apart = across.norm(dim=-1, keepdim=True)  # (B, 1) pixels between the eyes
    right = across / apart
    down = torch.stack([-right[:, 1], right[:, 0]], -1)
    mouth = landmarks[:, 3:].mean(1)
    drop = ((mouth - eyes) * down).sum(-1, keepdim=True)  # eye line to mouth

    def place(origin: Tensor, u: float, v: Tensor | float) -> Tensor:
        return origin + right * apart * u + down * drop * v

    def local(origin: Tensor) -> tuple[Tensor, Tensor]:  # upright coordinates in pixels around origin
        dx, dy = x - origin[:, 0, None, None], y - origin[:, 1, None, None]
        u = dx * right[:, 0, None, None] + dy * right[:, 1, None, None]
        return u, dx * down[:, 0, None, None] + dy * down[:, 1, None, None]

    zero = torch.zeros_like(eyes)

    def ellipse(origin: Tensor, wide: Tensor, high: Tensor) -> Tensor:
        u, v = local(origin)
        return disc(u, v, zero, torch.cat([wide, high], -1))

    def soft(z: Tensor) -> Tensor:
        return (z + 0.5).clamp(0, 1)

    glasses = torch.maximum(
        *(ellipse(landmarks[:, i] + 0.08 * apart * down, 0.5 * apart, 0.42 * apart) for i in (0, 1))
    )
    u, v = local(eyes)
    size = apart[..., None]
    bridge = soft(0.07 * size - v.abs()) * soft(1.1 * size - u.abs())
    glasses = torch.maximum(glasses, bridge)
    brow = place(eyes, 0, -0.62)
    u, v = local(brow)
    crown = ellipse(brow, 1.32 * apart, 1.25 * apart) * soft(-v)
    brim = ellipse(brow, 1.45 * apart, 0.16 * apart)
    chin = place(eyes, 0, 1.78)
    u, v = local(chin)
    band = soft(v + 0.16 * u.square() / size) * soft(1.3 * size - u.abs())
    nose = ellipse(landmarks[:, 2], 0.3 * apart, 0.3 * apart)

    shade = (v / size).clamp(0, 1)[:, None]
    red, dark_red = _colour(0.85, 0.08, 0.08, pictures), _colour(0.55, 0.02, 0.05, pictures)
    folds = 0.5 + 0.5 * torch.sin(u * 0.9 + v * 0.6)[:, None]
    blue = _mix(_colour(0.1, 0.2, 0.75, pictures), _colour(0.2, 0.4, 0.95, pictures), folds)
    u, v = local(landmarks[:, 2])
    gleam = soft(0.09 * size - ((u + 0.1 * size).square() + (v + 0.1 * size).square()).sqrt())[:, None]
    drawn = {
        1: _mix(pictures, _colour(0.03, 0.03, 0.05, pictures), glasses[:, None]),
        2: _mix(_mix(pictures, red, crown[:, None]), dark_red, brim[:, None]),
        3: _mix(pictures, blue * (1 - 0.3 * shade), band[:, None]),
        4: _mix(
            _mix(pictures, _colour(0.9, 0.05, 0.05, pictures), nose[:, None]),
            pictures * 0 + 1,
            gleam * nose[:, None],
        ),
    }
    for index, picture in drawn.items():
        pictures = torch.where((which == index).to(pictures.device)[:, None, None, None], picture, pictures)
    return pictures


def _style(pictures: Tensor, which: Tensor) -> Tensor:
    grey = (pictures * _colour(0.299, 0.587, 0.114, pictures)).sum(1, keepdim=True)
    blurred = F.avg_pool2d(F.pad(grey, (3, 3, 3, 3), mode="replicate"), 7, 1)
    strokes = (1 - 2.2 * (1 - grey / blurred.clamp_min(0.05)).clamp(0, 1)) * (0.75 + 0.25 * grey)
    sepia = grey * _colour(1.05, 0.85, 0.6, pictures) + _colour(0.06, 0.03, 0.0, pictures)
    vivid = _mix(grey.expand_as(pictures), pictures, torch.tensor(2.2, device=pictures.device)).clamp(0, 1)
    poster = (torch.floor(vivid * 3.999) / 3).clamp(0, 1)
    looks = torch.stack([s.expand_as(pictures) for s in (pictures, grey, sepia, strokes, poster)], 1)
    return looks[torch.arange(len(pictures), device=pictures.device), which.to(pictures.device)]
