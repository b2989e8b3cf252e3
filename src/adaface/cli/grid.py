"""One picture of all pictures: the source photos on the left, captioned blocks of results on the right."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from PIL import Image, ImageDraw, ImageFont

PAPER, INK, GREY = "#ffffff", "#1f2328", "#656d76"
MARGIN, GAP, LINE_GAP = 28, 20, 5
CAPTION_PX, LABEL_PX = 19, 15
SMALLEST, LARGEST = 96, 320  # side of a tile in pixels
ROOMY, DENSE, FEW = (
    256,
    192,
    12,
)  # least side that small pictures are enlarged to, with up to FEW of them and with more
MAX_PIXELS = 40_000_000  # of all tiles together: a grid of thousands of pictures stays a file that opens
SYSTEM_FONTS = (
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "Arial Unicode.ttf",
    "arial.ttf",
    "Arial.ttf",
    "Helvetica.ttc",
)
TILES_A_LINE, BLOCKS_A_LINE = 6, 3


@dataclass(frozen=True)
class Tile:
    """One picture, and a short line under it."""

    image: Image.Image
    label: str = ""


@dataclass(frozen=True)
class Block:
    """The pictures of one prompt."""

    caption: str
    tiles: Sequence[Tile]


def picture_grid(sources: Sequence[Tile], blocks: Sequence[Block]) -> Image.Image:
    """Lay sources and blocks out on white: every text wrapped to its column, nothing cut, nothing
    overlapping.

    Prompts with one picture each stand side by side with their captions below; else each prompt has lines of
    its own.
    """
    side = _tile_side(sources, blocks)
    single = all(len(block.tiles) <= 1 for block in blocks)
    drawn = [_draw_single(block, side) if single else _draw_lines(block, side) for block in blocks]
    right = _stack([_line(group) for group in _chunks(drawn, BLOCKS_A_LINE if single else 1)], GAP + 8)
    if not sources:
        return _pad(right)
    left = _stack([_labelled(tile, side) for tile in sources], GAP)
    return _pad(_line([left, right], gap=GAP + 20))


def _tile_side(sources: Sequence[Tile], blocks: Sequence[Block]) -> int:
    tiles = [tile for block in blocks for tile in block.tiles]
    largest = max((max(tile.image.size) for tile in tiles), default=SMALLEST)
    wanted = min(max(largest, ROOMY if len(tiles) <= FEW else DENSE), LARGEST)
    room = int((MAX_PIXELS / max(len(tiles) + len(sources), 1)) ** 0.5)
    return max(min(wanted, room), SMALLEST)


def _draw_single(block: Block, side: int) -> Image.Image:
    parts = [_fit(tile.image, side) for tile in block.tiles]
    parts.append(_text(block.caption, side, CAPTION_PX, INK))
    parts += [_text(tile.label, side, LABEL_PX, GREY) for tile in block.tiles if tile.label]
    return _stack(parts, 8)


def _draw_lines(block: Block, side: int) -> Image.Image:
    lines = [_line([_labelled(tile, side) for tile in group]) for group in _chunks(block.tiles, TILES_A_LINE)]
    width = max(max(line.width for line in lines), 2 * side)
    return _stack([_text(block.caption, width, CAPTION_PX, INK), *lines], 8)


def _labelled(tile: Tile, side: int) -> Image.Image:
    picture = _fit(tile.image, side)
    return _stack([picture, _text(tile.label, side, LABEL_PX, GREY)], 6) if tile.label else picture


def _fit(image: Image.Image, side: int) -> Image.Image:
    """Scaled, shape kept, so that the longer side is `side`; in the middle of a column that wide."""
    image = image.convert("RGB")
    scale = side / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    column = Image.new("RGB", (side, size[1]), PAPER)
    column.paste(image.resize(size, Image.Resampling.LANCZOS), ((side - size[0]) // 2, 0))
    return column


def _text(text: str, width: int, size_px: int, colour: str) -> Image.Image:
    """The text in as many lines as it needs, `width` pixels wide."""
    font = _font(size_px, text.isascii())
    lines = wrap(text, width, font)
    ascent, descent = font.getmetrics()
    step = ascent + descent + LINE_GAP
    image = Image.new("RGB", (width, max(1, step * len(lines))), PAPER)
    pen = ImageDraw.Draw(image)
    for row, line in enumerate(lines):
        pen.text((0, row * step), line, font=font, fill=colour)
    return image


def wrap(text: str, width: int, font: Any) -> list[str]:
    """Lines of at most `width` pixels, broken between words; a word wider than a line is broken inside."""
    lines: list[str] = []
    for word in text.split():
        if lines and font.getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
            continue
        lines.append(word)
        while font.getlength(lines[-1]) > width and len(lines[-1]) > 1:
            fits = max(
                n for n in range(1, len(lines[-1])) if n == 1 or font.getlength(lines[-1][:n]) <= width
            )
            lines[-1:] = [lines[-1][:fits], lines[-1][fits:]]
    return lines


@lru_cache
def _font(size_px: int, ascii_only: bool = True) -> Any:
    """Pillow's own font, the same everywhere; it has plain ASCII only, so that other words take one of the
    system's.
    """
    for name in () if ascii_only else SYSTEM_FONTS:
        try:
            return ImageFont.truetype(name, size_px)
        except OSError:
            continue
    return ImageFont.load_default(size_px)


def _stack(images: Sequence[Image.Image], gap: int) -> Image.Image:
    sheet = Image.new(
        "RGB", (max(i.width for i in images), sum(i.height for i in images) + gap * (len(images) - 1)), PAPER
    )
    top = 0
    for image in images:
        sheet.paste(image, (0, top))
        top += image.height + gap
    return sheet


def _line(images: Sequence[Image.Image], gap: int = GAP) -> Image.Image:
    sheet = Image.new(
        "RGB", (sum(i.width for i in images) + gap * (len(images) - 1), max(i.height for i in images)), PAPER
    )
    left = 0
    for image in images:
        sheet.paste(image, (left, 0))
        left += image.width + gap
    return sheet


def _pad(image: Image.Image) -> Image.Image:
    sheet = Image.new("RGB", (image.width + 2 * MARGIN, image.height + 2 * MARGIN), PAPER)
    sheet.paste(image, (MARGIN, MARGIN))
    return sheet


def _chunks(items: Sequence[Any], size: int) -> Iterable[Sequence[Any]]:
    return (items[start : start + size] for start in range(0, len(items), size))
