"""contact_sheet.jpg: some of what was kept, as training will see it, the background darkened by the mask."""

import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from adaface.data.prepare.export import Kept
from adaface.data.prepare.judging.judge import Verdict
from adaface.files import write_atomic

SHEET = "contact_sheet.jpg"
TILES, COLUMNS, SIDE, LABEL, GAP = 60, 10, 128, 16, 6
DARK = 0.35  # how bright the background is left


def spread(verdicts: Sequence[Verdict], count: int = TILES) -> frozenset[int]:
    """Numbers of at most `count` kept photos: of every person one, then of every person a second, ..."""
    seen: dict[str, int] = {}
    turns = []
    for k, verdict in enumerate(verdicts):
        if verdict.kept:
            seen[verdict.photo.person] = seen.get(verdict.photo.person, 0) + 1
            turns.append((seen[verdict.photo.person], k))
    return frozenset(k for _, k in sorted(turns)[:count])


def write_sheet(out: Path, kept: Iterable[Kept]) -> Path:
    """Write the sheet of these photos. Raises WriteError."""
    tiles = [_tile(item) for item in kept]
    rows = -(-len(tiles) // COLUMNS)
    columns = min(COLUMNS, len(tiles))
    sheet = Image.new("RGB", (columns * (SIDE + GAP) + GAP, rows * (SIDE + LABEL + GAP) + GAP), "white")
    for k, tile in enumerate(tiles):
        place = GAP + (k % COLUMNS) * (SIDE + GAP), GAP + (k // COLUMNS) * (SIDE + LABEL + GAP)
        sheet.paste(tile, place)
    return write_atomic(out / SHEET, lambda beside: sheet.save(beside, "JPEG", quality=90))


def _tile(item: Kept) -> Image.Image:
    with Image.open(io.BytesIO(item.image)) as image:
        picture = np.asarray(image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS)).astype(
            np.float32
        )
    if item.mask is not None:
        with Image.open(io.BytesIO(item.mask)) as mask:
            person = np.asarray(mask.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX))[..., None] / 255
        picture *= DARK + (1 - DARK) * person
    tile = Image.new("RGB", (SIDE, SIDE + LABEL), "white")
    tile.paste(Image.fromarray(np.rint(picture).clip(0, 255).astype(np.uint8)))
    font = ImageFont.load_default(11)
    ImageDraw.Draw(tile).text((1, SIDE + 1), fitting(item.photo.person, font), fill="#57606a", font=font)
    return tile


def fitting(name: str, font: Any, width: int = SIDE - 2) -> str:
    """A name with no more letters than `width` pixels have room for."""
    name = name.encode("latin-1", "replace").decode("latin-1")  # what the built-in font has
    if font.getlength(name) <= width:
        return name
    while name and font.getlength(f"{name}..") > width:
        name = name[:-1]
    return f"{name}.."
