"""Accessories on a face, placed by its landmarks. Shapes: B pictures of 64 pixels, 5 landmarks."""

from dataclasses import dataclass

import torch
from torch import Tensor

from adaface.mini.world.geometry import disc, grid
from adaface.mini.world.painting import colour, mix, soft


@dataclass(frozen=True, kw_only=True)
class FaceFrame:
    """A face's own directions and sizes. landmarks: (B, 5, 2) pixels of the picture.

    eyes: (B, 2), midway between them. right, down: (B, 2) unit vectors along and across the eye line.
    apart: (B, 1) pixels between the eyes. drop: (B, 1) pixels from the eye line down to the mouth.
    """

    landmarks: Tensor
    eyes: Tensor
    right: Tensor
    down: Tensor
    apart: Tensor
    drop: Tensor

    @classmethod
    def of(cls, landmarks: Tensor) -> "FaceFrame":
        """The frame of landmarks (B, 5, 2); the eyes must not coincide."""
        eyes, mouth = landmarks[:, :2].mean(1), landmarks[:, 3:].mean(1)
        across = landmarks[:, 1] - landmarks[:, 0]
        apart = across.norm(dim=-1, keepdim=True)
        right = across / apart
        down = torch.stack([-right[:, 1], right[:, 0]], -1)
        drop = ((mouth - eyes) * down).sum(-1, keepdim=True)
        return cls(landmarks=landmarks, eyes=eyes, right=right, down=down, apart=apart, drop=drop)

    @property
    def unit(self) -> Tensor:
        """Pixels between the eyes, to go with maps of pixels: (B, 1, 1)."""
        return self.apart[..., None]

    def below_eyes(self, drops: float) -> Tensor:
        """The point (B, 2) so many times eye line to mouth below the eyes."""
        return self.eyes + self.down * self.drop * drops

    def around(self, origin: Tensor) -> tuple[Tensor, Tensor]:
        """Pixels along and across the face from origin (B, 2): two maps (B, 64, 64)."""
        x, y = grid(origin.device)
        dx, dy = x - origin[:, 0, None, None], y - origin[:, 1, None, None]
        right, down = self.right[..., None, None], self.down[..., None, None]
        return dx * right[:, 0] + dy * right[:, 1], dx * down[:, 0] + dy * down[:, 1]

    def ellipse(self, origin: Tensor, wide: float, high: float) -> Tensor:
        """A soft upright ellipse at origin (B, 2), radii in distances of the eyes: (B, 64, 64) in 0..1."""
        u, v = self.around(origin)
        radii = torch.cat([wide * self.apart, high * self.apart], -1)
        return disc(u, v, torch.zeros_like(origin), radii)


def sunglasses(pictures: Tensor, face: FaceFrame) -> Tensor:
    """Two dark glasses and a bridge: (B, 3, 64, 64)."""
    lower = 0.08 * face.apart * face.down
    left, right = (face.ellipse(face.landmarks[:, i] + lower, 0.5, 0.42) for i in (0, 1))
    u, v = face.around(face.eyes)
    bridge = soft(0.07 * face.unit - v.abs()) * soft(1.1 * face.unit - u.abs())
    dark = torch.maximum(torch.maximum(left, right), bridge)
    return mix(pictures, colour(0.03, 0.03, 0.05, pictures), dark[:, None])


def red_cap(pictures: Tensor, face: FaceFrame) -> Tensor:
    """Half an ellipse above the brow, and a darker brim: (B, 3, 64, 64)."""
    brow = face.below_eyes(-0.62)
    crown = face.ellipse(brow, 1.32, 1.25) * soft(-face.around(brow)[1])
    brim = face.ellipse(brow, 1.45, 0.16)
    capped = mix(pictures, colour(0.85, 0.08, 0.08, pictures), crown[:, None])
    return mix(capped, colour(0.55, 0.02, 0.05, pictures), brim[:, None])


def blue_scarf(pictures: Tensor, face: FaceFrame) -> Tensor:
    """Everything below a curve under the chin, in folds: (B, 3, 64, 64)."""
    u, v = face.around(face.below_eyes(1.78))
    band = soft(v + 0.16 * u.square() / face.unit) * soft(1.3 * face.unit - u.abs())
    shade = (v / face.unit).clamp(0, 1)[:, None]
    folds = 0.5 + 0.5 * torch.sin(u * 0.9 + v * 0.6)[:, None]
    blue = mix(colour(0.1, 0.2, 0.75, pictures), colour(0.2, 0.4, 0.95, pictures), folds)
    return mix(pictures, blue * (1 - 0.3 * shade), band[:, None])


def clown_nose(pictures: Tensor, face: FaceFrame) -> Tensor:
    """A red ball with a gleam: (B, 3, 64, 64)."""
    tip = face.landmarks[:, 2]
    ball = face.ellipse(tip, 0.3, 0.3)[:, None]
    u, v = face.around(tip)
    from_gleam = ((u + 0.1 * face.unit).square() + (v + 0.1 * face.unit).square()).sqrt()
    gleam = soft(0.09 * face.unit - from_gleam)[:, None]
    red = mix(pictures, colour(0.9, 0.05, 0.05, pictures), ball)
    return mix(red, torch.ones_like(pictures), gleam * ball)


def gold_crown(pictures: Tensor, face: FaceFrame) -> Tensor:
    """A band above the brow with five points: (B, 3, 64, 64)."""
    u, v = face.around(face.below_eyes(-0.95))
    teeth = (u / face.unit * 1.7) % 1 - 0.5
    top = -0.25 * face.unit - (1 - 2 * teeth.abs()) * 0.5 * face.unit
    crown = soft(v - top) * soft(0.2 * face.unit - v) * soft(1.2 * face.unit - u.abs())
    gold = mix(colour(1.0, 0.85, 0.25, pictures), colour(0.8, 0.55, 0.05, pictures), _band(v, face, 0.2))
    return mix(pictures, gold, crown[:, None])


def white_headphones(pictures: Tensor, face: FaceFrame) -> Tensor:
    """An arch over the head and a white shell on each ear: (B, 3, 64, 64)."""
    u, v = face.around(face.below_eyes(0.25))
    radius = (u.square() + (0.8 * v).square()).sqrt()
    arch = soft(0.13 * face.unit - (radius - 1.42 * face.unit).abs()) * soft(-v)
    ears = [face.below_eyes(0.35) + side * 1.4 * face.apart * face.right for side in (-1, 1)]
    shells = torch.maximum(*(face.ellipse(ear, 0.26, 0.42) for ear in ears))
    inner = torch.maximum(*(face.ellipse(ear, 0.12, 0.22) for ear in ears))
    worn = mix(pictures, colour(0.96, 0.96, 0.97, pictures), torch.maximum(arch, shells)[:, None])
    return mix(worn, colour(0.15, 0.15, 0.2, pictures), inner[:, None])


def black_moustache(pictures: Tensor, face: FaceFrame) -> Tensor:
    """Two drooping wings between nose and mouth: (B, 3, 64, 64)."""
    middle = 0.55 * face.landmarks[:, 2] + 0.45 * face.landmarks[:, 3:].mean(1)
    u, v = face.around(middle)
    bent = v - 0.35 * u.square() / face.unit + 0.08 * face.unit
    wings = soft(0.14 * face.unit - bent.abs()) * soft(0.68 * face.unit - u.abs())
    return mix(pictures, colour(0.04, 0.03, 0.03, pictures), wings[:, None])


def green_headband(pictures: Tensor, face: FaceFrame) -> Tensor:
    """A band across the brow with a lighter line: (B, 3, 64, 64)."""
    u, v = face.around(face.below_eyes(-0.7))
    bent = v - 0.12 * u.square() / face.unit
    band = soft(0.2 * face.unit - bent.abs()) * soft(1.25 * face.unit - u.abs())
    line = soft(0.05 * face.unit - bent.abs())[:, None]
    green = mix(colour(0.05, 0.55, 0.2, pictures), colour(0.85, 0.95, 0.3, pictures), line)
    return mix(pictures, green, band[:, None])


def _band(along: Tensor, face: FaceFrame, reach: float) -> Tensor:
    """0 down to the origin, 1 from `reach` distances of the eyes below it: (B, 1, 64, 64)."""
    return (along / (reach * face.unit)).clamp(0, 1)[:, None]


WORN = {
    "wearing sunglasses": sunglasses,
    "wearing a red cap": red_cap,
    "wearing a blue scarf": blue_scarf,
    "with a red clown nose": clown_nose,
    "wearing a gold crown": gold_crown,
    "wearing white headphones": white_headphones,
    "with a black moustache": black_moustache,
    "wearing a green headband": green_headband,
}


def put_on(pictures: Tensor, landmarks: Tensor, which: Tensor) -> Tensor:
    """Each picture with accessory which[b]; 0 leaves it as it is.

    pictures: (B, 3, 64, 64) in 0..1. landmarks: (B, 5, 2) in their pixels. which: (B,), 1 + an index into
    WORN.
    """
    face = FaceFrame.of(landmarks)
    dressed = pictures
    for index, paint in enumerate(WORN.values(), start=1):
        wears_it = (which == index).to(pictures.device)[:, None, None, None]
        dressed = torch.where(wears_it, paint(pictures, face), dressed)
    return dressed
