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


LOOKS = {
    "black and white photo": black_and_white,
    "sepia photo": sepia,
    "pencil sketch": pencil,
    "pop art poster": pop_art,
}


def stylise(pictures: Tensor, which: Tensor) -> Tensor:
    """Each picture in style which[b]; 0 leaves it as it is.

    pictures: (B, 3, 64, 64) in 0..1. which: (B,), 1 + an index into LOOKS. Returns (B, 3, 64, 64).
    """
    grey = (pictures * colour(0.299, 0.587, 0.114, pictures)).sum(1, keepdim=True)
    return choose([pictures, *(style(pictures, grey) for style in LOOKS.values())], which)
