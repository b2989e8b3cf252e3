"""DIFFERENCES -> HTML: runs side by side, with pictures of the same person and prompt next to each other."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from adaface.evaluation.folder import OpenedRun
from adaface.evaluation.pairing import Common, Pair
from adaface.evaluation.records import Picture
from adaface.evaluation.report import plots
from adaface.evaluation.report.page import main_columns, photos, render
from adaface.evaluation.report.thumbnails import data_urls, thumbnail

MOST = 12  # rows of pictures: chosen by nobody, of the largest gains, of the largest losses


def page(runs: Mapping[str, OpenedRun], both: Common, figures: Mapping[str, Any]) -> str:
    """The page of a comparison. Raises MissingExtra: jinja2 or matplotlib is not installed."""
    columns = {column.name: column for column in both.columns}
    rows = picture_rows(runs, both, figures)
    return render(
        "compare.html",
        {
            "figures": figures,
            "columns": columns,
            "main": [columns[name] for name in main_columns(figures, columns)],
            "settings": _settings(figures["runs"]),
            "rows": rows,
            "photos": _photos(runs, rows),
            "plots": data_urls({"runs": picture} if (picture := _plot(figures)) else {}),
        },
    )


def picture_rows(
    runs: Mapping[str, OpenedRun], both: Common, figures: Mapping[str, Any]
) -> dict[str, list[dict[str, Any]]]:
    """Rows of pictures of one person and prompt, one of each run: title -> rows.

    The first ones are those that nobody chose, spread evenly over all; then, of two runs, those with the
    largest losses and gains of likeness.
    """
    by_pair = {name: _first(pictures) for name, pictures in both.pictures.items()}
    first, *rest = by_pair
    pairs = list(by_pair[first])
    even = [pairs[i] for i in np.unique(np.linspace(0, len(pairs) - 1, MOST).round().astype(int))]
    chosen = {"Chosen by nobody, spread evenly over people and prompts": even}
    if len(rest) == 1 and figures["identity"]:
        ranked = _ranked(by_pair[first], by_pair[rest[0]], figures["identity"])
        chosen[f"Where {rest[0]} loses most likeness"] = [p for change, p in ranked if change < 0][:6]
        chosen[f"Where {rest[0]} gains most likeness"] = [p for change, p in ranked[::-1] if change > 0][:6]
    return {title: [_row(runs, by_pair, pair) for pair in some] for title, some in chosen.items() if some}


def _first(pictures: Sequence[Picture]) -> dict[Pair, Picture]:
    """The picture of the smallest seed of each person and prompt."""
    found: dict[Pair, Picture] = {}
    for picture in sorted(pictures, key=lambda one: one.seed):
        found.setdefault((picture.subjects, picture.template), picture)
    return found


def _ranked(
    before: Mapping[Pair, Picture], after: Mapping[Pair, Picture], name: str
) -> list[tuple[float, Pair]]:
    changes = []
    for pair, picture in after.items():
        now, then = picture.scores.get(name), before[pair].scores.get(name)
        if now is not None and then is not None:
            changes.append((now - then, pair))
    return sorted(changes)


def _row(
    runs: Mapping[str, OpenedRun], by_pair: Mapping[str, Mapping[Pair, Picture]], pair: Pair
) -> dict[str, Any]:
    views = {}
    for name, pictures in by_pair.items():
        picture = pictures[pair]
        views[name] = {"url": thumbnail(runs[name].file(picture.file)), "scores": picture.scores}
    return {"person": pair[0][0], "people": pair[0], "template": pair[1], "views": views}


def _photos(
    runs: Mapping[str, OpenedRun], rows: Mapping[str, Sequence[Mapping[str, Any]]]
) -> dict[str, str | None]:
    """A photo that scores of each person in `rows`, from the first run that can show one."""
    people = {row["person"] for some in rows.values() for row in some}
    found: dict[str, str | None] = {}
    for run in runs.values():
        for subject in run.subjects:
            if subject["name"] in people and not found.get(subject["name"]):
                parts = photos(run, subject)
                shown = [photo["thumbnail"] for photo in (*parts["scored"], *parts["given"])]
                found[subject["name"]] = next((url for url in shown if url), None)
    return found


def _settings(runs: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The settings in which the runs differ: name -> run -> value."""
    names = dict.fromkeys(name for run in runs.values() for name in run["settings"])
    values = {name: {run: about["settings"].get(name) for run, about in runs.items()} for name in names}
    return {name: row for name, row in values.items() if len({repr(value) for value in row.values()}) > 1}


def _plot(figures: Mapping[str, Any]) -> bytes | None:
    """Each run by how well prompts are followed and how like the person it draws."""
    identity, text = figures["identity"], figures["text"]
    means = {n: row for n, row in figures["means"].items() if identity in row and text in row}
    if len(means) < 2:
        return None
    drawing, axes = plots.new_figure()
    for (name, row), colour in zip(means.items(), plots.colours(len(means)), strict=True):
        plots.with_errors(axes, row[text], row[identity], colour)
        place = row[text]["mean"], row[identity]["mean"]
        axes.annotate(name, place, (7, 6), textcoords="offset points", color=colour, weight="bold")
    axes.margins(0.15)
    axes.set_xlabel(figures["columns"][text]["title"])
    axes.set_ylabel(figures["columns"][identity]["title"])
    return plots.png(drawing)
