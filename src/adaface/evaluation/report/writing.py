"""A run folder -> summary.json, plots/*.png and report.html, which needs no other file."""

import json
from pathlib import Path

from adaface.evaluation.folder import PLOTS, REPORT, SUMMARY, open_run
from adaface.evaluation.report import plots
from adaface.evaluation.report.page import context, render
from adaface.evaluation.report.thumbnails import data_urls
from adaface.evaluation.summary import summarize
from adaface.files import write_atomic


def write(folder: str | Path) -> Path:
    """Write summary.json, plots and report.html of a run into its folder; returns report.html.

    Raises what `open_run` does. MissingExtra: jinja2 or matplotlib is not installed. WriteError.
    """
    run = open_run(folder)
    summary = summarize(run)
    write_text(run.folder / SUMMARY, json.dumps(summary, indent=1, ensure_ascii=False) + "\n")
    drawn = plots.draw(run, summary)
    for name, picture in drawn.items():
        write_bytes(run.folder / PLOTS / f"{name}.png", picture)
    page = render("run.html", {**context(run, summary), "plots": data_urls(drawn)})
    return write_text(run.folder / REPORT, page)


def write_text(path: Path, text: str) -> Path:
    """Write a text file whole or not at all. Raises WriteError."""
    return write_atomic(path, lambda beside: beside.write_text(text, "utf-8", errors="backslashreplace"))


def write_bytes(path: Path, content: bytes) -> Path:
    """Write a file whole or not at all. Raises WriteError."""
    return write_atomic(path, lambda beside: beside.write_bytes(content))
