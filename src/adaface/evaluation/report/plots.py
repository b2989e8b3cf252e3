"""FIGURES -> PLOTS, as PNG files in memory. Nothing of matplotlib's own state is changed."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from adaface.evaluation.anchors import OTHER, SAME
from adaface.evaluation.folder import OpenedRun
from adaface.evaluation.records import Picture
from adaface.evaluation.summary import against_others
from adaface.optional import require

BLUE, GREEN, GREY, ORANGE = "#2563eb", "#15803d", "#6b7280", "#d97706"
SIZE = (6.4, 3.5)  # inches; readable on a phone and beside text
DPI = 160


def draw(run: OpenedRun, summary: Mapping[str, Any]) -> dict[str, bytes]:
    """All plots that the run has the figures for: name -> PNG. Raises MissingExtra: no matplotlib."""
    drawn = {f"likeness-{name}": likeness(run, summary, name) for name in likeness_columns(summary)}
    drawn |= {"prompts": prompts(run, summary)}
    drawn |= {f"curve-{name}": curve(name, points, summary) for name, points in summary["curves"].items()}
    return {name: picture for name, picture in drawn.items() if picture is not None}


def likeness_columns(summary: Mapping[str, Any]) -> list[str]:
    """The similarities that the run has: of its own recogniser, and of the second one."""
    names = dict.fromkeys(("similarity", summary["identity"]))
    return [name for name in names if name in summary["overall"]]


def likeness(run: OpenedRun, summary: Mapping[str, Any], name: str) -> bytes | None:
    """How like the person: each picture as a dot, between strangers' photos and the person's own."""
    rows = [
        ("photos of\nother people", [p for p in run.anchors if p.kind == OTHER], GREY),
        ("the same pictures against\nphotos of other people", against_others(run.own, name), ORANGE),
        ("pictures", run.own, BLUE),
        ("other photos of\nthe same person", [p for p in run.anchors if p.kind == SAME], GREEN),
    ]
    filled = [(label, _values(some, name), colour) for label, some, colour in rows]
    filled = [row for row in filled if row[1]]
    if not any(label == "pictures" for label, _, _ in filled):
        return None
    figure, axes = new_figure((SIZE[0], 0.9 + 0.75 * len(filled)))
    rng = np.random.default_rng(0)
    for height, (_, values, colour) in enumerate(filled):
        spread = height + rng.uniform(-0.22, 0.22, len(values))
        axes.scatter(values, spread, s=16, color=colour, alpha=0.45, linewidths=0)
        axes.plot([np.mean(values)] * 2, [height - 0.36, height + 0.36], color=colour, linewidth=2.5)
    axes.set_yticks(range(len(filled)), [label for label, _, _ in filled])
    axes.set_ylim(-0.6, len(filled) - 0.4)
    axes.set_xlabel(summary["columns"][name]["title"])
    return png(figure)


def prompts(run: OpenedRun, summary: Mapping[str, Any]) -> bytes | None:
    """Each prompt by how well it is followed and how like the person its pictures are."""
    identity, text = summary["identity"], summary["text"]
    rows = [
        (number, row[text], row[identity])
        for number, row in enumerate(summary["prompts"].values(), 1)
        if identity in row and text in row
    ]
    if len(rows) < 2:
        return None
    figure, axes = new_figure()
    for number, words, likeness in rows:
        with_errors(axes, words, likeness, BLUE)
        axes.annotate(str(number), (words["mean"], likeness["mean"]), (5, 4), textcoords="offset points")
    axes.set_xlabel(summary["columns"][text]["title"])
    axes.set_ylabel(summary["columns"][identity]["title"])
    return png(figure)


def curve(parameter: str, points: Sequence[Mapping[str, Any]], summary: Mapping[str, Any]) -> bytes | None:
    """Likeness against text match over the values of a setting; a star marks the recommended one."""
    identity, text = summary["identity"], summary["text"]
    shown = [p for p in points if identity in p["scores"] and text in p["scores"]]
    if len(shown) < 2:
        return None
    figure, axes = new_figure((SIZE[0], 4.2))
    means = [(p["scores"][text]["mean"], p["scores"][identity]["mean"]) for p in shown]
    axes.plot(*zip(*means, strict=True), color=BLUE, linewidth=1.2, alpha=0.6)
    for point, place in zip(shown, means, strict=True):
        usual = point["recommended"]
        with_errors(axes, point["scores"][text], point["scores"][identity], BLUE)
        if usual:
            axes.plot(*place, marker="*", markersize=19, color=ORANGE, markeredgecolor="white", zorder=5)
        label = f"{value_text(point['value'])}{' (recommended)' if usual else ''}"
        axes.annotate(label, place, (8, 6), textcoords="offset points", weight="bold" if usual else "normal")
    axes.margins(x=0.2, y=0.08)
    axes.set_xlabel(summary["columns"][text]["title"] + "  (further right: follows the prompt)")
    axes.set_ylabel(summary["columns"][identity]["title"])
    axes.set_title(parameter, loc="left", weight="bold")
    return png(figure)


def value_text(value: object) -> str:
    """A value of a setting as the command line takes it: 0.5, or 4:1 for a pair."""
    if isinstance(value, list | tuple):
        return ":".join(value_text(part) for part in value)
    return f"{value:g}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def with_errors(
    axes: Any, x: Mapping[str, Any], y: Mapping[str, Any], colour: str, marker: str = "o"
) -> None:
    """A point with the intervals of both its means."""
    axes.errorbar(
        x["mean"],
        y["mean"],
        xerr=_reach(x),
        yerr=_reach(y),
        fmt=marker,
        color=colour,
        ecolor=colour,
        elinewidth=0.8,
        alpha=0.85,
        markersize=6,
    )


def colours(count: int) -> list[str]:
    """So many colours that can be told apart, the same ones each time."""
    known = [BLUE, ORANGE, GREEN, "#9333ea", "#dc2626", "#0891b2"]
    return [known[index % len(known)] for index in range(count)]


def new_figure(size: tuple[float, float] = SIZE) -> tuple[Any, Any]:
    """A figure and its axes, outside matplotlib's list of open ones."""
    figure = require("matplotlib.figure", extra="eval").Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    axes.set_axisbelow(True)
    return figure, axes


def png(figure: Any) -> bytes:
    """A figure as a PNG file; the same figure gives the same bytes."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=DPI, metadata={"Software": None})
    return stream.getvalue()


def _values(pictures: Sequence[Picture], name: str) -> list[float]:
    return [value for picture in pictures if (value := picture.scores.get(name)) is not None]


def _reach(row: Mapping[str, Any]) -> list[list[float]] | None:
    if row["low"] is None:
        return None
    return [[max(0.0, row["mean"] - row["low"])], [max(0.0, row["high"] - row["mean"])]]
