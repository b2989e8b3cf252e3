"""Ablations of a recipe: runs from one checkpoint with equal budgets, one after the other; then evidence."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaface.errors import ConfigError
from adaface.files import write_text
from adaface.mini.evidence.plan import Ablations
from adaface.mini.evidence.rows import file_name
from adaface.recipes.config import ENCODER, TrainConfig, resolved
from adaface.recipes.run import CONFIG, read_run, resume, train
from adaface.training.config import Layer, to_plain

if TYPE_CHECKING:
    from adaface.recipes.run import Pace
    from adaface.training.distributed import Ranks
    from adaface.training.state import Progress

RUNS, DONE = "runs", "ablations.json"
# settings that may be others each time; another start has words of its own
HERE = ("device", "workers", "data", "stack", "init_from", "tensorboard")
Tell = Callable[[str, "Progress", "Pace"], None]


@dataclass(frozen=True)
class Run:
    """A run that is done. place: its encoder's folder. seconds: of training."""

    name: str
    place: Path
    steps: int
    seconds: float

    def __str__(self) -> str:
        return f"{self.name}: {self.steps} steps in {self.seconds:.0f} s"


def run_all(
    plan: Ablations, out: str | Path, ranks: "Ranks", tell: Tell = lambda name, progress, pace: None
) -> list[Run]:
    """Do every run of a plan below `out`/runs, or go on with it; what is done is not done again.

    tell: after each step: the run's name, where it is, how fast. Raises ConfigError: a run was begun there
    with other settings. KeyboardInterrupt: a signal stopped one; it is saved. Further what training raises.
    """
    folders = {name: Path(out) / RUNS / file_name(name) for name in plan.configs}
    for name, config in plan.configs.items():  # all of them before hours go into the first
        if (folders[name] / CONFIG).is_file():
            _check_same(folders[name], config)
    done = []
    for name, config in plan.configs.items():
        folder = folders[name]
        known = _known(folder)
        if known is None:
            known = _train(folder, config, ranks, partial(tell, name))
        done.append(Run(name, folder / ENCODER, int(known["steps"]), float(known["seconds"])))
    return done


def told(plan: Ablations, runs: Sequence[Run]) -> tuple[str, ...]:
    """What a page says of how its rows were made."""
    config = next(iter(plan.configs.values()))
    own = [f"{run.name}: {_words(plan.changes[run.name])}, {run.seconds:.0f} s" for run in runs]
    return (
        f"Ablations by the plan {plan.origin} (recipe {config.recipe}): each run {plan.budget} from "
        f"{config.init_from or 'a copy of the text encoder'} on, with seed {config.seed}: the same photos, "
        "noise and coins in all. Each was trained once: the intervals are over people, and say nothing of "
        "another seed",
        *own,
    )


def _words(changes: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in changes.items()) or "as planned"


def _train(
    folder: Path, config: TrainConfig, ranks: "Ranks", tell: "Callable[[Progress, Pace], None]"
) -> dict[str, Any]:
    if (folder / CONFIG).is_file():
        ended = resume(folder, ranks, Layer("", {"device": config.device}), tell)
    else:
        ended = train(config, folder, ranks, tell)
    if not ended.finished:
        raise KeyboardInterrupt(f"{folder}: stopped and saved; the same command goes on")
    known = {"steps": ended.step, "seconds": round(ended.seconds, 1)}
    write_text(folder / DONE, json.dumps(known) + "\n")
    return known


def _known(folder: Path) -> Mapping[str, Any] | None:
    """How a run ended; None: it has not."""
    if not ((folder / DONE).is_file() and (folder / ENCODER / "config.json").is_file()):
        return None
    known: dict[str, Any] = json.loads((folder / DONE).read_text(encoding="utf-8"))
    return known


def _check_same(folder: Path, config: TrainConfig) -> None:
    before, now = (to_plain(resolved(c)) for c in (read_run(folder, Layer("", {})), config))
    changed = [key for key in now if before.get(key) != now[key] and key not in HERE]
    if changed:
        raise ConfigError(
            f"{folder}: begun with another {', '.join(changed)}. Give another --out, or remove this run"
        )
    if _start(before) != _start(now):
        raise ConfigError(
            f"{folder}: begun from {_start(before)}, now it is {_start(now)}. Give another --out"
        )


def _start(settings: Mapping[str, Any]) -> object:
    return settings.get("init_from")
