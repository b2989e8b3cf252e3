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
FRAMINGS = ("", "close-up", "from afar")
USUAL, CLOSE_UP, FROM_AFAR = range(3)
OUT_OF_CLOSE_UPS = (  # by more than 85 %: captions that name them would not be true (docs/mini.md)
    "wearing a red cap",
    "wearing a blue scarf",
    "wearing a gold crown",
    "wearing white headphones",
)
PLAIN_BACKGROUNDS, NO_ACCESSORIES, PLAIN_STYLES = 0.3, 0.45, 0.5  # shares of the pictures
KINDS = ((BACKGROUNDS, PLAIN_BACKGROUNDS), (ACCESSORIES, NO_ACCESSORIES), (STYLES, PLAIN_STYLES))
PAIRS = ("ba", "as", "bs")  # of which kinds pairs are kept apart
FIRST = 4  # of each kind; the first weights of all had seen every pair of these


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a batch of pictures shows; each (B,) int64, an index into the tuple of its name, 0 = nothing."""

    background: Tensor
    accessory: Tensor
    style: Tensor
    class_word: Tensor
    framing: Tensor

    def __len__(self) -> int:
        return len(self.background)

    def take(self, rows: Tensor) -> "Facts":
        """The facts of these rows, in this order."""
        return Facts(**{name: getattr(self, name)[rows] for name in self.__dataclass_fields__})


def unseen(kinds: str, first: int, second: int) -> bool:
    """Whether a pair never occurs in training: a fifth of all pairs of two kinds, spread evenly.

    kinds: two of the letters b(ackground), a(ccessory), s(tyle), in that order. first, second: indices into
    their tuples; with 0 (nothing) there is no pair. Pairs of the first four of both kinds are all seen.
    """
    if not first or not second or (first <= FIRST and second <= FIRST):
        return False
    return (first + second + (kinds == "bs")) % 4 == 0


def unseen_pairs() -> list[tuple[str, str]]:
    """The names of all pairs that never occur in training."""
    kinds = {"b": BACKGROUNDS, "a": ACCESSORIES, "s": STYLES}
    return [
        (one, other)
        for pair in PAIRS
        for i, one in enumerate(kinds[pair[0]])
        for j, other in enumerate(kinds[pair[1]])
        if unseen(pair, i, j)
    ]


def seen_combinations() -> Tensor:
    """Which combinations training may show: (backgrounds, accessories, styles) bool."""
    sizes = {"b": len(BACKGROUNDS), "a": len(ACCESSORIES), "s": len(STYLES)}
    allowed = torch.ones(*sizes.values(), dtype=torch.bool)
    for pair in PAIRS:
        one, other = (sizes[kind] for kind in pair)
        bad = torch.tensor([[unseen(pair, i, j) for j in range(other)] for i in range(one)])
        allowed &= ~bad.unsqueeze("bas".index(next(kind for kind in "bas" if kind not in pair)))
    return allowed


def draw_facts(
    class_word: Tensor, framing: Tensor, generator: Generator, *, all_pairs: bool = False
) -> Facts:
    """Random facts for a batch of crops whose class words (B,) and framings (B,) are known.

    Close-ups have no accessories that they would not show. all_pairs: also those that training never shows.
    """
    shares = [
        torch.full((len(names),), (1 - plain) / (len(names) - 1)).index_fill_(0, torch.tensor([0]), plain)
        for names, plain in KINDS
    ]
    weights = torch.einsum("b,a,s->bas", *shares)
    if not all_pairs:
        weights = weights * seen_combinations()
    chosen = torch.multinomial(weights.flatten(), len(class_word), replacement=True, generator=generator)
    close = framing == CLOSE_UP
    if count := int(close.sum()):
        weights[:, [ACCESSORIES.index(words) for words in OUT_OF_CLOSE_UPS]] = 0
        chosen[close] = torch.multinomial(weights.flatten(), count, replacement=True, generator=generator)
    background, accessory, style = torch.unravel_index(chosen, weights.shape)
    return Facts(
        background=background, accessory=accessory, style=style, class_word=class_word, framing=framing
    )


def compose(crops: Tensor, masks: Tensor, landmarks: Tensor, facts: Facts, generator: Generator) -> Tensor:
    """Draw what the facts say.

    crops: (B, 3, 64, 64) in 0..1. masks: (B, 1, 64, 64) in 0..1, the person. landmarks: (B, 5, 2) in pixels.
    Returns (B, 3, 64, 64) in 0..1.
    """
    pictures = put_before_background(crops, masks, facts.background, generator)
    pictures = put_on(pictures, landmarks, facts.accessory)
    return stylise(pictures, facts.style).clamp(0, 1)
