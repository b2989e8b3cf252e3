"""The person of a user's photo in every row: a picture that may be shown, where the packs' people may not."""

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image

from adaface.face.images import load_image
from adaface.files import write_atomic
from adaface.mini.evidence.design import Design, some_cells
from adaface.mini.evidence.pictures import Sheets, grid, models_digest
from adaface.mini.evidence.real import composed_cells, framed, pack_of
from adaface.mini.evidence.rows import RowSource
from adaface.pipelines.personalizer import Personalizer
from adaface.pipelines.stack import Stack

FILE, PICTURES = "photo.png", "pictures/photo"
SCENES = 4  # of seen pairs, and as many of unseen ones


def show_photo(
    photo: Path, out: Path, base: Personalizer, stack: Stack, sources: Sequence[RowSource], design: Design
) -> Path:
    """Write `out`/photo.png: the photo as the prompts' words say, then the rows.

    base: of `stack`, finds the face. design: seed and steps of drawing. Raises what reading the photo raises.
    """
    pixels = load_image(photo)
    face = base.analyzer.face(photo)
    cells = some_cells(1, 1, SCENES, SCENES, design.seed)
    vector = torch.from_numpy(face.id_embedding)[None]
    sheets = Sheets(out / PICTURES, cells.cells, vector, models_digest(base), design.steps)
    pack = pack_of(pixels, face)
    made = composed_cells(cells, pack, stack, framed(pack), design.seed)
    rows: dict[str, Sequence[Image.Image | None]] = {"the photo, composed": made}
    rows |= {source.name: sheets.get(source) for source in sources}
    sheet = grid([f"{cell.kind}: {cell.prompt}" for cell in cells.cells], rows)
    write_atomic(out / FILE, lambda path: sheet.save(path, format="PNG"))
    return out / FILE
