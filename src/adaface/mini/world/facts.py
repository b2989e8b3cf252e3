"""The small world: real faces before backgrounds, with accessories, in styles. Shapes: B, 64 pixels.

A picture is a pure function of (crop, mask, landmarks, facts, generator), a caption one of (facts, phrasing).
Both are exact: what the caption says is what was drawn.
"""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from adaface.mini.world.accessories import WORN, put_on
from adaface.mini.world.backgrounds import SCENES, put_before_background
from adaface.mini.world.styles import LOOKS, stylise

BACKGROUNDS = ("", *SCENES)
ACCESSORIES = ("", *WORN)
STYLES = ("photo", *LOOKS)
CLASS_WORDS = ("person", "man", "woman", "young man", "young woman", "old man", "old woman")
PLAIN_BACKGROUNDS, NO_ACCESSORIES, PLAIN_STYLES = 0.35, 0.5, 0.6  # shares of the pictures


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a batch of pictures shows; each (B,) int64, an index into the tuple of its name, 0 = nothing."""

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
        background=choose(len(BACKGROUNDS), PLAIN_BACKGROUNDS),
        accessory=choose(len(ACCESSORIES), NO_ACCESSORIES),
        style=choose(len(STYLES), PLAIN_STYLES),
        class_word=class_word,
        close=close,
    )


def compose(crops: Tensor, masks: Tensor, landmarks: Tensor, facts: Facts, generator: Generator) -> Tensor:
    """Draw what the facts say.

    crops: (B, 3, 64, 64) in 0..1. masks: (B, 1, 64, 64) in 0..1, the person. landmarks: (B, 5, 2) in pixels.
    Returns (B, 3, 64, 64) in 0..1.
    """
    pictures = put_before_background(crops, masks, facts.background, generator)
    pictures = put_on(pictures, landmarks, facts.accessory)
    return stylise(pictures, facts.style).clamp(0, 1)
