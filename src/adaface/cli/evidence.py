"""`adaface mini evidence` and `adaface mini ablate`: what each part of the method gives, side by side."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adaface.cli import options
from adaface.cli.console import mistakes_told, out as stdout, print_json, say
from adaface.errors import MissingExtra

if TYPE_CHECKING:
    from adaface.evaluation.scores.recognisers import FaceComparer
    from adaface.mini.evidence.ablate import Run
    from adaface.mini.evidence.design import Design
    from adaface.mini.evidence.plan import Ablations
    from adaface.mini.evidence.run import Request

Data = Annotated[Path, typer.Option("--data", help="Folder with the face packs (docs/mini.md).")]
Out = Annotated[Path, typer.Option("--out", "-o", help="Where page, figures and pictures go.")]
People = Annotated[int, typer.Option("--people", help="How many people are drawn.", min=2)]
Plain = Annotated[int, typer.Option("--plain", help="Pictures of each under a plain prompt.", min=1)]
Seen = Annotated[int, typer.Option("--seen", help="Scenes of seen pairs for each.", min=1)]
Unseen = Annotated[int, typer.Option("--unseen", help="Scenes of unseen pairs for each.", min=1)]
Seed = Annotated[int, typer.Option("--seed", help="Of people, scenes and pictures.", min=0)]
HeldOut = Annotated[
    bool, typer.Option("--held-out", help="The held-out people, at the end; usual is the validation split.")
]
Steps = Annotated[int | None, typer.Option("--steps", help="Of drawing; usual is the stack's.", min=1)]
Photo = Annotated[
    Path | None, typer.Option("--photo", help="One more person for a picture of all rows: photo.png.")
]


def evidence(
    data: Data,
    row: Annotated[
        list[str],
        typer.Option("--row", metavar="NAME=PLACE",
                     help='An encoder: its folder, a run, RUN:best, or "stack"; once for each row.'),
    ],
    folder: Out,
    stack: options.StackName = "mini",
    people: People = 48,
    plain: Plain = 2,
    seen: Seen = 3,
    unseen: Unseen = 3,
    seed: Seed = 0,
    held_out: HeldOut = False,
    against: Annotated[
        str | None,
        typer.Option("--against", metavar="NAME", help="Compare with this row; usual is the row before."),
    ] = None,
    photo: Photo = None,
    steps: Steps = None,
    device: options.Device = "auto",
    as_json: options.AsJson = False,
) -> None:  # fmt: skip
    """Hold encoders against each other: class prompt and teacher first, then each `--row`.

    The same people, prompts and seeds in all rows. Pictures that are there already are not drawn again.

    `adaface mini evidence --data DIR --row stage1=runs/one --row stage2=runs/two -o out/evidence`
    """
    with mistakes_told(as_json):
        from adaface.mini.evidence.rows import parse_rows
        from adaface.mini.evidence.run import Request
        from adaface.pipelines.stack import Stack

        request = Request(
            data=data, out=folder, rows=parse_rows(row), stack=Stack.load(stack), against=against,
            design=_design(people, plain, seen, unseen, seed, steps, held_out), photo=photo,
            seconds=_seconds(device), device=device,
        )  # fmt: skip
        _measure(request, as_json)


def ablate(
    data: Data,
    faces: Annotated[Path, typer.Option("--faces", help="Photos to train on (`adaface mini dataset`).")],
    start: Annotated[
        str,
        typer.Option("--start", metavar="PLACE",
                     help='Where all runs begin: an encoder\'s folder, a run, "stack", or "none": a copy of '
                          "the text encoder."),
    ],
    config: Annotated[
        str,
        typer.Option("--config", metavar="PLAN",
                     help="A YAML file, or a plan's name: stage1, stage1-new, stage2."),
    ],
    folder: Out,
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Settings of all runs, like loop.steps=100.",
                       show_default=False),
    ] = None,
    stack: options.StackName = "mini",
    people: People = 48,
    plain: Plain = 2,
    seen: Seen = 3,
    unseen: Unseen = 3,
    seed: Seed = 0,
    held_out: HeldOut = False,
    photo: Photo = None,
    steps: Steps = None,
    device: options.Device = "auto",
    as_json: options.AsJson = False,
) -> None:  # fmt: skip
    """Leave out one part of a recipe after the other: runs from one start with equal budgets, then evidence.

    Stop it whenever you like: the same command goes on, and what is done is not done again.

    `adaface mini ablate --data DIR --faces faces/ --start runs/one --config stage1 -o out/ablations`
    """
    with mistakes_told(as_json):
        from adaface.face.images import load_image
        from adaface.mini.evidence.ablate import told
        from adaface.mini.evidence.plan import START, read_plan
        from adaface.mini.evidence.run import Request, people_of
        from adaface.pipelines.stack import Stack
        from adaface.training.config import Layer, read_overrides

        design = _design(people, plain, seen, unseen, seed, steps, held_out)
        begin = None if start == "none" else start
        given = {"data": str(faces), "init_from": begin, "stack": stack, "device": device}
        plan = read_plan(config, Layer("key=value", {**read_overrides(words or []).values, **given}))
        opened = Stack.load(stack)
        people_of(data, design)  # what measuring needs is looked for before hours of training, not after
        if photo is not None:
            load_image(photo)
        begins = start if begin else "a copy of the text encoder"
        say(f"{len(plan.configs)} runs from {begins}: {plan.budget} each", quiet=as_json)
        runs = _trained(plan, folder, device, as_json)
        request = Request(
            data=data, out=folder,
            rows=({START: begin} if begin else {}) | {run.name: str(run.place) for run in runs},
            stack=opened, against=runs[0].name, design=design, photo=photo,
            seconds=_seconds(device), device=device, notes=told(plan, runs),
        )  # fmt: skip
        _measure(request, as_json)


def _design(
    people: int, plain: int, seen: int, unseen: int, seed: int, steps: int | None, held_out: bool
) -> "Design":
    from adaface.mini.evidence.design import Design

    split = "held_out" if held_out else "validation"
    return Design(people=people, plain=plain, seen=seen, unseen=unseen, seed=seed, steps=steps, split=split)


def _seconds(device: str) -> "Mapping[str, FaceComparer]":
    """Recognisers that nothing here was trained with: dlib's, where it is installed."""
    from adaface.pipelines.devices import choose_device

    try:
        from adaface.evaluation.scores.dlib_resnet import DlibRecogniser

        return {"dlib": DlibRecogniser(choose_device(device))}
    except MissingExtra as error:
        say(f"No second recogniser: {error}")
        return {}


def _trained(plan: "Ablations", folder: Path, device: str, quiet: bool) -> "list[Run]":
    """All runs of a plan, each with a line now and then."""
    from adaface.cli.training.bar import Lines
    from adaface.mini.evidence.ablate import run_all
    from adaface.pipelines.devices import choose_device
    from adaface.training.distributed import Ranks

    lines = {name: Lines(None if quiet else _named(name)) for name in plan.configs}
    ranks = Ranks(device=choose_device(device))
    return run_all(plan, folder, ranks, lambda name, progress, pace: lines[name](progress, pace))


def _named(name: str) -> Callable[[str], None]:
    return lambda text: say(f"{name}: {text}")


def _measure(request: "Request", as_json: bool) -> None:
    from adaface.mini.evidence.page import tables
    from adaface.mini.evidence.run import evidence as measure

    result = measure(request, _Told(as_json))
    if as_json:
        print_json({"out": str(request.out)} | result.to_json())
        return
    stdout.print(tables(result), highlight=False, markup=False, soft_wrap=True)
    say(f"{request.out}: evidence.md, rows.json, grid.png")


class _Told:
    """A line for each new thing that is done."""

    def __init__(self, quiet: bool) -> None:
        self._what, self._quiet = "", quiet

    def __call__(self, what: str, done: int, total: int) -> None:
        if what != self._what:
            self._what = what
            say(f"{what} ({total})", quiet=self._quiet)
