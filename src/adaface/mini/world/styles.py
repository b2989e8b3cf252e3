"""Styles of a whole picture. Shapes: B pictures of 64 pixels; grey: (B, 1, 64, 64)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from adaface.mini.world.painting import choose, colour, mix


def black_and_white(pictures: Tensor, grey: Tensor) -> Tensor:
    """Luminance alone: (B, 1, 64, 64)."""
    return grey


def sepia(pictures: Tensor, grey: Tensor) -> Tensor:
    """Luminance in brown: (B, 3, 64, 64)."""
    return grey * colour(1.05, 0.85, 0.6, grey) + colour(0.06, 0.03, 0.0, grey)


def pencil(pictures: Tensor, grey: Tensor) -> Tensor:
    """Dark strokes where it is darker than around, on paper: (B, 1, 64, 64)."""
    blurred = F.avg_pool2d(F.pad(grey, (3, 3, 3, 3), mode="replicate"), 7, 1)
    return (1 - 2.2 * (1 - grey / blurred.clamp_min(0.05)).clamp(0, 1)) * (0.75 + 0.25 * grey)


def pop_art(pictures: Tensor, grey: Tensor) -> Tensor:
    """Vivid, in four steps of each channel: (B, 3, 64, 64)."""
    vivid = mix(grey.expand_as(pictures), pictures, torch.tensor(2.2, device=pictures.device)).clamp(0, 1)
    return (torch.floor(vivid * 3.999) / 3).clamp(0, 1)


def blueprint(pictures: Tensor, grey: Tensor) -> Tensor:
    """Light lines and soft light on blue: (B, 3, 64, 64)."""
    light = (0.75 * edges(grey) + 0.35 * grey).clamp(0, 1)
    return mix(colour(0.05, 0.15, 0.55, grey), colour(0.85, 0.95, 1.0, grey), light)


def neon(pictures: Tensor, grey: Tensor) -> Tensor:
    """Glowing lines, cyan in the light and pink in the dark, on black: (B, 3, 64, 64)."""
    glow = mix(colour(1.0, 0.1, 0.75, grey), colour(0.1, 1.0, 0.9, grey), grey)
    return glow * (1.6 * edges(grey) + 0.12 * grey).clamp(0, 1)


def oil_painting(pictures: Tensor, grey: Tensor) -> Tensor:
    """Vivid strokes: lights spread, then darks, in warm colours: (B, 3, 64, 64)."""
    spread = F.max_pool2d(F.pad(pictures, (1, 1, 1, 1), mode="replicate"), 3, 1)
    strokes = -F.max_pool2d(F.pad(-spread, (1, 1, 1, 1), mode="replicate"), 3, 1)
    tone = (strokes * colour(0.299, 0.587, 0.114, grey)).sum(1, keepdim=True)
    vivid = mix(tone.expand_as(strokes), strokes, torch.tensor(2.0, device=grey.device))
    return (vivid * colour(1.15, 1.0, 0.7, grey)).clamp(0, 1)


def thermal(pictures: Tensor, grey: Tensor) -> Tensor:
    """Dark is blue, then violet, orange, and bright is yellow: (B, 3, 64, 64)."""
    red = (2.2 * grey - 0.4).clamp(0, 1)
    green = (2 * grey - 0.9).clamp(0, 1)
    blue = (0.35 + 1.6 * grey - 3.2 * (grey - 0.35).clamp_min(0)).clamp(0, 1)
    return torch.cat([red, green, blue], 1)


def edges(grey: Tensor) -> Tensor:
    """How steep the luminance is at each pixel, in 0..1: (B, 1, 64, 64)."""
    padded = F.pad(grey, (1, 1, 1, 1), mode="replicate")
    across = padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]
    down = padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]
    return (2.5 * (across.square() + down.square() + 1e-8).sqrt()).clamp(0, 1)


LOOKS = {
    "black and white photo": black_and_white,
    "sepia photo": sepia,
    "pencil sketch": pencil,
    "pop art poster": pop_art,
    "blueprint": blueprint,
    "neon drawing": neon,
    "oil painting": oil_painting,
    "thermal photo": thermal,
}


def stylise(pictures: Tensor, which: Tensor) -> Tensor:
    """Each picture in style which[b]; 0 leaves it as it is.

    pictures: (B, 3, 64, 64) in 0..1. which: (B,), 1 + an index into LOOKS. Returns (B, 3, 64, 64).
    """
    grey = (pictures * colour(0.299, 0.587, 0.114, pictures)).sum(1, keepdim=True)
    return choose([pictures, *(style(pictures, grey) for style in LOOKS.values())], which)
