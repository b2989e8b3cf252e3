"""Pictures of a run as it goes: the same people, prompts and seeds each time, one grid with the photos."""

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from adaface.pipelines.drawing import Drawing, draw
from adaface.pipelines.settings import Settings
from adaface.prompt.embedding import embed_prompt
from adaface.recipes.config import SampleConfig
from adaface.spec import DEFAULT_SUBJECT
from adaface.text.clip import TextEncoder

LABEL_PX, GAP_PX, MIN_TILE_PX = 16, 4, 128


def settings_of(config: SampleConfig, stack: Settings) -> Settings:
    """A stack's way of drawing, with the grid's steps and guidance. Raises ConfigError: out of range."""
    return stack.override({"steps": config.steps, "guidance_scale": config.guidance})


def draw_people(
    pipe: Any, subjects: Sequence[Tensor], prompts: Sequence[str], settings: Settings, seed: int
) -> list[Image.Image]:
    """A picture for each person (K, D) under each prompt, people outer, through the stock pipeline.

    All pictures have the same seed: what differs is the person and the words.
    """
    text = TextEncoder(pipe.text_encoder)

    def features(prompt: str, rows: Tensor | None) -> Tensor:
        named = {} if rows is None else {DEFAULT_SUBJECT: rows}
        weights = settings.layer_weights
        return embed_prompt(text, pipe.tokenizer, prompt, named, layer_weights=weights).prompt_embeds

    with torch.no_grad():
        embeds = [features(prompt, rows) for rows in subjects for prompt in prompts]
        negative = features(settings.negative_prompt or "", None)
        plan = Drawing(embeds, negative, [seed] * len(embeds), settings)
        images, _ = draw(pipe, plan)
    return list(images)


def grid(photos: Sequence[Image.Image], drawn: Sequence[Image.Image], prompts: Sequence[str]) -> Image.Image:
    """One row a person: the photo, then the picture of each prompt; the prompts stand above."""
    side = max(drawn[0].width, MIN_TILE_PX)
    columns = 1 + len(prompts)
    wide, high = columns * (side + GAP_PX) - GAP_PX, LABEL_PX + len(photos) * (side + GAP_PX) - GAP_PX
    sheet = Image.new("RGB", (wide, high), "white")
    pen = ImageDraw.Draw(sheet)
    for column, words in enumerate(["photo", *prompts]):
        pen.text((column * (side + GAP_PX) + 2, 2), _cut(pen, words, side), fill="black")
    for row, photo in enumerate(photos):
        tiles = [photo, *drawn[row * len(prompts) : (row + 1) * len(prompts)]]
        for column, tile in enumerate(tiles):
            place = (column * (side + GAP_PX), LABEL_PX + row * (side + GAP_PX))
            sheet.paste(tile.resize((side, side), Image.Resampling.BICUBIC), place)
    return sheet


def _cut(pen: ImageDraw.ImageDraw, words: str, width: int) -> str:
    while pen.textlength(words) > width and len(words) > 1:
        words = words[:-2] + "…" if not words.endswith("…") else words[:-2].rstrip() + "…"
    return words
