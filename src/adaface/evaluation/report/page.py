"""FIGURES -> HTML: what the page shows, picked out of a run and its summary, and the template filled."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from adaface.evaluation.folder import OpenedRun
from adaface.evaluation.honesty import given_score
from adaface.evaluation.records import Column, Picture
from adaface.evaluation.report.plots import likeness_columns, value_text
from adaface.evaluation.report.thumbnails import thumbnail
from adaface.evaluation.report.wording import interval, number, percent, percents, signed
from adaface.evaluation.summary import margin_of
from adaface.optional import require

MOST_PEOPLE, MOST_PROMPTS = 12, 12  # of the grid of unchosen pictures
MOST_COLUMNS = 8  # of tables by prompt and so on; all are in summary.json
MOST_PHOTOS = 6  # of each person
TEMPLATES = Path(__file__).parent / "templates"


def render(template: str, values: Mapping[str, Any]) -> str:
    """Fill a page of `templates`. Raises MissingExtra: no jinja2."""
    jinja2 = require("jinja2", extra="eval")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"number": number, "interval": interval, "signed": signed, "value": value_text}
    environment.filters |= {"percent": percent, "percents": percents}
    return str(environment.get_template(template).render(values))


def context(run: OpenedRun, summary: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that the page of a run shows but its plots."""
    columns = {column.name: column for column in run.columns}
    shown = {subject["name"]: photos(run, subject) for subject in run.subjects}
    files = {picture.file: thumbnail(run.file(picture.file)) for picture in _shown(run, summary)}
    return {
        "run": run,
        "facts": run.facts,
        "summary": summary,
        "columns": columns,
        "headlines": [headline(summary, columns[name]) for name in _headline_names(summary, columns)],
        "main": [columns[name] for name in main_columns(summary, summary["overall"])],
        "likeness": likeness_columns(summary),
        "grid": grid(run.own),
        "cases": [_ends(summary, columns[name]) for name in (summary["identity"], summary["text"]) if name],
        "thumbnails": files,
        "photos": shown,
        "faces": {name: _faces(parts) for name, parts in shown.items()},
        "prompt_numbers": {template: n for n, template in enumerate(summary["prompts"], 1)},
        "apart": any(s.get("given") and s.get("scored") for s in run.subjects),
        "synthetic": [s["name"] for s in run.subjects if s.get("synthetic")],
        "given_only": [s["name"] for s in run.subjects if given_score(s)],
    }


def headline(summary: Mapping[str, Any], column: Column) -> dict[str, Any]:
    """A score in large letters, and where it lies between what photos score: places in per cent of a line."""
    row = summary["overall"][column.name]
    anchor = summary["anchors"].get(column.name) or {}
    same, other, swapped = anchor.get("same"), anchor.get("other"), anchor.get("swapped")
    if other is None and column.chance is not None:
        other = {"mean": column.chance, "low": None, "high": None, "chance": True}
    ends = [row, *(one for one in (same, other, swapped) if one)]
    least = min(0.0, *(_end(one, "low") for one in ends))
    most = max(_end(one, "high") for one in ends) if same else max(column.high, _end(row, "high"))
    most = max(most, least + 1e-6) * 1.04 if same else most
    marks = (("other", other), ("swapped", swapped), ("same", same), ("row", row))
    return {
        "column": column,
        "row": row,
        "same": same,
        "other": other,
        "swapped": swapped,
        "between": anchor.get("between"),
        "anchor": anchor,
        "marks": {name: _place(one, least, most) for name, one in marks if one} if same or other else {},
    }


def _end(row: Mapping[str, Any], name: str) -> float:
    return float(row["mean"] if row[name] is None else row[name])


def _place(row: Mapping[str, Any], least: float, most: float) -> dict[str, float]:
    places = {name: 100 * (_end(row, name) - least) / (most - least) for name in ("low", "mean", "high")}
    return {name: round(min(100.0, max(0.0, place)), 2) for name, place in places.items()}


def _headline_names(summary: Mapping[str, Any], columns: Mapping[str, Column]) -> list[str]:
    wanted = ["similarity", summary["identity"], "face_found", summary["text"], "retrieval", "copy_paste"]
    return [name for name in dict.fromkeys(wanted) if name in columns and name in summary["overall"]]


def main_columns(figures: Mapping[str, Any], overall: Mapping[str, Any]) -> list[str]:
    """The columns of tables by person, prompt and so on: those with figures, as many as a page can hold.

    figures: of a run or a comparison, with its `identity` and `text`. overall: column -> anything.
    """
    identity, text = figures["identity"], figures["text"]
    wanted = ["face_found", "similarity", "margin", identity, margin_of(identity or ""), "assignment", text]
    wanted += ["retrieval", "dino", "percentile", "clip_i", "copy_paste"]
    return [name for name in dict.fromkeys(wanted) if name in overall][:MOST_COLUMNS]


def grid(own: Sequence[Picture]) -> dict[str, Any]:
    """The first seed of every prompt and person (or pair): {casts, prompts, cells, more}."""
    casts = list(dict.fromkeys(picture.subjects for picture in own))
    prompts = list(dict.fromkeys(picture.template for picture in own))
    cells: dict[tuple[tuple[str, ...], str], Picture] = {}
    for picture in own:
        key = (picture.subjects, picture.template)
        if key not in cells or picture.seed < cells[key].seed:
            cells[key] = picture
    return {
        "casts": casts[:MOST_PEOPLE],
        "prompts": prompts[:MOST_PROMPTS],
        "cells": cells,
        "more": len(casts) > MOST_PEOPLE or len(prompts) > MOST_PROMPTS,
    }


def _faces(parts: Mapping[str, list[dict[str, Any]]]) -> dict[str, str | None]:
    """A photo that the identity is made of, and one that scores."""
    given, scored = ([photo["thumbnail"] for photo in parts[part]] for part in ("given", "scored"))
    return {"given": next(iter(given), None), "scores": next(iter(scored or given), None)}


def _shown(run: OpenedRun, summary: Mapping[str, Any]) -> list[Picture]:
    by_file = {picture.file: picture for picture in run.own}
    ends = [case["file"] for end in ("best", "worst") for some in summary[end].values() for case in some]
    table = grid(run.own)
    names = [(cast, prompt) for cast in table["casts"] for prompt in table["prompts"]]
    cells = [table["cells"][name] for name in names if name in table["cells"]]
    faceless = [by_file[file] for file in summary["without_face"][:24]]
    return [*(by_file[file] for file in ends), *cells, *faceless]


def _ends(summary: Mapping[str, Any], column: Column) -> dict[str, Any]:
    return {
        "column": column,
        "worst": summary["worst"][column.name],
        "best": summary["best"][column.name],
    }


def photos(run: OpenedRun, subject: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The photos of a subject as the page shows them: those that make the identity, and those that score."""
    return {
        part: [
            {**photo, "thumbnail": thumbnail(run.file(photo["path"])), "name": Path(photo["path"]).name}
            for photo in subject.get(part, [])[:MOST_PHOTOS]
        ]
        for part in ("given", "scored")
    }
