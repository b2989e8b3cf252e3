"""One resumable loop for every recipe: plan, step, log, save, sample, on one process or several.

`RUN/` holds `run.json` (what it ran on), `metrics.jsonl`, `samples/`, `checkpoints/` and, after a loss that
is no number, `failed/`. Stop it with Ctrl-C, SIGTERM or a kill: the same call goes on from the last
checkpoint, which is there whole or not at all.
"""

import math
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from adaface.training import checkpoint
from adaface.training.distributed import ONE, Ranks
from adaface.training.recipe import Recipe
from adaface.training.run import Run
from adaface.training.settings import LoopConfig
from adaface.training.state import Hooks, Progress

AGAIN_S = 2.0  # a launcher repeats a signal at once, a person who is in earnest later


def fit(
    recipe: Recipe,
    config: LoopConfig,
    folder: str | Path,
    *,
    seed: int = 0,
    hooks: Hooks | None = None,
    ranks: Ranks = ONE,
    about: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    held: bool = False,
) -> Progress:
    """Train until the end that `config` names; resumes from `folder`; leaves the averages in the modules.

    seed: of all plans. about: what `run.json` says of the run, such as its recipe and its data's hash.
    settings: what it says of this start. held: the caller keeps others out of the folder (`alone`).
    With several processes, each calls this with its `ranks`; all must see the same `folder`.
    Raises FormatError: the folder holds a run of another recipe, or an older version's. DamagedFileError: no
    checkpoint in it is whole. ConfigError: another process trains in it. WriteError: disk trouble.
    NonFiniteError: the loss or gradients are no numbers. KeyboardInterrupt: a second Ctrl-C, unsaved.
    """
    run = Run(recipe, config, Path(folder), seed=seed, hooks=hooks or Hooks(), ranks=ranks)
    progress = run.progress
    with ExitStack() as until, _stop_flag() as stopped:
        if not held:
            ranks.on_first(lambda: until.enter_context(checkpoint.alone(run.folder)))
        run.open(about or {}, settings)
        trained = run.train(stopped)
        progress.finished = progress.share >= 1
        if trained:
            run.save()
        if trained and progress.finished:
            run.sample()
    run.stepper.weights.use_averages()
    return progress


@contextmanager
def _stop_flag() -> Iterator[list[bool]]:
    """A list that becomes non-empty at SIGTERM or Ctrl-C, so that a run ends after its step and saves.

    A second Ctrl-C, some seconds after the first one, raises KeyboardInterrupt at once.
    """
    stopped: list[bool] = []
    since = [math.inf]

    def told(kind: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if kind == signal.SIGINT and now - since[0] > AGAIN_S:
            raise KeyboardInterrupt
        since[0] = min(since[0], now)
        stopped.append(True)

    kinds = (signal.SIGTERM, signal.SIGINT)
    try:
        before = [signal.signal(kind, told) for kind in kinds]
    except ValueError:  # not in the main thread: nobody sends signals there
        yield stopped
        return
    try:
        yield stopped
    finally:
        for kind, handler in zip(kinds, before, strict=True):
            signal.signal(kind, handler)
