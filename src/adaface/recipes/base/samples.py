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

LINE_PX, GAP_PX, MIN_TILE_PX = 12, 4, 128


def settings_of(config: SampleConfig, stack: Settings) -> Settings:
    """A stack's way of drawing, with the grid's steps and guidance. Raises ConfigError: out of range."""
    wanted = {"steps": config.steps, "guidance_scale": config.guidance}
    return stack.override({name: value for name, value in wanted.items() if value is not None})


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
    pen = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    labels = [_wrapped(pen, words, side) for words in ("photo", *prompts)]
    top = LINE_PX * max(text.count("\n") + 1 for text in labels) + GAP_PX
    step, columns = side + GAP_PX, len(labels)
    sheet = Image.new("RGB", (columns * step - GAP_PX, top + len(photos) * step - GAP_PX), "white")
    pen = ImageDraw.Draw(sheet)
    for column, text in enumerate(labels):
        pen.multiline_text((column * step + 2, 0), text, fill="black", spacing=1)
    for row, photo in enumerate(photos):
        tiles = [photo, *drawn[row * len(prompts) : (row + 1) * len(prompts)]]
        for column, tile in enumerate(tiles):
            small = tile.resize((side, side), Image.Resampling.BICUBIC)
            sheet.paste(small, (column * step, top + row * step))
    return sheet


def _wrapped(pen: ImageDraw.ImageDraw, text: str, width: int) -> str:
    """The words over as many lines as they need."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if pen.textlength(longer) <= width - 4 or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    return "\n".join(lines)
