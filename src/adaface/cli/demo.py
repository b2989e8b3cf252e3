"""`adaface demo`: the whole way from a photo to a grid, on a public-domain photo that comes with
scikit-image.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from adaface.cli import options
from adaface.cli.console import mistakes_told, out, print_json, progress, say, since_start, working
from adaface.cli.pictures import Album, check_folder, save_png
from adaface.errors import StackError

if TYPE_CHECKING:
    from adaface.pipelines.generation import Generation
    from adaface.pipelines.personalizer import Personalizer

PROMPTS = (
    "a photo of <person>",
    "a photo of <person> in a meadow",
    "a photo of <person> wearing a red cap",
    "a pencil sketch of <person>",
    "a photo of <person> wearing sunglasses at sunset",
    "a sepia photo of <person> wearing a blue scarf",
)
SUMMARY = "summary.json"


def demo(
    folder: Annotated[Path, typer.Option("--out", "-o", help="Folder for the pictures.")] = Path("out/demo"),
    seed: Annotated[int, typer.Option(help="Of each picture.")] = 0,
    stack: options.StackName = "mini",
    device: options.Device = "auto",
    as_json: options.AsJson = False,
) -> None:
    """Draw a well-known astronaut under six prompts: `grid.png` shows them, `summary.json` measures them."""
    with mistakes_told(as_json):
        summary = carry_out(folder, seed, stack, device, quiet=as_json)
        if as_json:
            print_json(summary)


def carry_out(
    folder: Path, seed: int, stack_name: str, device: str, *, quiet: bool = False
) -> dict[str, Any]:
    """Do what `adaface demo` does, and return its summary. Raises what goes wrong as an AdaFaceError."""
    from adaface.optional import require
    from adaface.pipelines.settings import check_seeds
    from adaface.pipelines.stack import Stack

    check_folder(folder)
    check_seeds(seed, 1)
    loaded = Stack.load(stack_name)
    loaded.part("clip")  # needed last, found missing first
    loaded.verify("clip", *({"strangers"} & loaded.roles.keys()))
    prompts = _prompts(loaded)
    photo = require("skimage.data", extra="demo").astronaut()
    with working("Opening the models"):
        from adaface.pipelines.personalizer import Personalizer

        personalizer = Personalizer.from_pretrained(loaded, device=device)
        person = personalizer.identity(photo)
    album, ready = Album(folder, loaded.name, 1), since_start()
    with progress("Drawing") as on_step:
        made = personalizer.generate(
            prompts, person, num_images=1, seed=seed, batch_size=1, on_step=on_step, on_batch=album
        )
    with working("Measuring"):
        rows = _measure(personalizer, person, made)
    summary = {"pictures": rows, **album.seconds(ready)}
    grid = save_png(folder / "grid.png", _grid(photo, made, rows))
    _write(folder / SUMMARY, summary)
    if not quiet:
        _print(summary, grid, made.notes)
    return summary


def _prompts(stack: Any) -> list[str]:
    prompts = list(stack.settings.get("demo_prompts", PROMPTS))
    if len(prompts) < 2 or not all(isinstance(prompt, str) for prompt in prompts):
        raise StackError(
            f'stack "{stack.name}": demo_prompts must be a list of at least two texts. '
            "Correct it in stack.json, or leave it out"
        )
    return prompts


def _measure(personalizer: "Personalizer", person: Any, made: "Generation") -> list[dict[str, Any]]:
    """The rows of `summary.json`: is it the person, and is it the prompt?"""
    from adaface.cli.scores import score_faces
    from adaface.evaluation.face_similarity import strangers_of
    from adaface.evaluation.text_match import ClipScorer, first_choice, plain_words

    stack, analyzer = personalizer.stack, personalizer.analyzer
    assert stack is not None  # it was made from one
    strangers = strangers_of(stack, analyzer.recognizer.dim)
    faces = score_faces(made.images, person, analyzer, strangers)
    scorer = ClipScorer.from_pretrained(stack.path("clip"))
    scores = scorer(made.images, [plain_words(prompt) for prompt in made.prompts])  # (N, N)
    firsts = first_choice(scores, range(len(made)))
    return [
        {"prompt": prompt, **face, "first_choice": first}
        for prompt, face, first in zip(made.prompts, faces, firsts, strict=True)
    ]


def _grid(photo: Any, made: "Generation", rows: list[dict[str, Any]]) -> Any:
    from PIL import Image

    from adaface.cli.grid import Block, Tile, picture_grid
    from adaface.cli.scores import in_words

    source = Tile(Image.fromarray(photo), "source photo (NASA, public domain)")
    pictures = zip(made.images, made.prompts, rows, strict=True)
    return picture_grid(
        [source], [Block(prompt, [Tile(image, in_words(row))]) for image, prompt, row in pictures]
    )


def _write(path: Path, summary: dict[str, Any]) -> None:
    from adaface.files import write_atomic

    text = json.dumps(summary, indent=2, ensure_ascii=False) + "\n"
    write_atomic(path, lambda beside: beside.write_text(text, encoding="utf-8"))


def _print(summary: dict[str, Any], grid: Path, notes: tuple[str, ...]) -> None:
    from rich.table import Table

    from adaface.cli.scores import in_cells

    table = Table("prompt", box=None, pad_edge=False)
    for title in ("similarity", "above strangers", "prompt ranked first"):
        table.add_column(title, justify="right")
    for row in summary["pictures"]:
        table.add_row(
            row["prompt"].replace("[", r"\["), *in_cells(row), "yes" if row["first_choice"] else "no"
        )
    out.print(table)
    for note in notes:
        say(f"Note: {note}", style="yellow")
    firsts = sum(row["first_choice"] for row in summary["pictures"])
    out.print(
        f"{firsts} of {len(summary['pictures'])} prompts ranked first. First picture after "
        f"{summary['seconds_cold']:.1f} s (cold start, from the command on), then "
        f"{summary['seconds_per_picture']:.2f} s a picture.\nAll of them: {grid}",
        highlight=False, markup=False, soft_wrap=True,
    )  # fmt: skip
