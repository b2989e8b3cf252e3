"""A run folder -> summary.json, plots/*.png and report.html, which needs no other file."""

import json
from functools import partial
from pathlib import Path

from adaface.evaluation.folder import PLOTS, REPORT, SUMMARY, open_run
from adaface.evaluation.report import plots
from adaface.evaluation.report.page import context, render
from adaface.evaluation.report.thumbnails import data_urls
from adaface.evaluation.summary import summarize
from adaface.files import write_atomic, write_text


def write(folder: str | Path) -> Path:
    """Write summary.json, plots and report.html of a run into its folder; returns report.html.

    Raises what `open_run` does. MissingExtra: jinja2 or matplotlib is not installed. WriteError.
    """
    run = open_run(folder)
    summary = summarize(run)
    write_text(run.folder / SUMMARY, json.dumps(summary, indent=1, ensure_ascii=False) + "\n")
    drawn = plots.draw(run, summary)
    for name, picture in drawn.items():
        write_atomic(run.folder / PLOTS / f"{name}.png", partial(Path.write_bytes, data=picture))
    page = render("run.html", {**context(run, summary), "plots": data_urls(drawn)})
    return write_text(run.folder / REPORT, page)
