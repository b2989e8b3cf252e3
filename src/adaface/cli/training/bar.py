"""What is shown of a training as it goes: a bar for a person who watches, lines for a log."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from rich.console import Console

    from adaface.recipes.run import Pace
    from adaface.training.state import Progress

EVERY_S = 10.0  # between two lines


def words(progress: "Progress", pace: "Pace") -> str:
    """Losses and pace of a step: "reconstruct 0.7301, 25.1 images/s, waiting 1.2%"."""
    losses = [f"{name} {value:.4g}" for name, value in progress.terms.items()]
    speed = [f"{pace.images:.1f} images/s", f"waiting {pace.waiting:.1%}"] if pace.images else []
    return ", ".join([*losses, *speed])


def left(progress: "Progress") -> float | None:
    """Seconds that the run will still take, by the share that is done; None: too early to say."""
    done = progress.share
    return progress.seconds * (1 - done) / done if done > 0 and progress.seconds else None


def clock(seconds: float | None) -> str:
    """Seconds as 1:02:03."""
    if seconds is None:
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"


class Lines:
    """A line now and then, for output that nobody watches."""

    def __init__(self, say: Callable[[str], None] | None) -> None:
        """say: what writes a line; None writes nothing."""
        self._say, self._last = say, 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def __call__(self, progress: "Progress", pace: "Pace") -> None:
        """Tell of a step if the last line is long enough ago, or if it is the last step."""
        now = time.monotonic()
        if self._say is None or (now - self._last < EVERY_S and progress.share < 1):
            return
        self._last = now
        remaining = clock(left(progress))
        self._say(f"step {progress.step}/{progress.steps}: {words(progress, pace)}, {remaining} left")


@contextmanager
def bar(console: "Console") -> Iterator[Callable[["Progress", "Pace"], None]]:
    """A bar with steps, losses, images/s, waiting, and the time that is left; gone when it ends."""
    from rich.progress import BarColumn, Progress as Bars, TextColumn

    columns: tuple[Any, ...] = (
        TextColumn("step {task.fields[steps]}"),
        BarColumn(),
        TextColumn("{task.description}"),
    )
    columns += (TextColumn("{task.fields[left]} left"),)
    with Bars(*columns, console=console, transient=True) as bars:
        task = bars.add_task("opening the models", total=1.0, steps="0", left="?")

        def show(progress: "Progress", pace: "Pace") -> None:
            bars.update(
                task,
                completed=progress.share,
                description=words(progress, pace),
                steps=f"{progress.step}/{progress.steps}",
                left=clock(left(progress)),
            )

        yield show
