"""`adaface mini`: build the small stack from face packs, measure it, look at its world."""

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adaface.cli import evidence as compared, options
from adaface.cli.console import err, mistakes_told, out, print_json, progress, say

if TYPE_CHECKING:
    from adaface.mini.build import Build
    from adaface.mini.gates import Gate

app = typer.Typer(
    no_args_is_help=True, help="Build, measure and look at the mini stack that comes with the package."
)
Data = Annotated[Path, typer.Option("--data", help="Folder with the face packs (docs/mini.md).")]
People = Annotated[int, typer.Option("--people", help="How many held-out people to measure.", min=2)]
app.command()(compared.evidence)
app.command()(compared.ablate)


@app.command()
def build(
    data: Data,
    folder: Annotated[
        Path, typer.Option("--out", "-o", help="Folder of the runs and of the finished stack.")
    ],
    preset: Annotated[
        str, typer.Option("--preset", help="cpu (hours), gpu (half an hour) or smoke (seconds).")
    ] = "cpu",
    until: Annotated[str, typer.Option("--until", help="Stop after this step.")] = "stack",
    device: options.Device = "auto",
    threads: Annotated[
        int | None,
        typer.Option("--threads", help="CPU threads; without it 1, or all with --preset gpu.", min=1),
    ] = None,
    vae_start: Annotated[
        Path | None, typer.Option("--vae-start", help="An autoencoder's folder to start from.")
    ] = None,
    start: Annotated[
        str | None, typer.Option("--start", help='A stack to go on from: "mini", or a folder.')
    ] = None,
) -> None:
    """Make the mini stack from nothing, step by step. Stop it whenever you like: the same command goes on.

    `adaface mini build --data DIR --out runs/mini`
    """
    with mistakes_told(False):
        from adaface.mini.build import Build
        from adaface.mini.config import preset as find_preset
        from adaface.pipelines.devices import choose_device
        from adaface.pipelines.stack import Stack

        _log_to_stderr()
        _threads(threads or ((os.cpu_count() or 1) if preset == "gpu" else 1))
        begun = None if start is None else Stack.load(start).folder
        made = Build(data, folder, find_preset(preset), choose_device(device), vae_start, begun)
        _run(made, until)
        result = folder / "stack" if until == "stack" else folder / "run" / until
        out.print(str(result), highlight=False, soft_wrap=True)


@app.command()
def gates(
    data: Data,
    stack: options.StackName = "mini",
    people: People = 64,
    seed: Annotated[int, typer.Option("--seed", help="Draws the people and the pictures.")] = 0,
    device: options.Device = "cpu",
    second: Annotated[
        Path | None,
        typer.Option("--second", help="Another recogniser's ONNX file, for margins by it as well."),
    ] = None,
    validation: Annotated[
        bool,
        typer.Option("--validation", help="Other people, for decisions on the way: the held-out come last."),
    ] = False,
    as_json: options.AsJson = False,
) -> None:
    """Print what the mini stack can do for people it was never trained on."""
    with mistakes_told(as_json):
        from adaface.mini.measuring import gates_of
        from adaface.mini.world.data import HELD_OUT, VALIDATION
        from adaface.pipelines.stack import Stack

        table = gates_of(
            Stack.load(stack), data, people=people, seed=seed, device=device, second=second,
            split=VALIDATION if validation else HELD_OUT, tell=lambda part: say(f"measuring: {part}"),
        )  # fmt: skip
        if as_json:
            print_json({"gates": [vars(gate) | {"passed": gate.passed} for gate in table]})
            return
        for gate in table:
            out.print(_line(gate), highlight=False, markup=False, soft_wrap=True)


@app.command()
def world(
    data: Data,
    file: Annotated[Path, typer.Option("--out", "-o", help="The picture to write.")] = Path("world.png"),
    stack: options.StackName = "mini",
    models: Annotated[
        Path | None, typer.Option("--models", help="Instead of a stack's: run/faces of a build.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Draws the sheet.")] = 0,
) -> None:
    """Write a contact sheet of the training world, and print its captions, a line a picture."""
    with mistakes_told(False):
        from adaface.mini.measuring import contact_sheet_of_world
        from adaface.pipelines.stack import Stack

        for line in contact_sheet_of_world(data, models or Stack.load(stack).path("world"), file, seed):
            out.print(line, highlight=False, markup=False, soft_wrap=True)


@app.command()
def pairs(as_json: options.AsJson = False) -> None:
    """List the pairs of backgrounds, accessories and styles that training never shows together.

    What is drawn of them tells composition from memory: `mini gates` and `mini evidence` measure both.
    """
    with mistakes_told(as_json):
        from adaface.mini.world.facts import unseen_pairs

        if as_json:
            print_json({"unseen_pairs": unseen_pairs()})
            return
        for one, other in unseen_pairs():
            out.print(f"{one} + {other}", highlight=False, markup=False)


@app.command()
def pack(
    data: Data,
    file: Annotated[Path, typer.Option("--out", "-o", help="The archive to write.")] = Path("faces.zip"),
    megabytes: Annotated[float, typer.Option("--megabytes", help="Largest size.", min=0.001)] = 40.0,
) -> None:
    """Pack what a build needs into one archive below a size, for a machine with little bandwidth."""
    with mistakes_told(False):
        from adaface.mini.pack import write_pack

        size = write_pack(data, file, int(megabytes * 1e6))
        out.print(f"{file}: {size / 1e6:.1f} MB", highlight=False, soft_wrap=True)


@app.command()
def dataset(
    data: Data,
    folder: Annotated[Path, typer.Option("--out", "-o", help="Folder of the data set.")],
    stack: options.StackName = "mini",
    size: Annotated[
        int, typer.Option("--size", help="Pixels kept of the packs' 80; 64 is FFHQ's frame.")
    ] = 64,
    latents: Annotated[int, typer.Option("--latents", help="Latents to cache of each photo.", min=0)] = 2,
    seed: Annotated[int, typer.Option("--seed", help="Draws which latents are mirrored.")] = 0,
    validation: Annotated[
        bool, typer.Option("--validation", help="The validation people instead of those to train on.")
    ] = False,
    device: options.Device = "auto",
    as_json: options.AsJson = False,
) -> None:
    """Write the face packs as a prepared data set, for `adaface train`. Nobody who is held out is in it.

    `adaface mini dataset --data DIR --out faces/`
    """
    with mistakes_told(as_json):
        from adaface.mini.dataset import write_dataset, write_latents
        from adaface.pipelines.stack import Stack

        loaded, split = Stack.load(stack), "validation" if validation else "train"
        with progress("Writing photos") as bar:
            done = write_dataset(data, folder, loaded, split=split, size=size, tell=bar)
        if latents:
            with progress("Encoding latents") as bar:
                write_latents(folder, loaded, count=latents, seed=seed, device=device, tell=bar)
        if as_json:
            print_json({"out": str(folder), "latents": latents} | vars(done))
            return
        out.print(
            f"{folder}: {done.rows} photos of {done.people} people",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )


def _run(build: "Build", until: str) -> None:
    """Each step with a bar of its own. A signal ends it with code 130 and says how to go on."""
    from adaface.mini.build import STEPS

    names = list(STEPS)
    try:
        for step in names[: names.index(until)] if until in names else []:
            _run_step(build, step)
        _run_step(build, until)
    except KeyboardInterrupt as stopped:
        say(str(stopped) or "Stopped. The same command goes on")
        raise typer.Exit(130) from None


def _run_step(build: "Build", step: str) -> None:
    from adaface.mini.build import run

    with progress(step) as bar:
        build.tell = lambda share: bar(round(100 * share), 100)
        run(build, until=step)


def _log_to_stderr() -> None:
    from rich.logging import RichHandler

    if err.is_terminal:  # rich keeps log lines and the bar apart
        handler: logging.Handler = RichHandler(console=err, show_path=False, show_level=False)
        logging.basicConfig(level=logging.INFO, format="%(message)s", datefmt="%H:%M:%S", handlers=[handler])
    else:
        logging.basicConfig(level=logging.INFO, format="%(asctime)s  %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("httpx").setLevel(logging.WARNING)


def _threads(count: int) -> None:
    import torch

    torch.set_num_threads(count)


def _line(gate: "Gate") -> str:
    aim = "" if gate.aim is None else f"  aim {gate.aim:.2f} {'reached' if gate.passed else 'MISSED'}"
    return f"{gate.name:58s} {gate.value:6.3f} [{gate.low:.3f}, {gate.high:.3f}]{aim}  {gate.note}"
