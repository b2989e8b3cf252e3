"""One step of a run once more: what its loss was, and which samples make it no number."""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adaface.errors import FormatError, MissingFileError
from adaface.training import checkpoint
from adaface.training.distributed import ONE
from adaface.training.metrics import ABOUT, last_step, starts
from adaface.training.plan import Part, StepPlan
from adaface.training.recipe import Recipe
from adaface.training.run import PLAN, Run
from adaface.training.settings import PLACES, LoopConfig
from adaface.training.state import Hooks
from adaface.training.step import Outcome


@dataclass(frozen=True)
class Measured:
    """What the loss and its gradients are for some samples. terms: named scalars, already weighted."""

    names: tuple[str, ...]
    terms: Mapping[str, float]
    grad_norm: float

    @property
    def finite(self) -> bool:
        """True if all of it are numbers."""
        return all(map(math.isfinite, [*self.terms.values(), self.grad_norm]))


@dataclass(frozen=True)
class Replay:
    """A step that was run again. parts: as the run read the batch; samples: of bad parts, one by one."""

    plan: StepPlan
    weights: Path  # the checkpoint that it began from, or the run's `start`
    parts: tuple[Measured, ...]
    samples: tuple[Measured, ...]

    @property
    def bad_names(self) -> list[str]:
        """The samples that, each by itself, make the loss or the gradients no number."""
        return [name for sample in self.samples if not sample.finite for name in sample.names]


def replay(
    recipe: Recipe, config: LoopConfig, run: str | Path, *, step: int | None = None, start: Path | None = None
) -> Replay:
    """Run a step again, with the weights before it, and change nothing in the run's folder.

    step: its number, as metrics count it; None: the one that stopped the run. For a step that did not, the
    run is repeated in memory from the newest checkpoint before it. start: where the weights that the run
    began with are kept, if the recipe holds them now: then it is repeated from there where no checkpoint is
    left. One process replays what several did. Leaves the weights before the step in the recipe's modules.
    Raises MissingFileError: no such step is recorded or done. FormatError: the run is another recipe's.
    """
    run = Path(run)
    failed = _failed(run, step)
    if failed is None and step is not None:
        _done(run, step)
    folder = failed or _before(run, step, start)
    report = _report(failed / PLAN) if failed is not None else {}
    seed, parts = _begun(run) if folder == start else _stood(folder)
    config = dataclasses.replace(config, accumulate=parts)
    again = Run(recipe, config, run, seed=seed, hooks=Hooks(), ranks=ONE)
    if folder != start:
        again.restore(folder)
    number = again.progress.step + 1 if step is None else step
    again.repeat(number - 1)
    plan = StepPlan.from_json(report["plan"]) if report else again.plan(number)
    return _measured(again, plan, folder)


def _stood(folder: Path) -> tuple[int, int]:
    """A checkpoint's seed, and in how many parts its batches were read by all processes."""
    state = checkpoint.read_state(folder)
    return state.seed, state.parts


def _begun(run: Path) -> tuple[int, int]:
    """The same of a run's last start from nothing. Raises FormatError: `run.json` does not say."""
    try:
        row = [row for row in starts(run) if row["step"] == 0][-1]
        return int(row["seed"]), int(row["processes"]) * int(row["accumulate"])
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise FormatError(
            f"{run / ABOUT}: does not say how the run began, so that its first steps cannot be done again. "
            "Name a step after one of its checkpoints"
        ) from error


def _measured(run: Run, plan: StepPlan, folder: Path) -> Replay:
    names = tuple(run.recipe.names(plan))

    def measure(part: Part) -> Measured:
        outcome: Outcome = run.stepper.measure(plan, part)
        return Measured(tuple(part.take(names)), outcome.terms, outcome.norm)

    parts = run.stepper.parts
    whole = [measure(part) for part in parts]
    rows = range(len(plan.rows))
    looked_at = [
        row for part, seen in zip(parts, whole, strict=True) if not seen.finite for row in part.take(rows)
    ]
    return Replay(plan, folder, tuple(whole), tuple(measure(Part(row, len(rows))) for row in looked_at))


def _failed(run: Path, step: int | None) -> Path | None:
    """The report of the step that stopped the run; None: of this step there is none."""
    there: Sequence[Path] = checkpoint.failed(run)
    if step is None:
        if not there:
            raise MissingFileError(
                f"{run / checkpoint.FAILED}: no step stopped this run. Name one with --step, or give "
                "another run"
            )
        return there[-1]
    return next((folder for folder in there if folder.name == f"step-{step:09d}"), None)


def _before(run: Path, step: int | None, start: Path | None = None) -> Path:
    """The newest checkpoint from which this step can be reached, or `start`."""
    there = [folder for folder in checkpoint.checkpoints(run) if step and int(folder.name[5:]) < step]
    if not there and start is not None:
        return start
    if not there:
        raise MissingFileError(
            f"{run}: no checkpoint before step {step}. The run keeps the last and the best ones (keep_last)"
        )
    checkpoint.verify(there[-1])
    return there[-1]


def settings_of(run: Path, step: int | None, start: Path | None = None) -> Mapping[str, Any] | None:
    """The settings that were in force at a step (None: the one that stopped the run); None: not written down.

    start: as of `replay`. Raises MissingFileError: no such step, or other settings were in force between the
    checkpoint before it and the step, so that it cannot be reached from there.
    """
    reported = _failed(run, step)
    number = int(reported.name[5:]) if reported is not None else step or 0
    if reported is None:
        _done(run, number)
    before = None if reported is not None else _before(run, number, start)
    began = number - 1 if before is None else 0 if before == start else int(before.name[5:])
    rows = starts(run)
    now, then = (_last(rows, at) for at in (number, began + 1))
    if now is not None and then is not None and _learnt(now) != _learnt(then):
        raise MissingFileError(
            f"{run}: no checkpoint between step {number} and the change of its settings before that step. "
            "Keep more of them (keep_last)"
        )
    return now


def _learnt(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Without where it ran: a data set that was moved is the same one, by its hash."""
    return {name: value for name, value in settings.items() if name not in PLACES}


def _last(rows: Sequence[Mapping[str, Any]], step: int) -> Mapping[str, Any] | None:
    """The settings of the last start before a step: what was done of it earlier was done again."""
    before = [row for row in rows if row["step"] < step]
    settings = before[-1].get("settings") if before else None
    return settings if isinstance(settings, dict) else None


def _done(run: Path, step: int) -> None:
    """Raises MissingFileError: the run has not come so far, or no step has such a number."""
    if step < 1:  # such numbers have plans, too: a validation's
        raise MissingFileError(f"{run}: no step {step}: the first one is 1")
    there = [int(folder.name[5:]) for folder in [*checkpoint.checkpoints(run), *checkpoint.failed(run)]]
    last = max([last_step(run), *there])
    if step > last:
        raise MissingFileError(f"{run}: no step {step} yet: the last one that it tells of is {last}")


def _report(path: Path) -> dict[str, Any]:
    checkpoint.verify(path.parent)
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise FormatError(f"{path}: no report of a step ({error})") from error
