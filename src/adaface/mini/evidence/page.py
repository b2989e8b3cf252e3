"""The page of the evidence: tables, what their columns are, how they were made."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from adaface.mini.evidence.bench import MARGIN, ONE_WORD, TEXT, WORD
from adaface.mini.evidence.table import FEWEST, Column, Figure, markdown

if TYPE_CHECKING:
    from adaface.mini.evidence.run import Evidence

NOTHING = ""


def page(result: "Evidence") -> str:
    """The page in Markdown."""
    return "\n\n".join(_parts(result)) + "\n"


def tables(result: "Evidence") -> str:
    """The tables alone, for a terminal, and what their figures are."""
    return "\n\n".join([*_tables(result), _measured(result.design.people)])


def _parts(result: "Evidence") -> Iterator[str]:
    design = result.design
    yield "# What each part gives"
    yield (
        f"Stack {result.stack}; {design.people} people of the {design.split.replace('_', '-')} split, seed "
        f"{design.seed}. For each of them {design.plain} plain pictures, {design.seen} scenes of seen pairs "
        f"and {design.unseen} of unseen ones: the same people, prompts and seeds in every row. "
        + _measured(design.people)
        + ("" if design.steps is None else f" Drawn in {design.steps} steps.")
    )
    yield from _tables(result)
    yield "\n".join(f"- **{column.title}**: {column.says}." for column in result.columns)
    real = ", ".join(
        f"{key.replace('_', ' ')} {figure}"
        for key, figure in result.possible.items()
        if not key.startswith(ONE_WORD)
    )
    copied = ", ".join(f"{figure}" for figure in result.copied.values())
    yield f"Of real pictures: {real}. Copy-paste of the reconstructed photos: {copied}."
    yield from _words(result)
    if result.notes:
        yield "\n".join(f"- {note}" for note in result.notes)
    yield "![The same people and prompts in every row](grid.png)"


def _words(result: "Evidence") -> Iterator[str]:
    """Which words come, one a line."""
    keys = [key for key in result.possible if key.startswith(ONE_WORD)]
    rows = [row for row in result.rows if any(key in row.values for key in keys)]
    if not keys or not rows:
        return
    yield "Which words come, as in the last columns, word by word: of few pictures each, so no intervals."
    lines = []
    for key in keys:
        shares = [float(np.nanmean(row.values[key])) if key in row.values else np.nan for row in rows]
        people = max(int((~np.isnan(row.values[key])).sum()) for row in rows if key in row.values)
        real = result.possible[key].value
        lines.append(
            [key.removeprefix(ONE_WORD), str(people), *(f"{share:.2f}" for share in (real, *shares))]
        )
    yield markdown(["", "people", "real, composed", *(row.name for row in rows)], lines)


def _measured(people: int) -> str:
    if people < FEWEST:
        return f"Too few people for intervals, which take {FEWEST}: means alone, and no difference is sure."
    return (
        "Means with 95 % intervals over people (bootstrap); means alone where fewer than "
        f"{FEWEST} people have a figure."
    )


def _tables(result: "Evidence") -> Iterator[str]:
    who = [column for column in result.columns if not column.key.startswith((TEXT, WORD))]
    what = [column for column in result.columns if column.key.startswith((TEXT, WORD))]
    for columns in (who, what):
        lines = [[row.name, *_cells(columns, row.figures)] for row in result.rows]
        yield markdown(["", *(column.title for column in columns)], lines)
    changes = [row for row in result.rows if row.against is not None]
    if changes:
        yield "Paired differences over the same people; in bold those whose interval lies on one side of 0."
        for columns in (who, what):
            lines = [
                [
                    f"{row.name} minus {row.against.other}",
                    *_cells(columns, row.against.differences, signed=True),
                ]
                for row in changes
                if row.against is not None
            ]
            yield markdown(["", *(column.title for column in columns)], lines)
        yield from _shares(result)


def _shares(result: "Evidence") -> Iterator[str]:
    """How much a row keeps of the other's margin, and closes of its text gap to the class prompt."""
    kept = [column for column in result.columns if MARGIN in column.key]
    closed = [column for column in result.columns if column.key.startswith(TEXT)]
    lines = [
        [row.name, row.against.other, *_cells(kept, row.against.kept), *_cells(closed, row.against.closed)]
        for row in result.rows
        if row.against is not None
    ]
    yield (
        "How much of the other row's margin is kept, and of its text gap to the class prompt closed. The "
        "aims of stage 2 over stage 1 are 0.90 of the margin, and 0.40, better 0.70, of the gap. Empty where "
        "that margin or gap is not surely above 0."
    )
    head = ["", "against", *(f"keeps of {c.title}" for c in kept), *(f"closes of {c.title}" for c in closed)]
    yield markdown(head, lines)


def _cells(columns: Sequence[Column], figures: dict[str, Figure], *, signed: bool = False) -> Iterator[str]:
    for column in columns:
        figure = figures.get(column.key)
        text = NOTHING if figure is None else str(figure)
        yield f"**{text}**" if signed and figure is not None and figure.sure else text
