"""What `adaface evaluate` prints when it is done."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaface.cli.console import out as stdout, say

if TYPE_CHECKING:
    from adaface.evaluation.run.run import Done

SHOWN_NOTES = 8  # all are in the report


def result_of(done: "Done") -> dict[str, Any]:
    """What `--json` prints: the files, what was done in this start at which speed, and summary.json."""
    from adaface.evaluation.folder import SUMMARY

    facts = done.facts
    times = facts["times"]
    return {
        "report": str(done.report),
        "folder": str(done.folder),
        "drawn": done.drawn,
        "scored": done.scored,
        "pictures_per_second": {
            "drawn": _rate(times["drawn"], times["draw_s"]),
            "scored": _rate(times["scored"], times["score_s"]),
        },
        "times": times,
        "subjects": [one["name"] for one in facts["subjects"]],
        "left_out": facts.get("left_out", {}),
        "synthetic": facts.get("synthetic", False),
        "gates": facts.get("gates", []),
        "summary": json.loads((done.folder / SUMMARY).read_text(encoding="utf-8")),
    }


def _rate(count: float, seconds: float) -> float | None:
    return round(count / seconds, 3) if seconds else None


def tell_result(result: dict[str, Any]) -> None:
    """The same for people: a table of means, notes, times and the place of the report."""
    summary = result["summary"]
    _table(summary)
    for gate in result["gates"]:
        stdout.print(_gate(gate), highlight=False, markup=False, soft_wrap=True)
    notes = list(dict.fromkeys(summary["notes"]))
    for note in notes[:SHOWN_NOTES]:
        say(f"Note: {note}", style="yellow")
    if len(notes) > SHOWN_NOTES:
        say(f"Note: {len(notes) - SHOWN_NOTES} more stand in the report", style="yellow")
    counts, rates = summary["counts"], result["pictures_per_second"]
    speed = "; ".join(f"{value:.2f} a second {what}" for what, value in rates.items() if value is not None)
    stdout.print(
        f"{counts['all_pictures']} pictures ({result['drawn']} drawn now, {result['scored']} scored now"
        f"{'; ' if speed else ''}{speed}). Report: {result['report']}",
        highlight=False, markup=False, soft_wrap=True,
    )  # fmt: skip


def tell_comparison(figures: dict[str, Any], page: Path) -> None:
    """How other runs differ from the first one, on what they have in common, for people."""
    from rich.table import Table

    first = figures["first"]
    for name, differences in figures["differences"].items():
        table = Table("score", box=None, pad_edge=False)
        for title in (first, name, "difference", "95 % interval", ""):
            table.add_column(title.replace("[", r"\["), justify="right")
        for column, figure in differences.items():
            means = [figures["means"][run].get(column) for run in (first, name)]
            cells = ["-" if mean is None else f"{mean['mean']:.3f}" for mean in means]
            spread = _interval(figure["low"], figure["high"])
            title = figures["columns"][column]["title"]
            table.add_row(title, *cells, f"{figure['mean']:+.3f}", spread, figure["verdict"])
        stdout.print(table)
    for note in figures["notes"][:SHOWN_NOTES]:
        say(f"Note: {note}", style="yellow")
    stdout.print(f"Comparison: {page}", highlight=False, markup=False, soft_wrap=True)


def _interval(low: float | None, high: float | None) -> str:
    return "-" if low is None or high is None else f"{low:.3f} to {high:.3f}"


def _table(summary: dict[str, Any]) -> None:
    from rich.table import Table

    table = Table("score", box=None, pad_edge=False)
    variants = list(summary["variants"]) if len(summary["variants"]) > 1 else []
    for title in ("mean", "95 % interval", "people", *(name or "as it is" for name in variants)):
        table.add_column(title, justify="right")
    for name, figure in summary["overall"].items():
        others = (summary["variants"][variant].get(name) for variant in variants)
        cells = ["-" if other is None else f"{other['mean']:.3f}" for other in others]
        title = summary["columns"][name]["title"]
        table.add_row(
            title,
            f"{figure['mean']:.3f}",
            _interval(figure["low"], figure["high"]),
            str(figure["people"]),
            *cells,
        )
    stdout.print(table)


def _gate(gate: dict[str, Any]) -> str:
    aim = "" if gate["aim"] is None else f", aim {gate['aim']:g}: {'reached' if gate['passed'] else 'missed'}"
    note = f" ({gate['note']})" if gate["note"] else ""
    return f"{gate['name']}: {gate['value']:.3f} [{gate['low']:.3f}, {gate['high']:.3f}]{aim}{note}"
