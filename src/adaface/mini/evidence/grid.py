"""One picture of all rows: a line a row, the same people and prompts side by side."""

import textwrap
from collections.abc import Mapping, Sequence

from PIL import Image, ImageDraw

TILE, GAP, LINE_PX, LETTER_PX, NAME_PX = 128, 4, 12, 6, 150


def grid(
    columns: Sequence[str], rows: Mapping[str, Sequence[Image.Image | None]], side: int = TILE
) -> Image.Image:
    """columns: what stands above each. rows: by name, a picture for each column, None where there is none."""
    heads = [_wrapped(words, side) for words in columns]
    top = LINE_PX * max(text.count("\n") + 1 for text in heads) + GAP
    size = (NAME_PX + len(columns) * (side + GAP), top + len(rows) * (side + GAP))
    sheet = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(sheet)
    for x, words in enumerate(heads):
        pen.multiline_text((NAME_PX + x * (side + GAP) + 2, 0), words, fill="black", spacing=1)
    for y, (name, pictures) in enumerate(rows.items()):
        line = top + y * (side + GAP)
        pen.multiline_text((2, line + side // 3), _wrapped(name, NAME_PX), fill="black", spacing=1)
        for x, picture in enumerate(pictures):
            if picture is not None:
                tile = picture.convert("RGB").resize((side, side), Image.Resampling.BICUBIC)
                sheet.paste(tile, (NAME_PX + x * (side + GAP), line))
    return sheet


def _wrapped(words: str, width: int) -> str:
    return "\n".join(textwrap.wrap(words, (width - 4) // LETTER_PX)) or " "
