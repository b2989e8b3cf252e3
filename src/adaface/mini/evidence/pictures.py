"""Pictures of a row, drawn once and kept as one sheet; and one picture of all rows. P people, N cells."""

import hashlib
import json
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from PIL import Image, ImageDraw, PngImagePlugin, UnidentifiedImageError
from torch import Tensor

from adaface.encoder.fingerprint import fingerprint
from adaface.files import write_atomic
from adaface.mini.evidence.design import Cell
from adaface.mini.evidence.rows import RowSource
from adaface.pipelines.drawing import Drawing, draw
from adaface.pipelines.personalizer import Personalizer

BATCH = 32
TILE, GAP, LINE_PX, LETTER_PX, NAME_PX = 128, 4, 12, 6, 150  # of the picture of all rows
_KEY = "adaface-evidence"
Tell = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Sheets:
    """A folder of sheets, one a row: a line of pictures for each person, in the order of the cells.

    same: digest of the models beneath all rows. steps: of drawing; None is the stack's own.
    """

    folder: Path
    cells: Sequence[Cell]
    ids: Tensor  # (P, D_id)
    same: str
    steps: int | None = None

    def path(self, row: RowSource) -> Path:
        """Where a row's sheet is."""
        return self.folder / f"{row.file}.png"

    def get(self, row: RowSource, tell: Tell = lambda done, total: None) -> list[Image.Image | None]:
        """The row's picture of each cell, None where it has none; drawn unless they lie there. tell: pictures
        drawn, pictures in all.
        """
        shown = [n for n, cell in enumerate(self.cells) if row.shows(cell)]
        digest = self._digest(row, shown)
        sheet = _read(self.path(row), digest)
        if sheet is None:
            drawn = self._draw(row, [self.cells[n] for n in shown], tell)
            sheet = self._write(row, dict(zip(shown, drawn, strict=True)), digest)
        there = set(shown)
        tiles = _tiles(sheet, len(self.cells) // len(self.ids), len(self.ids))
        return [tile if n in there else None for n, tile in enumerate(tiles)]

    def _draw(self, row: RowSource, cells: Sequence[Cell], tell: Tell) -> list[Image.Image]:
        own = row.personalizer
        settings = own.settings.override({"batch_size": BATCH} | self._steps())
        negative = own.prompt_embeds(settings.negative_prompt or "", {}).prompt_embeds
        contexts = row.contexts(cells, self.ids)
        plan = Drawing(contexts, negative, [cell.seed for cell in cells], settings)
        images, _ = draw(own.pipe, plan, on_pictures=lambda at, some: tell(at + len(some), len(cells)))
        return list(images)

    def _steps(self) -> dict[str, int]:
        return {} if self.steps is None else {"steps": self.steps}

    def _digest(self, row: RowSource, shown: Sequence[int]) -> str:
        settings = asdict(row.personalizer.settings.override(self._steps()))
        settings.pop("batch_size")  # it changes nothing of a picture
        said = [[cell.person, cell.seed, _words(row, cell)] for cell in (self.cells[n] for n in shown)]
        people = hashlib.sha256(self.ids.numpy().tobytes()).hexdigest()
        text = json.dumps([self.same, row.identity, settings, people, said], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()

    def _write(self, row: RowSource, drawn: dict[int, Image.Image], digest: str) -> Image.Image:
        size = next(iter(drawn.values())).size
        columns = len(self.cells) // len(self.ids)
        sheet = Image.new("RGB", (columns * size[0], len(self.ids) * size[1]), "white")
        for n, picture in drawn.items():
            sheet.paste(picture, (n % columns * size[0], n // columns * size[1]))
        info = PngImagePlugin.PngInfo()
        info.add_text(_KEY, digest)
        write_atomic(self.path(row), lambda path: sheet.save(path, format="PNG", pnginfo=info))
        return sheet


def models_digest(base: Personalizer) -> str:
    """A name for the diffusion model and the ID prompter beneath all rows."""
    pipe = base.pipe
    parts = (pipe.unet, pipe.vae, pipe.text_encoder, base.id_prompter)
    return hashlib.sha256(" ".join(fingerprint(part.state_dict()) for part in parts).encode()).hexdigest()


def _words(row: RowSource, cell: Cell) -> str:
    return cell.prompt if row.place else cell.caption


def _read(path: Path, digest: str) -> Image.Image | None:
    """A sheet; None: there is none, or of something else."""
    try:
        with Image.open(path) as sheet:
            return sheet.convert("RGB") if sheet.info.get(_KEY) == digest else None
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError):
        return None


def _tiles(sheet: Image.Image, columns: int, rows: int) -> list[Image.Image]:
    """Its pictures, line by line."""
    width, height = sheet.width // columns, sheet.height // rows
    return [
        sheet.crop((x * width, y * height, (x + 1) * width, (y + 1) * height))
        for y in range(rows)
        for x in range(columns)
    ]


def grid(
    columns: Sequence[str], rows: Mapping[str, Sequence[Image.Image | None]], side: int = TILE
) -> Image.Image:
    """A line a row, the same people and prompts side by side.

    columns: what stands above each. rows: by name, a picture for each column, None where there is none.
    """
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
