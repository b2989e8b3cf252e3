"""Rows of the evidence: ways to make prompt embeddings of the same people and prompts. N cells, T, D."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from adaface.errors import ConfigError, MissingFileError
from adaface.mini.evidence.design import PLAIN, Cell
from adaface.pipelines.embedder import load_encoder, usual_settings
from adaface.pipelines.personalizer import Personalizer
from adaface.pipelines.stack import Stack
from adaface.recipes.base.opening import find_encoder
from adaface.recipes.config import ENCODER, STACK
from adaface.spec import DEFAULT_SUBJECT

CLASS_PROMPT, TEACHER = "class prompt", "teacher"


@dataclass(frozen=True, eq=False)
class RowSource:
    """A row before it is drawn. name: in tables. identity: of its weights, so that pictures are known again.

    personalizer: what draws it. place: the encoder's folder, "" for the rows without one. note: what a reader
    should know of it.
    """

    name: str
    identity: str
    personalizer: Personalizer
    place: str = ""
    note: str = ""

    @property
    def file(self) -> str:
        """Its name as a file's."""
        return file_name(self.name)

    def shows(self, cell: Cell) -> bool:
        """Whether the row has this picture: the teacher reads no words."""
        return self.name != TEACHER or cell.kind == PLAIN

    def contexts(self, cells: Sequence[Cell], ids: Tensor) -> list[Tensor]:
        """Prompt embeddings (1, T, D) of cells. ids: ID embeddings (P, D_id) of the people."""
        own = self.personalizer
        if self.name == CLASS_PROMPT:
            return [own.prompt_embeds(cell.caption, {}).prompt_embeds for cell in cells]
        with torch.inference_mode():
            if self.name == TEACHER:
                said = own.id_prompter.context(ids.to(own.pipe.device)).split(1)
                return [said[cell.person] for cell in cells]
            prompts = own.id_prompter(ids.to(own.pipe.device))
            rows = own.encoder(prompts, id_scale=own.settings.id_scale)  # (P, K, D)
        return [
            own.prompt_embeds(cell.prompt, {DEFAULT_SUBJECT: rows[cell.person]}).prompt_embeds
            for cell in cells
        ]


def file_name(name: str) -> str:
    """A name as one of a file or folder: "without random IDs" -> "without-random-ids"."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "row"


def parse_rows(texts: Sequence[str]) -> dict[str, str]:
    """NAME=PLACE, one a row, in the order given.

    Raises ConfigError: no such pair, a name twice, or one that is kept for the rows without an encoder.
    """
    rows: dict[str, str] = {}
    for text in texts:
        name, given, place = text.partition("=")
        if not given or not name.strip() or not place.strip():
            raise ConfigError(f"--row {text}: give NAME=PLACE, such as stage1=runs/stage1")
        rows |= {name.strip(): place.strip()}
    names = [CLASS_PROMPT, TEACHER, *(text.partition("=")[0].strip() for text in texts)]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"--row {twice[0]}: the name is taken. Give every row its own")
    return rows


def row_sources(base: Personalizer, stack: Stack, rows: dict[str, str]) -> list[RowSource]:
    """Class prompt, teacher, then the encoders, over one diffusion model.

    base: of `stack`. rows: name to place: an encoder's folder, a run, RUN:best, or "stack". Raises what
    finding and opening an encoder raises. ConfigError: two rows would have the same file.
    """
    sources = [
        RowSource(CLASS_PROMPT, "words alone", base),
        RowSource(TEACHER, "the ID prompter's context", base),
    ]
    for name, place in rows.items():
        sources.append(_encoder_row(base, stack, name, _folder(stack, name, place)))
    files = [source.file for source in sources]
    for source in sources:
        if files.count(source.file) > 1:
            raise ConfigError(f'--row "{source.name}": another row has the same letters. Give another name')
    return sources


def _folder(stack: Stack, name: str, place: str) -> Path:
    try:
        return stack.path(ENCODER) if place == STACK else find_encoder(place)
    except MissingFileError as error:
        raise MissingFileError(str(error).replace("init_from=", f"--row {name}=", 1)) from error


def _encoder_row(base: Personalizer, stack: Stack, name: str, folder: Path) -> RowSource:
    own = stack.with_parts({ENCODER: folder})
    encoder, prompter = load_encoder(own, base.pipe.device)
    settings = usual_settings(own, encoder)
    row = Personalizer(base.pipe, encoder, prompter, settings=settings, stack=own)
    fits = encoder.config.base_text_encoder in ("unknown", base.fingerprints["base_text_encoder"])
    note = "" if fits else f"{name}: this encoder was trained for another text encoder than the stack's"
    return RowSource(name, encoder.fingerprint(), row, str(folder), note)
