"""NUMBERS -> TEXT: figures and their intervals as pages print them."""

from collections.abc import Mapping
from typing import Any

from adaface.evaluation.records import Column


def number(value: float | None, column: Column | None = None) -> str:
    """A score as text: three digits behind the point, or one where it goes to a hundred."""
    if value is None:
        return "-"
    digits = 1 if column is not None and column.high > 10 else 3
    return _minus(f"{value:z.{digits}f}")


def interval(row: Mapping[str, Any] | None, column: Column | None = None) -> str:
    """The 95 % interval of an estimate as text; empty where there is none, in words where nobody differs."""
    if row is None or row["low"] is None:
        return ""
    if row["low"] == row["high"]:
        return "(all alike)"
    return f"[{number(row['low'], column)}, {number(row['high'], column)}]"


def percent(value: float) -> str:
    """A share as text, in per cent."""
    return _minus(f"{100 * value:z.0f}\u00a0%")


def percents(row: Mapping[str, Any] | None) -> str:
    """The 95 % interval of a share as text, in per cent; empty where there is none."""
    if row is None or row["low"] is None:
        return ""
    if row["low"] == row["high"]:
        return "(all alike)"
    return _minus(f"[{100 * row['low']:z.0f}, {100 * row['high']:z.0f}]")


def signed(value: float, column: Column | None = None) -> str:
    """A difference as text, with its sign; one that is printed as zero has none."""
    text = number(value, column)
    return f"+{text}" if value > 0 and text.strip("0.") else text


def _minus(text: str) -> str:
    """With the sign that is as wide as a plus; none before a zero (format's `z`)."""
    return text.replace("-", "−")
