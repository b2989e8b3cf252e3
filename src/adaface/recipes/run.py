"""Runs of any recipe: begin one, go on with one, look again at a step of one.

A run's folder holds, beside what the loop writes: `config.yaml` (all settings), `start/` (the weights that it
began with), `tensorboard/`, and at the end `encoder/`.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaface.errors import ConfigError, MissingFileError
from adaface.files import write_atomic
from adaface.optional import require
from adaface.recipes.config import TrainConfig
from adaface.recipes.registry import load_config, open_recipe
from adaface.training.config import Layer, read_yaml, to_yaml

if TYPE_CHECKING:
    from adaface.recipes.registry import Experiment
    from adaface.training.distributed import Ranks
    from adaface.training.replay import Replay
    from adaface.training.state import Progress

FIXED = ("recipe", "stack", "seed", "kv_multipliers")  # settings that decide what a run is
CONFIG, START, TENSORBOARD, SAMPLES, ABOUT = "config.yaml", "start", "tensorboard", "samples", "run.json"
Tell = Callable[["Progress", "Pace"], None]


@dataclass
class Pace:
    """How fast this process trains: told with the progress, and written into the metrics.

    images: a second, of all processes. waiting: share of the time that the loop waited for samples.
    """

    images: float = 0.0
    waiting: float = 0.0


@dataclass
class _Meter:
    """Pace since the run began here, and since the last row of the metrics."""

    recipe: "Experiment"
    batch: int
    steps: int = 0
    spent: float = 0.0  # seconds of training, the loop's own
    began: tuple[int, float] | None = None  # step and seconds when the first step here was done
    waited: float = 0.0  # by then
    row: tuple[int, float, float] = (0, 0.0, 0.0)  # step, seconds and waiting at the last row

    def see(self, progress: "Progress") -> Pace:
        """Pace since the second step here; the first pays for what is set up once."""
        self.steps, self.spent = progress.step, progress.seconds
        if self.began is None:
            self.began, self.waited = (progress.step, progress.seconds), self.recipe.waited
            self.row = (progress.step, progress.seconds, self.waited)
        return self._since(*self.began, self.waited)

    def figures(self) -> Mapping[str, float]:
        """Numbers for a row of the metrics: the pace since the last one."""
        pace = self._since(*self.row)
        self.row = (self.steps, self.spent, self.recipe.waited)
        return {"images_per_second": round(pace.images, 3), "waiting": round(pace.waiting, 4)}

    def _since(self, step: int, seconds: float, waited: float) -> Pace:
        took = self.spent - seconds
        if took <= 0:
            return Pace()
        return Pace((self.steps - step) * self.batch / took, (self.recipe.waited - waited) / took)


def train(
    config: TrainConfig, run: str | Path, ranks: "Ranks", tell: Tell = lambda progress, pace: None
) -> "Progress":
    """Begin a run in a new folder; `ranks` of `adaface.training.distributed.joined`.

    tell: after each step, in the first process. Raises ConfigError: there is a run in the folder. Further
    what opening the data and the models and the loop raise.
    """
    run = Path(run)
    ranks.on_first(lambda: _refuse(run))
    if config.data is not None:  # so that the run goes on from any folder
        config = replace(config, data=str(Path(config.data).resolve()))
    return _fit(config, run, ranks, tell)


def resume(run: str | Path, ranks: "Ranks", over: Layer, tell: Tell = lambda p, q: None) -> "Progress":
    """Go on with a run, with everything as it was; over: settings that may change, such as `loop.steps`.

    Raises ConfigError: `init_from` is among them, since a run that goes on has its weights already, or
    another setting that decides what is trained. MissingFileError: no run there.
    """
    run = Path(run)
    config = read_run(run, over)
    return _fit(config, run, ranks, tell)


def read_run(run: Path, over: Layer) -> TrainConfig:
    """The settings of a run, some of them changed. Raises as `resume`."""
    if not (run / CONFIG).is_file():
        raise MissingFileError(f"{run}: no run there (no {CONFIG}). Give the folder that --out named")
    if "init_from" in over.values:
        raise ConfigError(
            "init_from and --resume contradict each other: a run that goes on has its weights. Leave one "
            "out: --resume goes on with everything as it was, init_from begins a new run with weights alone"
        )
    written = replace(read_yaml(run / CONFIG), origin=str(run / CONFIG))
    before, now = load_config([written]), load_config([written, over])
    fixed = [name for name in FIXED if getattr(before, name, None) != getattr(now, name, None)]
    if fixed:
        raise ConfigError(
            f"{', '.join(fixed)}: part of what {run} is, so that it cannot change while it goes on. Begin a "
            f"new run from its weights instead: init_from={run}"
        )
    return now


def replay(run: str | Path, step: int | None, ranks: "Ranks") -> "Replay":
    """Do a step of a run again and tell its loss sample by sample: the one it stopped at, or step `step`.

    Raises MissingFileError: no run, or no such step.
    """
    from adaface.training import replay as training

    run = Path(run)
    config = read_run(run, Layer("", {}))
    recipe = open_recipe(config, ranks.device, _start_of(run))
    try:
        return training.replay(recipe, config.loop, run, step=step)
    finally:
        recipe.close()


def _refuse(run: Path) -> None:
    if (run / CONFIG).exists():
        raise ConfigError(
            f"{run}: there is a run in it already. Go on with it: adaface train --resume {run}; or give "
            "another --out"
        )


def _start_of(run: Path) -> Path | None:
    """The encoder that a run began with; None if it was stopped before it was written."""
    folder = run / START / "encoder"
    return folder if (folder / "config.json").is_file() else None


def _fit(config: TrainConfig, run: Path, ranks: "Ranks", tell: Tell) -> "Progress":
    from adaface.training.loop import fit
    from adaface.training.metrics import MetricWriter
    from adaface.training.state import Hooks

    start = _start_of(run)
    recipe = open_recipe(config, ranks.device, start)
    meter = _Meter(recipe, config.batch)
    about = {"recipe": config.recipe, **recipe.about()}
    try:
        _check_data(run, about)
        with _tensorboard(run, config.tensorboard and ranks.first) as log:

            def validate() -> float | None:
                value = recipe.validate()
                if value is not None:
                    row = {"step": meter.steps, "validation": value}
                    MetricWriter(run).write(row)
                    log(row)
                return value

            ranks.on_first(lambda: _write_start(config, recipe, run, validate))
            hooks = Hooks(
                tell=lambda progress: tell(progress, meter.see(progress)),
                log=log,
                figures=meter.figures,
                validate=validate,
                export=recipe.export,
            )
            done = fit(recipe, config.loop, run, seed=config.seed, hooks=hooks, ranks=ranks, about=about)
        if done.finished:
            ranks.on_first(lambda: recipe.export(run))  # fit leaves the averages in place
    finally:
        recipe.close()
    return done


def _check_data(run: Path, about: Mapping[str, Any]) -> None:
    """Raises ConfigError: the run saw other data, so that its plans would mean other pictures."""
    try:
        before = json.loads((run / ABOUT).read_text(encoding="utf-8"))["data"]
    except (OSError, ValueError, KeyError, TypeError):
        return
    if before != about["data"]:
        raise ConfigError(
            f"{run}: this run was trained on data whose index is {before[:12]}, now it is "
            f"{about['data'][:12]}. Give the folder it was (data=FOLDER), or begin a new run from its "
            f"weights: init_from={run}"
        )


def _write_start(
    config: TrainConfig, recipe: "Experiment", run: Path, validate: Callable[[], object]
) -> None:
    """Only once all is open: what could not begin leaves nothing that looks like a run."""
    write_atomic(run / CONFIG, lambda path: path.write_text(to_yaml(config), encoding="utf-8"))
    if _start_of(run) is None:
        recipe.export(run / START)
        validate()
        if (picture := recipe.sample()) is not None:
            write_atomic(run / SAMPLES / f"step-{0:09d}.png", lambda path: picture.save(path))


@contextmanager
def _tensorboard(run: Path, wanted: bool) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """A function that writes a row of the metrics as curves; nothing if it is not wanted."""
    if not wanted:
        yield lambda row: None
        return
    require("tensorboard", extra="train")
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(run / TENSORBOARD)

    def log(row: Mapping[str, Any]) -> None:
        for name, value in row.items():
            if isinstance(value, int | float) and name != "step":
                writer.add_scalar(name, value, int(row["step"]))
        writer.flush()

    try:
        yield log
    finally:
        writer.close()
