"""The grid: nothing cut, nothing overlapping."""

import numpy as np
import pytest
from PIL import Image, ImageFont

from adaface.cli import grid as module
from adaface.cli.grid import Block, Tile, picture_grid, wrap

LONG = "a photo of <person> wearing sunglasses and a blue scarf at sunset in front of a striped wall " * 3


def square(colour: str, size: int = 64) -> Image.Image:
    return Image.new("RGB", (size, size), colour)


def ink(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("L")) < 250


@pytest.mark.parametrize("text", [LONG, "x" * 500, "a", "", "Straße – “ünïcode” 日本"])
@pytest.mark.parametrize("width", [60, 256])
def test_every_line_fits_its_width_and_no_letter_is_lost(text, width):
    font = ImageFont.load_default(19)
    lines = wrap(text, width, font)
    assert all(font.getlength(line) <= width for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")


@pytest.mark.parametrize("count", [1, 2, 6, 7])
@pytest.mark.parametrize("tiles", [1, 2, 9])
def test_the_margin_stays_white(count, tiles):
    blocks = [Block(LONG, [Tile(square("red"), "similarity 0.42, above 97 % of strangers")] * tiles)] * count
    sheet = ink(picture_grid([Tile(square("blue", 500), "photo of <person>")], blocks))
    edge = np.ones_like(sheet)
    edge[module.MARGIN : -module.MARGIN, module.MARGIN : -module.MARGIN] = False
    assert not (sheet & edge).any()


def test_all_pictures_are_there_at_full_size():
    colours = ["red", "lime", "blue", "fuchsia"]
    sheet = np.asarray(picture_grid([Tile(square("cyan"))], [Block("x", [Tile(square(c))]) for c in colours]))
    for colour in [*colours, "cyan"]:
        wanted = np.array(square(colour, 1))[0, 0]
        assert (sheet == wanted).all(axis=-1).sum() == module.ROOMY**2


def test_a_source_photo_keeps_its_shape():
    sheet = np.asarray(
        picture_grid([Tile(Image.new("RGB", (400, 200), "red"))], [Block("x", [Tile(square("blue"))])])
    )
    rows, columns = np.nonzero((sheet == (255, 0, 0)).all(axis=-1))
    assert (np.ptp(columns) + 1, np.ptp(rows) + 1) == (256, 128)


def test_without_sources_the_pictures_stand_alone():
    assert picture_grid([], [Block("x", [Tile(square("red"))])]).width == 256 + 2 * module.MARGIN


def test_many_pictures_get_smaller_tiles():
    blocks = [Block("x", [Tile(square("red"))] * 50)] * 50
    sheet = picture_grid([], blocks)
    assert sheet.width * sheet.height < 2 * module.MAX_PIXELS
