"""The person of a user's photo in every row: a picture that may be shown, where the packs' people may not."""

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image

from adaface.face.images import load_image
from adaface.files import write_atomic
from adaface.mini.evidence.design import Design, some_cells
from adaface.mini.evidence.grid import grid
from adaface.mini.evidence.pictures import Sheets, models_digest
from adaface.mini.evidence.rows import RowSource
from adaface.pipelines.personalizer import Personalizer

FILE, PICTURES = "photo.png", "pictures/photo"
SCENES = 4  # of seen pairs, and as many of unseen ones


def show_photo(
    photo: Path, out: Path, base: Personalizer, sources: Sequence[RowSource], design: Design
) -> Path:
    """Write `out`/photo.png: the photo, rows down, prompts across.

    base: finds the face. design: seed and steps of drawing. Raises what reading the photo raises.
    """
    vector = torch.from_numpy(base.analyzer.identity([photo]).id_embedding)
    cells = some_cells(1, 1, SCENES, SCENES, design.seed).cells
    sheets = Sheets(out / PICTURES, cells, vector[None], models_digest(base), design.steps)
    rows: dict[str, Sequence[Image.Image | None]] = {
        "the photo": [Image.fromarray(load_image(photo)), *[None] * (len(cells) - 1)]
    }
    rows |= {source.name: sheets.get(source) for source in sources}
    sheet = grid([f"{cell.kind}: {cell.prompt}" for cell in cells], rows)
    write_atomic(out / FILE, lambda path: sheet.save(path, format="PNG"))
    return out / FILE
