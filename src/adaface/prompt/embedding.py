"""A prompt and its subjects -> prompt embeddings. Shapes: T text positions, K rows of a subject, D width.

The subjects' rows go in where the tokenizer's words would; neither tokenizer nor text encoder is changed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from adaface.errors import PromptError, ShapeError
from adaface.identity.names import slot
from adaface.prompt.template import Slot, Template, parse
from adaface.text.clip import TextEncoder
from adaface.text.tokens import framed_ids, pad_id, piece_ids


@dataclass(frozen=True)
class PromptEmbedding:
    """What a diffusers pipeline takes as `prompt_embeds`, and how it came about."""

    prompt_embeds: Tensor  # (1, T, D)
    prompt: str  # the one used
    note: str | None  # what was done to the prompt given, or left out
    truncated: str  # words that had no room, "" if all had
    places: Mapping[str, tuple[slice, ...]]  # text positions of each subject's rows


def embed_prompt(
    text_encoder: TextEncoder,
    tokenizer: PreTrainedTokenizerBase,
    prompt: str,
    subjects: Mapping[str, Tensor],
    *,
    layer_weights: Sequence[float] = (1.0,),
    max_length: int | None = None,
) -> PromptEmbedding:
    """Encode a prompt in which subjects stand as <name>; gradients reach the subjects' rows.

    subjects: name without brackets -> (K, D); a sole one is placed if the prompt does not name it (see
    `parse`). layer_weights: of the text encoder's last layers. max_length: T, default: all its positions;
    words behind it are cut and reported, subjects never are. Raises PromptError: an unknown subject, or no
    room for one; ShapeError: rows of another width than the text encoder's, or more positions than it has.
    """
    length = text_encoder.max_length if max_length is None else max_length
    if not 3 <= length <= text_encoder.max_length:
        raise ShapeError(
            f"max_length={length}: this text encoder has 3 to {text_encoder.max_length} positions"
        )
    _check_rows(subjects, text_encoder.width)
    template = parse(prompt, subjects, own_words(tokenizer))
    ids, places = _lay_out(template, tokenizer, {name: len(rows) for name, rows in subjects.items()})
    _check_room(template, places, length)
    truncated = tokenizer.decode(ids[length - 2 :]).strip()
    device = text_encoder.device
    input_ids = torch.tensor([framed_ids(tokenizer, ids[: length - 2], length)], device=device)
    rows = text_encoder.embed_tokens(input_ids).clone()  # (1, T, D)
    for name, spans in places.items():
        for span in spans:
            rows[0, span] = subjects[name].to(rows)
    features = text_encoder(rows, layer_weights=layer_weights)
    return PromptEmbedding(features, template.prompt, _note(template, truncated, length), truncated, places)


def own_words(tokenizer: PreTrainedTokenizerBase) -> set[str]:
    """Words that were added to a tokenizer, such as those of textual inversions; <they> are no people."""
    return set(tokenizer.get_added_vocab()) - set(tokenizer.all_special_tokens)


def _check_rows(subjects: Mapping[str, Tensor], width: int) -> None:
    for name, rows in subjects.items():
        if rows.ndim != 2 or rows.shape[1] != width or not len(rows):
            raise ShapeError(
                f"{slot(name)} is {tuple(rows.shape)}, this text encoder takes (K, {width}): "
                "use an identity that was made for it"
            )


def _lay_out(
    template: Template, tokenizer: PreTrainedTokenizerBase, sizes: Mapping[str, int]
) -> tuple[list[int], dict[str, tuple[slice, ...]]]:
    """Token ids without start and end, pads at the subjects' places; text positions (start token = 0) of
    these.
    """
    ids: list[int] = []
    places: dict[str, tuple[slice, ...]] = {}
    for part in template.parts:
        if isinstance(part, Slot):
            start, count = len(ids) + 1, sizes[part.name]
            places[part.name] = (*places.get(part.name, ()), slice(start, start + count))
            ids += [pad_id(tokenizer)] * count
        else:
            ids += piece_ids(tokenizer, part)
    return ids, places


def _check_room(template: Template, places: Mapping[str, Sequence[slice]], length: int) -> None:
    for name, spans in places.items():
        if (over := spans[-1].stop - (length - 1)) > 0:
            raise PromptError(
                f"prompt {template.prompt!r}: no room for the {spans[-1].stop - spans[-1].start} rows of "
                f"{slot(name)} within {length} positions. Move it forward, or cut {over} tokens before it"
            )


def _note(template: Template, truncated: str, length: int) -> str | None:
    cut = f"cut at {length} positions, left out: {truncated!r}" if truncated else None
    return "; ".join(filter(None, (template.note, cut))) or None
