"""Figures of the rows: shares of what is possible, and paired differences. Letters: P people."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from adaface.evaluation.statistics import Row, interval, share, widened

FEWEST = 8  # people of an interval: of fewer, a bootstrap tells of who they are more than of people
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
    """A mean over people and its 95 % interval; without one if it is of fewer than `FEWEST`."""

    value: float
    low: float | None
    high: float | None

    @classmethod
    def of(cls, figures: tuple[float, float, float], people: int) -> "Figure":
        """From mean, low and high of a bootstrap over so many people."""
        if people < FEWEST:
            return cls(figures[0], None, None)
        return cls(*widened(figures, people))

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return f"{self.value:.2f}"
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"

    @property
    def sure(self) -> bool:
        """Whether there is an interval, and it lies on one side of 0."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


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
    return _there({column.key: _figure(values.get(column.key), possible, column) for column in columns})


def against(
    name: str, row: Values, other: Values, words: Values, possible: Values, columns: Sequence[Column]
) -> Against:
    """A row against another, called `name`; words: values of the class prompt."""
    pairs = {column: (row[column.key], other[column.key]) for column in columns
             if column.key in row and column.key in other}  # fmt: skip
    differences = {
        column.key: _figure(own - before, possible, column) for column, (own, before) in pairs.items()
    }
    kept = {
        column.key: share_of(own, before) for column, (own, before) in pairs.items() if "margin" in column.key
    }
    closed = {
        column.key: share_of(own - before, words[column.key] - before)
        for column, (own, before) in pairs.items()
        if column.key.startswith("text") and column.key in words
    }
    return Against(name, _there(differences), _there(kept), _there(closed))


def _there(figures: Mapping[str, Figure | None]) -> dict[str, Figure]:
    return {key: figure for key, figure in figures.items() if figure is not None}


def _figure(part: Row | None, possible: Values, column: Column) -> Figure | None:
    if part is None:
        return None
    return mean_of(part) if column.whole is None else share_of(part, possible[column.whole])


def mean_of(values: Row) -> Figure | None:
    """The mean of values (P,); None where nobody has any, or one person alone."""
    known = values[~np.isnan(values)]
    return Figure.of(interval(known), len(known)) if len(known) > 1 else None


def share_of(part: Row, whole: Row) -> Figure | None:
    """The mean of one as a share of the mean of the other, over the people who have both.

    None for one person alone, and where the whole is not surely above 0: of a gap that may be none, no share
    is closed, and resampled people would divide by next to nothing.
    """
    both = ~(np.isnan(part) | np.isnan(whole))
    there = mean_of(whole[both])
    if there is None or (there.value if there.low is None else there.low) <= 0:
        return None
    return Figure.of(share(part[both], whole[both]), int(both.sum()))


def markdown(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table."""
    rows = [list(head), ["---"] * len(head), *map(list, lines)]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def plain(figures: Mapping[str, Figure]) -> dict[str, Any]:
    """Figures for JSON."""
    return {key: asdict(figure) for key, figure in figures.items()}
