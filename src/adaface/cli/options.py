"""Options that several commands share, so that they are called the same everywhere."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from adaface.pipelines.stack import Stack

FACE_PANEL, LOOK_PANEL, RUN_PANEL = "Which face", "How it is drawn", "Where and how to run"
START_PANEL = "Pictures to start from"
MODEL_PANEL = "Other models than the stack's"

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
    typer.Option("--stack", envvar="ADAFACE_STACK",
                 help='The models: "mini", a folder with a stack.json, or one below $ADAFACE_MODELS: "sd15".',
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
    str | None,
    typer.Option("--controlnet", metavar="PLACE",
                 help="The ControlNet: its diffusers folder, or hub:owner/name@revision.",
                 rich_help_panel=START_PANEL, show_default=False),
]  # fmt: skip
ControlScale = Annotated[
    float | None,
    typer.Option("--control-scale", help="How strictly the control image is followed: 0 to 2, usual is 1.",
                 rich_help_panel=START_PANEL, show_default=False),
]  # fmt: skip


def _model(flag: str, text: str) -> Any:
    """An option that names a model in place of the stack's own: a path, or hub:owner/name@revision."""
    return typer.Option(flag, help=text, metavar="PLACE", show_default=False, rich_help_panel=MODEL_PANEL)


Base = Annotated[
    str | None,
    _model("--base", "Another base: a diffusers folder, one LDM file, or hub:owner/name@revision."),
]
TextEncoder = Annotated[str | None, _model("--text-encoder", "Another text encoder than the base's own.")]
Vae = Annotated[str | None, _model("--vae", "Another VAE than the base's own.")]
Encoder = Annotated[
    str | None, _model("--encoder", "Another AdaFace encoder (a folder of `adaface convert`).")
]
IdPrompter = Annotated[
    str | None, _model("--id-prompter", "Another ID prompter, such as Arc2Face's encoder.")
]
Recognizer = Annotated[str | None, _model("--recognizer", "Another face recogniser: an ONNX file.")]
Dtype = Annotated[
    str | None,
    typer.Option("--dtype", help="fp16, bf16 or fp32; usual is fp16 on CUDA, else fp32.",
                 rich_help_panel=RUN_PANEL, show_default=False),
]  # fmt: skip
Offload = Annotated[
    str | None,
    typer.Option("--offload", metavar="model|sequential", rich_help_panel=RUN_PANEL, show_default=False,
                 help="Keep models on the CPU while they are not needed: less memory, slower."),
]  # fmt: skip
Slicing = Annotated[
    bool,
    typer.Option("--slicing", help="Decode pictures one by one: less memory.", rich_help_panel=RUN_PANEL),
]
Tiling = Annotated[
    bool,
    typer.Option("--tiling", help="Decode in tiles: for large pictures.", rich_help_panel=RUN_PANEL),
]
NoSafetyChecker = Annotated[
    bool,
    typer.Option("--no-safety-checker", help="Leave out the base's safety checker.",
                 rich_help_panel=RUN_PANEL),
]  # fmt: skip
CommercialSafe = Annotated[
    bool,
    typer.Option("--commercial-safe", help="Refuse weights whose licence forbids commercial use.",
                 rich_help_panel=RUN_PANEL),
]  # fmt: skip


@dataclass(frozen=True)
class Opening:
    """Which models are opened, where and how; None is the stack's own."""

    stack: str = "mini"
    base: str | None = None
    text_encoder: str | None = None
    vae: str | None = None
    encoder: str | None = None
    id_prompter: str | None = None
    recognizer: str | None = None
    device: str = "auto"
    dtype: str | None = None
    offload: str | None = None
    slicing: bool = False
    tiling: bool = False
    safety_checker: bool = True
    commercial_safe: bool = False

    def load(self) -> "Stack":
        """The stack with the models that were named. Raises as `Stack.load` and `Stack.with_parts`."""
        from adaface.pipelines.stack import Stack

        roles = ("base", "text_encoder", "vae", "encoder", "id_prompter", "recognizer")
        return Stack.load(self.stack).with_parts({role: getattr(self, role) for role in roles})

    def arguments(self) -> dict[str, Any]:
        """Keyword arguments of `Personalizer.from_pretrained` beside the stack."""
        names = ("device", "dtype", "offload", "slicing", "tiling", "safety_checker", "commercial_safe")
        return {name: getattr(self, name) for name in names}


def look(flag: str, text: str, metavar: str | None = None) -> Any:
    """An option about how pictures are drawn; not given, the stack's own value counts."""
    return typer.Option(flag, help=text, metavar=metavar, show_default=False, rich_help_panel=LOOK_PANEL)


Steps = Annotated[int | None, look("--steps", "Denoising steps; more is slower.")]
Guidance = Annotated[
    tuple[float, float] | None,
    look("--guidance", "How closely the prompt is followed, at the first and the last step.", "A B"),
]
IdScale = Annotated[float | None, look("--id-scale", "How strongly the person shows: 1 is usual, 0 nobody.")]
NegativePrompt = Annotated[str | None, look("--negative-prompt", "What the pictures should not show.")]
Height = Annotated[int | None, look("--height", "In pixels; a multiple of 8.")]
Width = Annotated[int | None, look("--width", "In pixels; a multiple of 8.")]
BatchSize = Annotated[
    int | None,
    look("--batch-size", "Pictures at once: speed and memory; the pictures stay the same."),
]
