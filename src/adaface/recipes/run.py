"""Runs of any recipe: begin one, go on with one, look again at a step of one.

A run's folder holds, beside what the loop writes: `config.yaml` (all settings), `start/` (the weights that it
began with), `tensorboard/`, and at the end `encoder/`.
"""

import json
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaface.errors import ConfigError, DamagedFileError, MissingFileError, WriteError
from adaface.files import write_atomic
from adaface.optional import require
from adaface.recipes.config import ENCODER, TrainConfig, resolved
from adaface.recipes.registry import load_config, open_recipe
from adaface.training.config import Layer, flat, read_yaml, to_plain, to_yaml
from adaface.training.settings import PLACES, LoopConfig

if TYPE_CHECKING:
    from adaface.recipes.registry import Experiment
    from adaface.training.distributed import Ranks
    from adaface.training.replay import Replay
    from adaface.training.state import Progress, RunState

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
        """Numbers for a row of the metrics: the pace since the last one; the first step tells of none."""
        if self.steps == self.row[0]:
            return {}
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

    tell: after each step, in the first process. Raises ConfigError: there is something in the folder, or
    another process trains in it. Further what opening the data and the models and the loop raise.
    """
    run = Path(run)
    with ExitStack() as until:
        _hold(until, run, ranks)
        ranks.on_first(lambda: _refuse(run))
        return _fit(resolved(config), run, ranks, tell)


def resume(run: str | Path, ranks: "Ranks", over: Layer, tell: Tell = lambda p, q: None) -> "Progress":
    """Go on with a run, with everything as it was; over: settings that may change, such as `loop.steps`.

    Raises ConfigError: `init_from` is among them, since a run that goes on has its weights already, or
    another setting that decides what is trained; or the run was done and still is, so that no step would
    have a setting; or another process trains in it. MissingFileError: no run there. What is refused changes
    nothing of the run.
    """
    run = Path(run)
    read_run(run, over)
    with ExitStack() as until:
        _hold(until, run, ranks)
        config = read_run(run, over)  # again: it may have changed until it was held
        _check_steps_left(run, config)
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
    before, now = resolved(load_config([written])), resolved(load_config([written, over]))
    fixed = [name for name in FIXED if getattr(before, name, None) != getattr(now, name, None)]
    if fixed:
        raise ConfigError(
            f"{', '.join(fixed)}: part of what {run} is, so that it cannot change while it goes on. Begin a "
            f"new run from its weights instead: init_from={run}"
        )
    return now


def _check_steps_left(run: Path, config: TrainConfig) -> None:
    """Raises ConfigError: the run was done and still is, so that what `config` changes would do nothing.

    A run that was stopped may end where it stands, by `loop.steps` of what is done.
    """
    from adaface.training import checkpoint

    written = read_run(run, Layer("", {}))
    before, now = flat(to_plain(written)), flat(to_plain(config))
    changed = [
        f"{name}={now.get(name)}"
        for name in before | now
        if before.get(name) != now.get(name) and name not in PLACES
    ]
    newest = checkpoint.latest(run) if changed else None
    if newest is None:
        return
    state = checkpoint.read_state(newest)
    if _done(state, written.loop) and _done(state, config.loop):
        by_steps = state.step >= config.loop.steps
        longer = f"loop.steps={2 * state.step}" if by_steps else f"loop.seconds={2 * state.seconds + 1:.0f}"
        raise ConfigError(
            f"{', '.join(changed)}: {run} is done after {state.step} steps, and no step is left for that. "
            f"Let it go on longer ({longer}), or begin a new run from its weights: "
            f"init_from={run}"
        )


def _done(state: "RunState", loop: LoopConfig) -> bool:
    return state.step >= loop.steps or state.seconds >= loop.seconds


def replay(run: str | Path, step: int | None, ranks: "Ranks") -> "Replay":
    """Do a step of a run again and tell its loss sample by sample: the one it stopped at, or step `step`.

    With the settings that were in force then. Raises MissingFileError: no run, or no such step.
    """
    from adaface.training import replay as training

    run = Path(run)
    config, start = read_run(run, Layer("", {})), _start_of(run)
    then = training.settings_of(run, step, start)
    if then is not None:
        here = {name: getattr(config, name) for name in PLACES}
        config = resolved(load_config([Layer(f"{run / ABOUT}", {**then, **here})]))
    recipe = open_recipe(config, ranks.device, start)
    try:
        return training.replay(recipe, config.loop, run, step=step, start=start)
    finally:
        recipe.close()


def _refuse(run: Path) -> None:
    if (run / CONFIG).exists():
        raise ConfigError(
            f"{run}: there is a run in it already. Go on with it: adaface train --resume {run}; or give "
            "another --out"
        )
    if any(run.iterdir()):
        raise ConfigError(
            f"{run}: there is something in it that is no run. Give another --out, or an empty one"
        )


def _hold(until: ExitStack, run: Path, ranks: "Ranks") -> None:
    """Keep others out of the folder for as long as `until` lasts."""
    from adaface.training.checkpoint import alone

    ranks.on_first(lambda: until.enter_context(alone(run)))


def _start_of(run: Path) -> Path | None:
    """The encoder that a run began with; None if it was stopped before it was written."""
    folder = run / START / ENCODER
    return folder if (folder / "config.json").is_file() else None


def _fit(config: TrainConfig, run: Path, ranks: "Ranks", tell: Tell) -> "Progress":
    from adaface.training.loop import fit
    from adaface.training.metrics import MetricWriter
    from adaface.training.state import Hooks

    ranks.check(config.batch, config.loop.accumulate)
    curves = _Curves(run / TENSORBOARD, config.tensorboard and ranks.first)
    start = _start_of(run)
    recipe = open_recipe(config, ranks.device, start)
    meter = _Meter(recipe, config.batch)
    about = {"recipe": config.recipe, **recipe.about()}

    def validate() -> float | None:
        value = recipe.validate()
        if value is not None:
            row = {"step": meter.steps, "validation": float(f"{value:.6g}")}
            MetricWriter(run).write(row)
            curves.write(row)
        return value

    def begun(progress: "Progress") -> None:
        write_atomic(run / CONFIG, lambda path: path.write_text(to_yaml(config), encoding="utf-8"))
        curves.open(progress.step)
        if start is None and progress.step == 0:
            _write_start(recipe, run, validate)

    hooks = Hooks(
        tell=lambda progress: tell(progress, meter.see(progress)),
        log=curves.write,
        figures=meter.figures,
        validate=validate,
        begun=begun,
        export=recipe.export,
    )
    settings = json.loads(json.dumps(to_plain(config)), parse_constant=str)  # JSON has no infinity
    try:
        _check_data(run, about)
        done = fit(
            recipe,
            config.loop,
            run,
            seed=config.seed,
            hooks=hooks,
            ranks=ranks,
            about=about,
            settings=settings,
            held=True,
        )
        if done.finished:
            ranks.on_first(lambda: recipe.export(run))  # fit leaves the averages in place
    finally:
        curves.close()
        recipe.close()
    return done


def _check_data(run: Path, about: Mapping[str, Any]) -> None:
    """Raises ConfigError: the run saw other data, so that its plans would mean other pictures.

    DamagedFileError: what it saw cannot be read.
    """
    if not (run / ABOUT).exists():
        return
    try:
        before = str(json.loads((run / ABOUT).read_text(encoding="utf-8"))["data"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DamagedFileError(
            f"{run / ABOUT}: cannot be read ({error!r}), so that nobody knows which data this run saw. "
            "Put back a copy of it, or remove it if the data is surely the same"
        ) from error
    if before != about["data"]:
        raise ConfigError(
            f"{run}: this run was trained on data whose index is {before[:12]}, now it is "
            f"{about['data'][:12]}. Give the folder it was (data=FOLDER), or begin a new run from its "
            f"weights: init_from={run}"
        )


def _write_start(recipe: "Experiment", run: Path, validate: Callable[[], object]) -> None:
    """The weights that a run begins with, how good they are, and what they draw."""
    recipe.export(run / START)
    validate()
    if (picture := recipe.sample()) is not None:
        write_atomic(run / SAMPLES / f"step-{0:09d}.png", lambda path: picture.save(path))


class _Curves:
    """Rows of the metrics as curves for TensorBoard; nothing of it where it is not wanted."""

    def __init__(self, folder: Path, wanted: bool) -> None:
        if wanted:
            require("tensorboard", extra="train")
        self._folder, self._wanted = folder, wanted
        self._writer: Any = None

    def open(self, step: int) -> None:
        """Begin after a step; curves of later ones are done again. Raises WriteError: disk trouble."""
        if not self._wanted:
            return
        from torch.utils.tensorboard import SummaryWriter

        try:
            self._writer = SummaryWriter(self._folder, purge_step=step + 1)
        except OSError as error:
            raise WriteError(
                f"{self._folder}: not written ({error.strerror}). Make it writable, or leave the curves out: "
                "tensorboard=false"
            ) from error

    def write(self, row: Mapping[str, Any]) -> None:
        """A point for each number of a row."""
        if self._writer is None:
            return
        for name, value in row.items():
            if isinstance(value, int | float) and name != "step":
                self._writer.add_scalar(name, value, int(row["step"]))
        self._writer.flush()

    def close(self) -> None:
        """Write what is left."""
        if self._writer is not None:
            self._writer.close()
