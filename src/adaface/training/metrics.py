"""What a run tells in files: one JSON line of numbers now and then, and what it ran on."""

import json
import math
import platform
import subprocess
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from adaface.errors import WriteError
from adaface.files import write_atomic
from adaface.training.distributed import Ranks

METRICS, ABOUT = "metrics.jsonl", "run.json"
_LIBRARIES = ("adaface", "torch", "diffusers", "transformers", "safetensors", "numpy", "prodigyopt")


class MetricWriter:
    """`metrics.jsonl`: one line for every so many steps, with the means since the line before."""

    def __init__(self, run: Path) -> None:
        self.path = run / METRICS
        self.sums: dict[str, float] = {}
        self.count = 0

    def add(self, values: Mapping[str, float]) -> None:
        """One step's numbers."""
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        self.count += 1

    def row(self, head: Mapping[str, Any], more: Mapping[str, float]) -> dict[str, Any]:
        """A line's numbers: the means of what was added, between `head` and `more`; counting begins anew."""
        means = {name: _short(value / self.count) for name, value in self.sums.items()}
        self.sums, self.count = {}, 0
        return {**head, **means, **{name: _short(value) for name, value in more.items()}}

    def write(self, row: Mapping[str, Any]) -> None:
        """Append a line. Raises WriteError: disk trouble."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps(row) + "\n")
        except OSError as error:
            raise WriteError(
                f"{self.path}: not written ({error.strerror}). Free some space and resume: the last "
                "checkpoint is whole"
            ) from error

    def cut(self, step: int) -> None:
        """Forget lines of later steps than `step`, which are done again, and a line that was cut off."""
        if not self.path.is_file():
            return
        text = self.path.read_text(encoding="utf-8", errors="replace")
        kept = [line for line in text.splitlines() if _step(line) <= step]
        told = "".join(f"{line}\n" for line in kept)
        if told != text:
            write_atomic(self.path, lambda path: path.write_text(told, encoding="utf-8"))


def write_about(run: Path, about: Mapping[str, Any], ranks: Ranks, *, step: int, **started: Any) -> None:
    """`run.json`: `about`, and for each start of the run from which step, where, on how many processes.

    Raises WriteError: disk trouble.
    """
    path, before = run / ABOUT, starts(run)
    row = {"step": step, "processes": ranks.world, **started, "versions": versions(), "git": git_state()}
    text = json.dumps({**about, "started": [*before, row]}, indent=2) + "\n"
    write_atomic(path, lambda beside: beside.write_text(text, encoding="utf-8"))


def starts(run: Path) -> list[dict[str, Any]]:
    """The rows of `run.json` for each start of the run, oldest first; none if it says nothing of that."""
    try:
        rows = json.loads((run / ABOUT).read_text(encoding="utf-8"))["started"]
        return [row for row in rows if isinstance(row, dict) and isinstance(row.get("step"), int)]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def last_step(run: Path) -> int:
    """The last step that `metrics.jsonl` has a line of; 0: none."""
    try:
        lines = (run / METRICS).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return 0
    return int(max((step for step in map(_step, lines) if math.isfinite(step)), default=0))


def versions() -> dict[str, str]:
    """Of Python and of the libraries that a training depends on."""
    found = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def git_state() -> dict[str, Any] | None:
    """Commit of the source that runs, and whether it was changed since; None: it is not in a repository."""
    here = Path(__file__).parents[1]
    commit = _git(here, "rev-parse", "HEAD")
    if commit is None or _git(here, "ls-files", "--error-unmatch", "training/metrics.py") is None:
        return None  # some other repository that an environment happens to lie in
    return {"commit": commit, "changed": bool(_git(here, "status", "--porcelain", "--", "."))}


def _git(folder: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _step(line: str) -> float:
    """Of a line of metrics; infinite if it is none."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return math.inf


def _short(value: float) -> float:
    return float(f"{value:.6g}")
