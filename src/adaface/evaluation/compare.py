"""RUN FOLDERS -> A COMPARISON: several runs side by side, as figures and as a page."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from adaface.evaluation import pairing
from adaface.evaluation.report import comparison
from adaface.files import write_text

JSON, HTML = "compare.json", "compare.html"


def compare(folders: Sequence[str | Path]) -> dict[str, Any]:
    """The figures of two or more runs on what they have in common, and the differences to the first run.

    Pictures are paired by person and prompt (and by seed, where the runs share seeds); a difference is a mean
    over people of each one's own difference, with a bootstrap interval over people. What is not common is
    counted in `notes`. Raises ConfigError: fewer than two runs, one twice, or nothing in common. What
    `open_run` raises.
    """
    runs = pairing.named(folders)
    return pairing.differences(runs, pairing.common(runs))


def write(folders: Sequence[str | Path], out: str | Path) -> Path:
    """Write compare.json and compare.html (self-contained) into the folder `out`; returns the page.

    Raises what `compare` does; MissingExtra: jinja2 or matplotlib is not installed. WriteError.
    """
    runs = pairing.named(folders)
    both = pairing.common(runs)
    figures = pairing.differences(runs, both)
    page = comparison.page(runs, both, figures)
    write_text(Path(out) / JSON, json.dumps(figures, indent=1, ensure_ascii=False) + "\n")
    return write_text(Path(out) / HTML, page)
