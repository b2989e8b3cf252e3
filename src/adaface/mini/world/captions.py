"""Captions of the small world: facts -> words, in several phrasings. Shapes: B, G=16 look words."""

from collections.abc import Sequence

import torch
from torch import Generator

from adaface.mini.world.facts import (
    ACCESSORIES,
    BACKGROUNDS,
    CLASS_WORDS,
    CLOSE_UP,
    FRAMINGS,
    FROM_AFAR,
    STYLES,
    Facts,
)
from adaface.mini.world.look import CODES, look_words

PHRASINGS = (
    "{a_style} of {subject}{accessory}{background}",
    "{style} of {subject}{background}{accessory}",
    "{a_style} of {subject}, {accessory}, {background}",
    "{subject}{accessory}{background}, {style}",
    "{background}, {a_style} of {subject}{accessory}",
    "{a_style}, {subject}{background}{accessory}",
    "{style} of {subject}, {background}, {accessory}",
)
TEMPLATE_WORDS = "photo of a id person , face portrait picture the an and with"
EXTRA_WORDS = "boy girl child guy lady smiling close-up wearing standing looking"


def caption(facts: Facts, row: int, looks: Sequence[int] | None, generator: Generator) -> str:
    """The caption of one picture; it says all facts that are not plain.

    looks: codes (G,) to name the look before the class word; None leaves it unnamed.
    Half of the captions that could say man or woman say person.
    """
    draw = torch.rand(6, generator=generator).tolist()
    class_word = CLASS_WORDS[int(facts.class_word[row])] if draw[0] < 0.5 else "person"
    words = [class_word]
    if looks is not None:
        named = name_look(looks, draw[1], generator)
        needs_noun = len(named) < len(looks) or draw[4] >= 0.3
        words = named + words if needs_noun else named
    style = STYLES[int(facts.style[row])]
    framing = int(facts.framing[row])
    if framing == CLOSE_UP:
        style = f"{FRAMINGS[CLOSE_UP]} {style}"
    pattern = PHRASINGS[int(draw[2] * len(PHRASINGS))]
    subject = " ".join(words)
    text = pattern.format(
        style=style,
        a_style=with_article(style),
        subject=subject if draw[3] < 0.3 and "of {subject}" not in pattern else with_article(subject),
        accessory=_part(ACCESSORIES[int(facts.accessory[row])], pattern, "{accessory}"),
        background=_part(BACKGROUNDS[int(facts.background[row])], pattern, "{background}"),
    )
    if framing == FROM_AFAR:
        afar = FRAMINGS[FROM_AFAR]
        text = f"{text}, {afar}" if draw[5] < 0.5 else f"{afar}, {text}"
    return tidy(text)


def name_look(looks: Sequence[int], draw: float, generator: Generator) -> list[str]:
    """All 16 words of a look in most captions, else a random subset in their order."""
    words = look_words()
    chosen = [words[g * CODES + int(code)] for g, code in enumerate(looks)]
    if draw < 0.8:
        return chosen
    keep = torch.rand(len(chosen), generator=generator) < torch.rand(1, generator=generator)
    return [word for word, kept in zip(chosen, keep.tolist(), strict=True) if kept]


def plain_caption(facts: Facts, row: int) -> str:
    """The one canonical caption of a picture's facts, class word included, for retrieval."""
    return describe(facts, row, with_article(CLASS_WORDS[int(facts.class_word[row])]))


def describe(facts: Facts, row: int, subject: str) -> str:
    """The canonical prompt for facts, of anybody: "a photo of <alice> wearing a red cap in a meadow"."""
    parts = (
        f"{with_article(STYLES[int(facts.style[row])])} of {subject}",
        ACCESSORIES[int(facts.accessory[row])],
        BACKGROUNDS[int(facts.background[row])],
    )
    return " ".join(part for part in parts if part)


def with_article(words: str) -> str:
    """The words with "a" or "an" before them: "old man" -> "an old man"."""
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def vocabulary() -> list[str]:
    """Every word that is to be one token, template words first."""
    sentences = (TEMPLATE_WORDS, *CLASS_WORDS, *STYLES, *BACKGROUNDS, *ACCESSORIES, *FRAMINGS, EXTRA_WORDS)
    words = [word for sentence in sentences for word in sentence.split()]
    return list(dict.fromkeys(words + look_words()))


def tidy(text: str) -> str:
    """One space between words, no comma without words beside it."""
    parts = [" ".join(part.split()) for part in text.split(",")]
    return ", ".join(part for part in parts if part)


def _part(words: str, pattern: str, slot: str) -> str:
    joined = ", " + slot in pattern or pattern.startswith(slot)
    return words if joined or not words else f" {words}"
