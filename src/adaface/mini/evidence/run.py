"""Evidence from a stack and encoders to the table: draw, look, compare. Letters: P people, N cells."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from adaface.errors import ConfigError
from adaface.evaluation.scores.recognisers import FaceComparer
from adaface.evaluation.statistics import Row
from adaface.files import write_atomic, write_text
from adaface.mini.evidence.bench import COPY, Bench, open_bench
from adaface.mini.evidence.design import PLAIN, SEEN, SPLITS, UNSEEN, Design, cells_of
from adaface.mini.evidence.page import page
from adaface.mini.evidence.photo import show_photo
from adaface.mini.evidence.pictures import Sheets, grid, models_digest
from adaface.mini.evidence.rows import CLASS_PROMPT, TEACHER, RowSource, row_sources
from adaface.mini.evidence.table import Against, Column, Figure, against, figures, mean_of, plain
from adaface.mini.people import HeldOut, held_out
from adaface.pipelines.devices import choose_device
from adaface.pipelines.personalizer import Personalizer
from adaface.pipelines.stack import Stack

SHOWN = 3  # people of the grid
PAGE, ROWS, GRID, PICTURES = "evidence.md", "rows.json", "grid.png", "pictures"
Tell = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is to be shown.

    data: the face packs. rows: name -> place of an encoder, in the order of the table. against: the row that
    encoders are compared with; None: each with the one before it. seconds: further recognisers by name.
    notes: what the page says at its end. photo: of one more person, drawn in every row for a picture to show.
    """

    data: Path
    out: Path
    rows: Mapping[str, str]
    stack: Stack
    design: Design = field(default_factory=Design)
    against: str | None = None
    seconds: Mapping[str, FaceComparer] = field(default_factory=dict)
    device: str = "auto"
    notes: tuple[str, ...] = ()
    photo: Path | None = None


@dataclass(frozen=True)
class Measured:
    """A row of the table. values: column -> (P,)."""

    name: str
    place: str
    identity: str
    values: Mapping[str, Row]
    figures: dict[str, Figure]
    against: Against | None = None


@dataclass(frozen=True)
class Evidence:
    """What came out.

    possible: by column, the figure of real pictures that others are shares of. copied: copy-paste of the
    reconstructed photos, by column.
    """

    design: Design
    stack: str
    columns: list[Column]
    rows: list[Measured]
    possible: dict[str, Figure]
    copied: dict[str, Figure]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values; those of each person too, so that intervals can be drawn again."""
        rows = [
            {
                "name": row.name, "place": row.place, "weights": row.identity, "figures": plain(row.figures),
                "against": None if row.against is None else _plain_against(row.against),
                "people": {key: _numbers(values) for key, values in row.values.items()},
            }
            for row in self.rows
        ]  # fmt: skip
        return {
            "design": asdict(self.design), "stack": self.stack,
            "columns": [asdict(column) for column in self.columns],
            "possible": plain(self.possible), "reconstructed": plain(self.copied), "rows": rows,
            "notes": list(self.notes),
        }  # fmt: skip


def evidence(request: Request, tell: Tell = lambda what, done, total: None) -> Evidence:
    """Draw what is not drawn yet, measure all rows, and write page, figures and grid below `request.out`.

    tell: what is being done, how much of it is done, of how much. Raises ConfigError: an unknown row to
    compare with, too few people; further what opening stack, packs and encoders raises.
    """
    _check(request)
    people = people_of(request.data, request.design)
    base = Personalizer.from_pretrained(
        request.stack, device=choose_device(request.device), dtype="float32", safety_checker=False
    )
    sources = row_sources(base, request.stack, dict(request.rows))
    if request.photo is not None:
        show_photo(request.photo, request.out, base, request.stack, sources, request.design)
    cells, seed = cells_of(request.design), request.design.seed
    bench = open_bench(base, request.stack, cells, people, request.seconds, seed, tell)
    sheets = Sheets(
        request.out / PICTURES, cells.cells, people.ids, models_digest(base), request.design.steps
    )
    drawn = {}
    for source in sources:
        drawn[source.name] = sheets.get(source, partial(tell, source.name))
    tell("looking at the pictures", 0, len(sources))
    values = {}
    for done, (name, pictures) in enumerate(drawn.items(), 1):
        values[name] = bench.values(pictures)
        tell("looking at the pictures", done, len(sources))
    result = _result(request, bench, sources, values)
    _write(request.out, result, bench, drawn)
    return result


def people_of(data: str | Path, design: Design) -> HeldOut:
    """Whom rows are measured on. Raises as `adaface.mini.people.held_out`."""
    return held_out(data, design.people, design.seed, SPLITS[design.split])


def _check(request: Request) -> None:
    if not request.rows:
        raise ConfigError("no row is named. Give at least one: --row NAME=ENCODER")
    if request.against is not None and request.against not in request.rows:
        raise ConfigError(
            f'--against "{request.against}": no such row. Give one of {", ".join(request.rows)}'
        )


def _result(
    request: Request, bench: Bench, sources: list[RowSource], values: dict[str, dict[str, Row]]
) -> Evidence:
    columns, possible = bench.columns(), bench.possible()
    rows: list[Measured] = []
    for source in sources:
        own = values[source.name]
        other = _other(request, [row.name for row in rows], source)
        change = None
        if other is not None:
            change = against(other, own, values[other], values[CLASS_PROMPT], possible, columns)
        rows.append(
            Measured(source.name, source.place, source.identity, own, figures(own, possible, columns), change)
        )
    return Evidence(
        design=request.design,
        stack=request.stack.name,
        columns=columns,
        rows=rows,
        possible=_figures(possible),
        copied=_figures({f"{COPY}{end}": one.copied for end, one in bench.reconstructed.items()}),
        notes=(*request.notes, *(source.note for source in sources if source.note)),
    )


def _figures(values: Mapping[str, Row]) -> dict[str, Figure]:
    return {key: figure for key, row in values.items() if (figure := mean_of(row)) is not None}


def _other(request: Request, before: list[str], source: RowSource) -> str | None:
    """The row that this one is compared with; None for the first ones, and for that row itself."""
    if not source.place or source.name == request.against:
        return None
    if request.against is not None:
        return request.against
    return before[-1] if before[-1] not in (CLASS_PROMPT, TEACHER) else None


def _write(out: Path, result: Evidence, bench: Bench, drawn: Mapping[str, Any]) -> None:
    text = json.dumps(result.to_json(), indent=1, ensure_ascii=False) + "\n"
    write_text(out / ROWS, text)
    write_text(out / PAGE, page(result))
    cells = bench.cells.cells
    chosen = [
        next(n for n, cell in enumerate(cells) if (cell.person, cell.kind) == (person, kind))
        for person in range(min(SHOWN, len(bench.people.given)))
        for kind in (PLAIN, SEEN, UNSEEN)
    ]
    rows = {"real, composed": [bench.photos[n] for n in chosen]}
    rows |= {name: [pictures[n] for n in chosen] for name, pictures in drawn.items()}
    heads = [f"{cells[n].kind}: {cells[n].prompt}" for n in chosen]
    sheet = grid(heads, rows)
    write_atomic(out / GRID, lambda path: sheet.save(path, format="PNG"))


def _plain_against(change: Against) -> dict[str, Any]:
    parts = {"differences": change.differences, "kept": change.kept, "closed": change.closed}
    return {"row": change.other} | {name: plain(part) for name, part in parts.items()}


def _numbers(values: Row) -> list[float | None]:
    """For JSON, which has no nan."""
    return [None if np.isnan(value) else round(float(value), 6) for value in values]
