"""Figures of the rows: shares of what is possible, and paired differences. Letters: P people."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from adaface.evaluation.statistics import Row, interval, share

Values = Mapping[str, Row]  # column -> (P,), nan where a person has none


@dataclass(frozen=True)
class Column:
    """A column. key: of the values. whole: key of what it is a share of in the `Possible`; None: as it is."""

    key: str
    title: str
    whole: str | None
    says: str


@dataclass(frozen=True)
class Figure:
    """A mean over people and its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"

    @property
    def sure(self) -> bool:
        """Whether the interval lies on one side of 0."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class Against:
    """A row against another one: paired differences by column, and what it keeps and closes.

    kept: its margin as a share of the other's. closed: of the other's text gap to the class prompt.
    """

    other: str
    differences: dict[str, Figure]
    kept: dict[str, Figure]
    closed: dict[str, Figure]


def figures(values: Values, possible: Values, columns: Sequence[Column]) -> dict[str, Figure]:
    """The columns of a row; those that it has no values for are left out."""
    found = {}
    for column in columns:
        if (figure := _figure(values.get(column.key), possible, column)) is not None:
            found[column.key] = figure
    return found


def against(
    name: str, row: Values, other: Values, words: Values, possible: Values, columns: Sequence[Column]
) -> Against:
    """A row against another, called `name`; words: values of the class prompt."""
    differences, kept, closed = {}, {}, {}
    for column in columns:
        key = column.key
        if key not in row or key not in other:
            continue
        if (figure := _figure(row[key] - other[key], possible, column)) is not None:
            differences[key] = figure
        if key.startswith("margin"):
            kept[key] = Figure(*share(*_known(row[key], other[key])))
        if key.startswith("text") and key in words:
            closed[key] = Figure(*share(*_known(row[key] - other[key], words[key] - other[key])))
    return Against(name, differences, kept, closed)


def _figure(part: Row | None, possible: Values, column: Column) -> Figure | None:
    if part is None:
        return None
    whole = None if column.whole is None else possible[column.whole]
    if np.isnan(part).all():
        return None
    if whole is None:
        return Figure(*interval(part[~np.isnan(part)]))
    return Figure(*share(*_known(part, whole)))


def _known(part: Row, whole: Row) -> tuple[Row, Row]:
    """Those people who have both."""
    both = ~(np.isnan(part) | np.isnan(whole))
    return part[both], whole[both]


def markdown(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table."""
    rows = [list(head), ["---"] * len(head), *map(list, lines)]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def plain(figures: Mapping[str, Figure]) -> dict[str, Any]:
    """Figures for JSON."""
    return {key: asdict(figure) for key, figure in figures.items()}
