"""`adaface mini evidence` and `adaface mini ablate`: what each part of the method gives, side by side."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adaface.cli import options
from adaface.cli.console import mistakes_told, out as stdout, print_json, say
from adaface.errors import MissingExtra

if TYPE_CHECKING:
    from adaface.evaluation.scores.recognisers import FaceComparer

Data = Annotated[Path, typer.Option("--data", help="Folder with the face packs (docs/mini.md).")]
People = Annotated[int, typer.Option("--people", help="How many people are drawn.", min=2)]
Plain = Annotated[int, typer.Option("--plain", help="Pictures of each under a plain prompt.", min=1)]
Seen = Annotated[int, typer.Option("--seen", help="Scenes of seen pairs for each.", min=1)]
Unseen = Annotated[int, typer.Option("--unseen", help="Scenes of unseen pairs for each.", min=1)]
Seed = Annotated[int, typer.Option("--seed", help="Of people, scenes and pictures.", min=0)]
HeldOut = Annotated[
    bool,
    typer.Option("--held-out", help="The held-out people, once at the end; usual is the validation split."),
]
Steps = Annotated[int | None, typer.Option("--steps", help="Of drawing; usual is the stack's.", min=1)]


def evidence(
    data: Data,
    row: Annotated[
        list[str],
        typer.Option("--row", metavar="NAME=PLACE",
                     help='An encoder: its folder, a run, RUN:best, or "stack"; once for each row.'),
    ],
    folder: Annotated[Path, typer.Option("--out", "-o", help="Where page, figures and pictures go.")],
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
    steps: Steps = None,
    device: options.Device = "auto",
    as_json: options.AsJson = False,
) -> None:  # fmt: skip
    """Hold encoders against each other: class prompt and teacher first, then each `--row`.

    The same people, prompts and seeds in all rows. Pictures that are there already are not drawn again.

    `adaface mini evidence --data DIR --row stage1=runs/one --row stage2=runs/two -o out/evidence`
    """
    with mistakes_told(as_json):
        from adaface.mini.evidence.design import Design
        from adaface.mini.evidence.page import tables
        from adaface.mini.evidence.rows import parse_rows
        from adaface.mini.evidence.run import Request, evidence as measure
        from adaface.pipelines.stack import Stack

        design = Design(people=people, plain=plain, seen=seen, unseen=unseen, seed=seed, steps=steps,
                        split="held_out" if held_out else "validation")  # fmt: skip
        request = Request(
            data=data, out=folder, rows=parse_rows(row), stack=Stack.load(stack), design=design,
            against=against, seconds=_seconds(device), device=device,
        )  # fmt: skip
        result = measure(request, _Told())
        if as_json:
            print_json({"out": str(folder)} | result.to_json())
            return
        stdout.print(tables(result), highlight=False, markup=False, soft_wrap=True)
        say(f"{folder}: evidence.md, rows.json, grid.png")


def _seconds(device: str) -> "dict[str, FaceComparer]":
    """Recognisers that trained nothing here: dlib's, where it is installed."""
    from adaface.pipelines.devices import choose_device

    try:
        from adaface.evaluation.scores.dlib_resnet import DlibRecogniser

        return {"dlib": DlibRecogniser(choose_device(device))}
    except MissingExtra as error:
        say(f"No second recogniser: {error}")
        return {}


class _Told:
    """Says each new thing that is done, and how long it took is for the reader to see."""

    def __init__(self) -> None:
        self._what = ""

    def __call__(self, what: str, done: int, total: int) -> None:
        if what != self._what:
            self._what = what
            say(f"{what} ({total})")
