"""`adaface train`: begin a run or go on with one; `adaface train replay`: look again at a step of one."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text
from typer.core import TyperCommand, TyperGroup

from adaface.cli import options
from adaface.cli.console import err, mistakes_told, out as stdout, print_json, say, working
from adaface.errors import ConfigError

if TYPE_CHECKING:
    from adaface.recipes.config import TrainConfig
    from adaface.recipes.run import Pace, Tell
    from adaface.training.config import Layer
    from adaface.training.distributed import Ranks
    from adaface.training.replay import Measured, Replay
    from adaface.training.state import Progress

STOPPED = 130
RUNS = Path("runs")  # where runs go that nobody names


class RunByDefault(TyperGroup):
    """`adaface train smoke` is `adaface train run smoke`: only other commands have to be named."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put `run` in front where no command stands."""
        if not args or args[0] not in self.commands:
            args = ["run", *(args or ["--help"])]
        return super().parse_args(ctx, args)


class Unnamed(TyperCommand):
    """`run`, as people type it: without its name."""

    def get_usage(self, ctx: Any) -> str:
        """The usage line of `adaface train`."""
        return super().get_usage(ctx).replace(" train run ", " train ", 1)


app = typer.Typer(cls=RunByDefault, help="Train an encoder on a folder of `adaface prepare`.")


@app.command(cls=Unnamed)
def run(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="CONFIG [KEY=VALUE]...",
            help="A YAML file or a preset, then settings that override it, like batch=16 loop.steps=1000. "
            "Presets for the mini stack: smoke (a minute), distill-identity (stage 1), distill-identity-wide "
            "(its second round), distill-composition (stage 2); for Stable Diffusion 1.5: reconstruct-sd15, "
            "reconstruct-sd15-wide, sd15/identity, sd15/identity-wide, sd15/composition.",
            show_default=False,
        ),
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", help="The prepared folder; short for data=FOLDER.")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder of the run; usual is runs/CONFIG.")
    ] = None,
    resume: Annotated[
        Path | None, typer.Option("--resume", help="Go on with this run, with everything as it was.")
    ] = None,
    init_from: Annotated[
        str | None,
        typer.Option("--init-from", metavar="PLACE",
                     help='Begin with these weights alone: an encoder folder, a run, or "stack".'),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, how much memory and time it takes.")
    ] = False,
    device: Annotated[str | None, typer.Option("--device", help="auto, cpu, cuda, cuda:1, mps.")] = None,
    as_json: options.AsJson = False,
) -> None:  # fmt: skip
    """Train an encoder on a prepared folder.

    `adaface prepare photos/ faces/ --size 64`, then `adaface train smoke --data faces/`

    Stop it with Ctrl-C whenever you like; `adaface train --resume RUN` goes on. `adaface train replay RUN`
    does a step again and tells its loss sample by sample: the one it stopped at, or `--step N`. On several
    GPUs: `torchrun --nproc-per-node 4 -m adaface train CONFIG`.
    """
    with mistakes_told(as_json):
        from adaface.training.config import Layer, read_overrides

        names, resume = _split(words or [], resume)
        given = {"data": data, "init_from": init_from, "device": device}
        named = {key: str(value) for key, value in given.items() if value is not None}
        over = Layer("key=value", {**read_overrides(names[1:]).values, **named})
        if resume is not None:
            if dry_run or folder is not None:
                raise ConfigError("--resume goes on in its own folder: leave out --out and --dry-run")
            if names and "=" not in names[0]:
                raise ConfigError(f"--resume goes on with the settings of {resume}: leave out {names[0]}")
            over = Layer("key=value", {**read_overrides(names).values, **named})
            _go(resume, None, over, as_json)
            return
        if not names or "=" in names[0]:
            raise ConfigError("no config is named. Give a YAML file or a preset: adaface train smoke")
        from adaface.recipes.registry import read_config

        config = read_config(names[0], over)
        if dry_run:
            _dry_run(config, as_json)
        else:
            _go(folder or RUNS / Path(names[0]).stem, config, over, as_json)


@app.command()
def replay(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of the run.")],
    step: Annotated[
        int | None, typer.Option("--step", help="Which step; usual is the one that the run stopped at.")
    ] = None,
    device: options.Device = "auto",
    as_json: options.AsJson = False,
) -> None:
    """Do a step of a run again, and tell its loss sample by sample; nothing of the run is changed."""
    with mistakes_told(as_json):
        from adaface.recipes.run import replay as again

        with working("opening the models"), _joined(device) as ranks:
            seen = again(folder, step, ranks)
        if as_json:
            print_json(_replayed(seen))
            return
        for line in _lines_of(seen):
            stdout.print(line, highlight=False, markup=False, soft_wrap=True)


def _replayed(seen: "Replay") -> dict[str, Any]:
    """What was measured, for JSON, which has no name for what is no number."""

    def told(rows: "Sequence[Measured]") -> list[dict[str, Any]]:
        return [
            {
                "names": list(row.names),
                "terms": {
                    name: value if isfinite(value) else str(value) for name, value in row.terms.items()
                },
                "grad_norm": row.grad_norm if isfinite(row.grad_norm) else str(row.grad_norm),
            }
            for row in rows
        ]

    return {
        "plan": seen.plan.to_json(),
        "weights": str(seen.weights),
        "parts": told(seen.parts),
        "samples": told(seen.samples),
        "bad": seen.bad_names,
    }


def _lines_of(seen: "Replay") -> "Iterator[str]":
    yield f"step {seen.plan.step}, from the weights in {seen.weights}"
    for number, row in enumerate(seen.parts):
        terms = ", ".join(f"{name} {value:.6g}" for name, value in row.terms.items())
        yield f"part {number}: {terms}, gradient norm {row.grad_norm:.6g}; {', '.join(row.names)}"
    if seen.bad_names:
        yield f"no number by themselves: {', '.join(seen.bad_names)}. Look at these pictures first"
    elif any(not row.finite for row in seen.parts):
        yield "each sample by itself gives numbers: only together they do not. A lower learning rate may help"
    else:
        yield "all of it are numbers"


def _split(words: Sequence[str], resume: Path | None) -> tuple[list[str], Path | None]:
    """`resume=RUN` is `--resume RUN`; the other words as they are."""
    others = [word for word in words if not word.startswith("resume=")]
    named = [Path(word.removeprefix("resume=")) for word in words if word.startswith("resume=")]
    return others, named[-1] if named else resume


def _go(folder: Path, config: "TrainConfig | None", over: "Layer", as_json: bool) -> None:
    """Train, and say how it ended; config: of a new run, None goes on with the one in the folder."""
    from adaface.recipes.run import read_run, resume, train

    device = (config or read_run(folder, over)).device
    with _joined(device) as ranks:
        with _bar(ranks, quiet=as_json) as (tell, last):
            say(f"run: {folder}", quiet=as_json or not ranks.first)
            begin = partial(resume, folder, over=over) if config is None else partial(train, config, folder)
            done = begin(ranks=ranks, tell=tell)
        if ranks.first:
            _tell_end(folder, done, last, as_json)
    if not done.finished:  # said when all processes are done: who leaves with an error has the others killed
        raise typer.Exit(STOPPED)


def _tell_end(folder: Path, done: "Progress", last: "list[Pace]", as_json: bool) -> None:
    from adaface.training.checkpoint import latest

    pace = last[-1] if last and last[-1].images else None  # one step alone tells of no pace
    report: dict[str, Any] = {
        "run": str(folder),
        "finished": done.finished,
        "step": done.step,
        "seconds": round(done.seconds, 2),
        "losses": done.terms,
        "images_per_second": round(pace.images, 2) if pace else None,
        "waiting": round(pace.waiting, 4) if pace else None,
        "checkpoint": str(latest(folder) or ""),
    }
    if done.finished:
        report["encoder"] = str(folder / "encoder")
    if as_json:
        print_json(report)
        return
    took = f"{done.step} steps, {done.seconds:.0f} s of training"
    rate = f", {pace.images:.1f} images/s, waiting {pace.waiting:.1%}" if pace else ""
    if done.finished:
        say(f"done: {took}{rate}")
        say(f'draw with it: adaface generate PHOTO --encoder {folder / "encoder"} -p "a photo of <person>"')
        stdout.print(report["encoder"], highlight=False, markup=False, soft_wrap=True)
    else:
        say(f"stopped and saved: {took}{rate}. Go on: adaface train --resume {folder}")


def _dry_run(config: "TrainConfig", as_json: bool) -> None:
    with working("loading the libraries"):
        from adaface.recipes.estimate import estimate

    with _joined(config.device) as ranks, _told(quiet=as_json or not ranks.first) as tell:
        found = estimate(config, ranks, tell)
    if not ranks.first:
        return
    if as_json:
        print_json(found.to_json())
        return
    for line in found.lines():
        stdout.print(line, highlight=False, markup=False, soft_wrap=True)


@contextmanager
def _told(*, quiet: bool) -> "Iterator[Callable[[str], None]]":
    """What is being done, on stderr: beside a spinner if a person is watching, else a line each."""
    if quiet:
        yield lambda text: None
    elif err.is_terminal:
        with err.status("") as status:
            yield lambda text: status.update(Text(text))
    else:
        yield say


@contextmanager
def _joined(device: str) -> "Iterator[Ranks]":
    """Where this process stands: among those of torchrun, or alone on the device of that name."""
    from adaface.pipelines.devices import choose_device
    from adaface.training.distributed import joined

    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    wanted = None if several and device == "auto" else choose_device(device)
    with joined(wanted) as ranks:
        yield ranks


@contextmanager
def _bar(ranks: "Ranks", *, quiet: bool) -> "Iterator[tuple[Tell, list[Pace]]]":
    """A bar on stderr if a person is watching, else a line now and then; and the last pace that was told."""
    from adaface.cli.training.bar import Lines, bar

    last: list[Pace] = []
    shown = ranks.first and not quiet
    with bar(err) if shown and err.is_terminal else Lines(say if shown else None) as show:

        def tell(progress: "Progress", pace: "Pace") -> None:
            last[:] = [pace]
            show(progress, pace)

        yield tell, last
