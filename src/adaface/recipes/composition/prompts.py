"""The four prompts of a compositional step -> text features. Letters: B, T positions, D wide, K rows.

A UNet that is to teach reads plain words: "a pencil sketch of a woman in a meadow". Where features are
compared position by position, the class word's row is spread over the person's K positions (times
1 / sqrt(K), as the authors do), so that all later words stand where they do in the person's.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from adaface.errors import ConfigError
from adaface.recipes.base.denoising import SUBJECT, Prompts
from adaface.recipes.composition.grammar import Composition, with_article
from adaface.text.tokens import framed_ids, piece_ids

COMPOSED_WEIGHT = 0.25  # of a composition's own positions, 1 being the person's (AdaFace, prompt delta loss)


@dataclass(frozen=True)
class Spoken:
    """Text features (B, T, D) of prompts, and where in them the person or the class word stands, (B, T)."""

    context: Tensor
    places: Tensor

    def __getitem__(self, rows: Tensor | slice) -> "Spoken":
        """The same of some of the prompts."""
        return Spoken(self.context[rows], self.places[rows])


@dataclass(frozen=True)
class Four:
    """The four prompts of a step: subject and class, single and composed."""

    subject_single: Spoken
    subject_composed: Spoken
    class_single: Spoken
    class_composed: Spoken

    def __getitem__(self, rows: Tensor | slice) -> "Four":
        """The same of some of the samples."""
        return Four(*(getattr(self, each.name)[rows] for each in fields(self)))


def with_subjects(prompts: Prompts, texts: Sequence[str], rows: Tensor) -> Spoken:
    """Texts with one "{subject}" each, and rows (B, K, D) for it; gradients reach the rows.

    Raises ConfigError: a text is too long.
    """
    context = prompts(texts, rows)
    starts = torch.tensor([_start(prompts, text) for text in texts], device=context.device)
    return Spoken(context, _within(starts, starts + rows.shape[1], context.shape[1]))


@torch.no_grad()
def with_words(prompts: Prompts, texts: Sequence[str], words: Sequence[str]) -> Spoken:
    """The same texts with "a woman" where the person would stand, as plain words. Raises ConfigError: too
    long.
    """
    text, tokenizer = prompts.text, prompts.tokenizer
    rows, starts, ends = [], [], []
    for prompt, word in zip(texts, words, strict=True):
        before, _, after = prompt.partition(SUBJECT)
        head, noun, tail = (piece_ids(tokenizer, piece) for piece in (before, with_article(word), after))
        if 2 + len(head) + len(noun) + len(tail) > text.max_length:
            raise ConfigError(f"{prompt!r} with {word!r}: more than {text.max_length} text positions")
        rows.append(framed_ids(tokenizer, [*head, *noun, *tail], text.max_length))
        starts.append(1 + len(head))
        ends.append(1 + len(head) + len(noun))
    ids, first, last = (torch.tensor(values, device=text.device) for values in (rows, starts, ends))
    context = text(text.embed_tokens(ids), layer_weights=prompts.layer_weights)
    return Spoken(context, _within(first, last, context.shape[1]))


def four_prompts(
    prompts: Prompts,
    compositions: Sequence[Composition],
    words: Sequence[str],
    anchors: Tensor,
    subjects: Tensor,
) -> Four:
    """What the UNet reads. anchors, subjects: rows (B, K, D) for the single and for the composed prompt."""
    count = len(compositions)
    texts = [c.single for c in compositions] + [c.composed for c in compositions]
    persons = with_subjects(prompts, texts, torch.cat([anchors, subjects]))
    classes = with_words(prompts, texts, [*words, *words])
    return Four(persons[:count], persons[count:], classes[:count], classes[count:])


@torch.no_grad()
def spread_words(prompts: Prompts, words: Sequence[str], count: int) -> Tensor:
    """Class words as rows (B, K, D): each word's mean row times 1 / sqrt(K), K times. Source: AdaFace, class
    embeddings at the subject's places; docs/method.md.
    """
    text = prompts.text
    rows = [
        text.embed_tokens(torch.tensor([piece_ids(prompts.tokenizer, word)], device=text.device))[0].mean(0)
        for word in words
    ]
    return torch.stack(rows)[:, None].expand(-1, count, -1) / count**0.5


def side_by_side(
    prompts: Prompts,
    compositions: Sequence[Composition],
    words: Sequence[str],
    four: Four,
    count: int,
) -> tuple[tuple[Tensor, Tensor, Tensor, Tensor], Tensor]:
    """Features (B, T, D) of the four prompts, each position beside its counterpart, and weights (B, T).

    four: what the UNet reads; the person's prompts are not encoded anew. count: K. The single prompts are
    moved along until the person stands where the composed ones have them. Weights: 1 for the person's places,
    1/4 for a composition's words behind them; what stands before them has read neither.
    """
    person, here = four.subject_single, four.subject_composed
    single, composed = [c.single for c in compositions], [c.composed for c in compositions]
    spread = spread_words(prompts, words, count)
    with torch.no_grad():
        both = with_subjects(prompts, single + composed, torch.cat([spread, spread]))
    alone, other = both[: len(single)], both[len(single) :]
    shift = here.places.int().argmax(1) - person.places.int().argmax(1)  # (B,)
    length = here.context.shape[1]
    wanted = (torch.arange(length, device=shift.device) - shift[:, None]).clamp(0, length - 1)  # (B, T)
    index = wanted[..., None].expand_as(person.context)
    moved = (person.context.gather(1, index), alone.context.gather(1, index))
    ends = [_end(prompts, text, count) for text in composed]
    starts = here.places.int().argmax(1)
    behind = _within(starts, torch.tensor(ends, device=starts.device), length)
    weight = torch.where(here.places, 1.0, COMPOSED_WEIGHT) * behind
    return (moved[0], here.context, moved[1], other.context), weight


def _start(prompts: Prompts, text: str) -> int:
    return 1 + len(piece_ids(prompts.tokenizer, text.partition(SUBJECT)[0]))


def _end(prompts: Prompts, text: str, count: int) -> int:
    return _start(prompts, text) + count + len(piece_ids(prompts.tokenizer, text.partition(SUBJECT)[2]))


def _within(starts: Tensor, ends: Tensor, length: int) -> Tensor:
    """(B, T) bool: from starts (B,) to before ends (B,)."""
    places = torch.arange(length, device=starts.device)
    return (places >= starts[:, None]) & (places < ends[:, None])
