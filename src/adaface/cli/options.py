"""Options that several commands share, so that they are called the same everywhere."""

from pathlib import Path
from typing import Annotated, Any

import typer

FACE_PANEL, LOOK_PANEL, RUN_PANEL = "Which face", "How it is drawn", "Where and how to run"
START_PANEL = "Pictures to start from"

Photos = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="PHOTO",
        help="One or several photos of the person, or a folder of them.",
        show_default=False,
    ),
]
StackName = Annotated[
    str,
    typer.Option("--stack", envvar="ADAFACE_STACK", help='The models: "mini", or a folder with a stack.json.',
                 rich_help_panel=RUN_PANEL),
]  # fmt: skip
Device = Annotated[
    str, typer.Option("--device", help="auto, cpu, cuda, cuda:1, mps.", rich_help_panel=RUN_PANEL)
]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print one JSON object and nothing else.", rich_help_panel=RUN_PANEL)
]
Name = Annotated[
    str | None,
    typer.Option("--name", help="What the person is called in prompts: alice stands there as `<alice>`.",
                 rich_help_panel=FACE_PANEL, show_default=False),
]  # fmt: skip
FaceIndex = Annotated[
    int | None,
    typer.Option("--face-index", help="In a photo of several people: 0 is the largest face, 1 the next, ...",
                 rich_help_panel=FACE_PANEL, show_default=False),
]  # fmt: skip
FacePosition = Annotated[
    tuple[float, float] | None,
    typer.Option("--face-position", metavar="X Y", help="Or the face at this pixel of the upright photo.",
                 rich_help_panel=FACE_PANEL, show_default=False),
]  # fmt: skip
Reference = Annotated[
    Path | None,
    typer.Option("--reference", help="Or the face most like the one in this photo.",
                 rich_help_panel=FACE_PANEL, show_default=False),
]  # fmt: skip
Strict = Annotated[
    bool,
    typer.Option("--strict", help="Several faces, or photos that do not fit, are an error.",
                 rich_help_panel=FACE_PANEL),
]  # fmt: skip
KeepAll = Annotated[
    bool,
    typer.Option("--keep-all", help="Use each photo, even if they seem to show several people.",
                 rich_help_panel=FACE_PANEL),
]  # fmt: skip
MinFace = Annotated[
    float | None,
    typer.Option("--min-face", metavar="PIXELS", help="Smallest face that is used; usual is 20.",
                 rich_help_panel=FACE_PANEL, show_default=False),
]  # fmt: skip


InitImage = Annotated[
    Path | None,
    typer.Option("--init-image", help="A picture to start from, instead of noise. Cut to height x width.",
                 rich_help_panel=START_PANEL, show_default=False),
]  # fmt: skip
Strength = Annotated[
    float | None,
    typer.Option("--strength", help="How far from it: 0.2 is near, 1 far. Usual is 0.8, and 1 with --mask.",
                 rich_help_panel=START_PANEL, show_default=False),
]  # fmt: skip
Mask = Annotated[
    Path | None,
    typer.Option("--mask", help="A picture over --init-image: white is drawn anew, black stays as it is.",
                 rich_help_panel=START_PANEL, show_default=False),
]  # fmt: skip
ControlImage = Annotated[
    Path | None,
    typer.Option("--control-image", help="What a ControlNet reads: edges, a pose, depth, as it was trained.",
                 rich_help_panel=START_PANEL, show_default=False),
]  # fmt: skip
ControlNet = Annotated[
    Path | None,
    typer.Option("--controlnet", help="The ControlNet: its diffusers folder, made for the same base.",
                 rich_help_panel=START_PANEL, show_default=False),
]  # fmt: skip
ControlScale = Annotated[
    float | None,
    typer.Option("--control-scale", help="How strictly the control image is followed: 0 to 2, usual is 1.",
                 rich_help_panel=START_PANEL, show_default=False),
]  # fmt: skip


def look(flag: str, text: str, metavar: str | None = None) -> Any:
    """An option about how pictures are drawn; not given, the stack's own value counts."""
    return typer.Option(flag, help=text, metavar=metavar, show_default=False, rich_help_panel=LOOK_PANEL)
