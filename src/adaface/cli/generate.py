"""`adaface generate`: photos or identity files + prompts -> pictures, a grid, and how like the person they
are.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from adaface.cli import options
from adaface.cli.console import mistakes_told, out, print_json, progress, say, since_start, working
from adaface.cli.people import FaceChoice, look_at, source_tiles, start_tiles
from adaface.cli.pictures import Album, check_folder, check_inputs, read_prompts, save_png
from adaface.errors import ConfigError
from adaface.spec import DEFAULT_SUBJECT

if TYPE_CHECKING:
    from adaface.cli.grid import Tile
    from adaface.identity.files import Identity
    from adaface.pipelines.generation import Generation
    from adaface.pipelines.personalizer import Personalizer
    from adaface.pipelines.stack import Stack


@dataclass(frozen=True)
class Order:
    """What one call of `adaface generate` asks for, checked as far as it goes without a model."""

    photos: Sequence[str]
    files: Sequence[Path]
    name: str
    prompts: Sequence[str]
    choice: FaceChoice
    opening: options.Opening
    folder: Path
    num_images: int
    seed: int
    settings: dict[str, Any] = field(default_factory=dict)  # only what was given
    pictures: dict[str, Path] = field(default_factory=dict)  # to start from, by the names of `generate`
    controlnet: str | None = None


def generate(
    photos: options.Photos = None,
    prompt: Annotated[
        list[str] | None,
        typer.Option(
            "--prompt",
            "-p",
            help="What to draw; `<person>` is the person. Give it again for more.",
            show_default=False,
        ),
    ] = None,
    prompt_file: Annotated[
        Path | None,
        typer.Option("--prompt-file", help="A text file with a prompt a line.", show_default=False),
    ] = None,
    folder: Annotated[Path, typer.Option("--out", "-o", help="Folder for the pictures.")] = Path("out"),
    num_images: Annotated[int, typer.Option("--num-images", "-n", help="Pictures of each prompt.")] = 4,
    seed: Annotated[int, typer.Option(help="Of a prompt's first picture; the next have seed + 1, ...")] = 0,
    identity: Annotated[
        list[Path] | None,
        typer.Option(
            "--identity",
            help="A person's file from `adaface embed`. Give it again for more people.",
            show_default=False,
            rich_help_panel=options.FACE_PANEL,
        ),
    ] = None,
    name: options.Name = None,
    face_index: options.FaceIndex = None,
    face_position: options.FacePosition = None,
    reference: options.Reference = None,
    strict: options.Strict = False,
    keep_all: options.KeepAll = False,
    min_face: options.MinFace = None,
    steps: options.Steps = None,
    guidance: options.Guidance = None,
    id_scale: options.IdScale = None,
    layer_weights: Annotated[
        tuple[float, float] | None,
        options.look(
            "--layer-weights", "Shares of the text encoder's last two layers, last one second.", "A B"
        ),
    ] = None,
    negative_prompt: options.NegativePrompt = None,
    no_negative_prompt: Annotated[
        bool,
        typer.Option(
            "--no-negative-prompt", help="Use no negative prompt.", rich_help_panel=options.LOOK_PANEL
        ),
    ] = False,
    height: options.Height = None,
    width: options.Width = None,
    batch_size: options.BatchSize = None,
    init_image: options.InitImage = None,
    strength: options.Strength = None,
    mask: options.Mask = None,
    control_image: options.ControlImage = None,
    controlnet: options.ControlNet = None,
    control_scale: options.ControlScale = None,
    stack: options.StackName = "mini",
    base: options.Base = None,
    text_encoder: options.TextEncoder = None,
    vae: options.Vae = None,
    encoder: options.Encoder = None,
    id_prompter: options.IdPrompter = None,
    recognizer: options.Recognizer = None,
    device: options.Device = "auto",
    dtype: options.Dtype = None,
    offload: options.Offload = None,
    slicing: options.Slicing = False,
    tiling: options.Tiling = False,
    no_safety_checker: options.NoSafetyChecker = False,
    commercial_safe: options.CommercialSafe = False,
    as_json: options.AsJson = False,
) -> None:
    """Draw a person from photos, or from files of `adaface embed`.

    `adaface generate me.jpg --prompt "a photo of <person> at sunset"`

    `adaface generate --identity alice.safetensors --identity bob.safetensors -p "<alice> and <bob> in a
    meadow"`

    What is not given is taken from the stack's own recommended settings.
    """
    with mistakes_told(as_json):
        if negative_prompt is not None and no_negative_prompt:
            raise ConfigError(
                "--negative-prompt and --no-negative-prompt contradict each other: give one of them"
            )
        given = {
            "steps": steps, "guidance_scale": guidance, "id_scale": id_scale, "layer_weights": layer_weights,
            "height": height, "width": width, "batch_size": batch_size,
            "strength": strength, "control_scale": control_scale,
        }  # fmt: skip
        pictures = {"init_image": init_image, "mask": mask, "control_image": control_image}
        settings: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
        if negative_prompt is not None or no_negative_prompt:
            settings["negative_prompt"] = negative_prompt
        opening = options.Opening(
            stack, base, text_encoder, vae, encoder, id_prompter, recognizer, device=device, dtype=dtype,
            offload=offload, slicing=slicing, tiling=tiling, safety_checker=not no_safety_checker,
            commercial_safe=commercial_safe,
        )  # fmt: skip
        order = Order(
            photos=photos or (), files=identity or (), name=name or DEFAULT_SUBJECT,
            prompts=read_prompts(prompt or (), prompt_file),
            choice=FaceChoice(face_index, face_position, reference, strict, keep_all, min_face),
            opening=opening, folder=folder, num_images=num_images, seed=seed, settings=settings,
            pictures={key: value for key, value in pictures.items() if value is not None},
            controlnet=controlnet,
        )  # fmt: skip
        report = carry_out(order, quiet=as_json)
        if as_json:
            print_json(report)


def carry_out(order: Order, *, quiet: bool = False) -> dict[str, Any]:
    """Do what `adaface generate` does, and return what `--json` prints. Raises what goes wrong as an
    AdaFaceError.
    """
    personalizer, people, sources = _meet(order, _checked(order))
    made, album, ready = _draw(personalizer, people, order)
    scores = _scores(personalizer, people, made)
    sources = [*sources, *start_tiles(order.pictures)]
    grid = save_png(order.folder / "grid.png", _grid(sources, order, made, scores))
    report = {
        "pictures": [
            {"file": str(path), "prompt": prompt, "seed": seed, "people": score}
            for path, prompt, seed, score in zip(album.paths, made.prompts, made.seeds, scores, strict=True)
        ],
        "grid": str(grid),
        "settings": made.settings.to_json(),
        "sources": dict(made.sources),
        "notes": list(made.notes),
        **album.seconds(ready),
        "seconds": round(since_start(), 2),
    }
    if not quiet:
        _print(report)
    return report


def _draw(
    personalizer: "Personalizer", people: "Sequence[Identity]", order: Order
) -> "tuple[Generation, Album, float]":
    """The pictures, the album that they were saved into batch by batch, and when drawing began."""
    stack = personalizer.stack.name if personalizer.stack else ""
    album, ready = Album(order.folder, stack, order.num_images), since_start()
    settings = {**order.settings, **order.pictures, "num_images": order.num_images, "seed": order.seed}
    try:
        with progress("Drawing") as on_step:
            made = personalizer.generate(order.prompts, people, on_step=on_step, on_batch=album, **settings)
    except KeyboardInterrupt:
        wanted = len(order.prompts) * order.num_images
        say(f"{len(album.paths)} of {wanted} pictures are drawn and kept in {order.folder}")
        raise
    return made, album, ready


def _checked(order: Order) -> "list[Identity]":
    """The identities of files, once all is checked that can be found wrong before a model is opened."""
    from adaface.identity.names import check_distinct, check_name
    from adaface.pipelines.settings import check_seeds

    if not order.photos and not order.files:
        raise ConfigError("nobody to draw. Give a photo, or --identity FILE")
    check_name(order.name)
    check_folder(order.folder)
    inputs: list[str | Path] = [*order.photos, *order.pictures.values()]
    check_inputs(order.folder, inputs, check_seeds(order.seed, order.num_images))
    stack = order.opening.load()
    _check_start(order, stack)
    if order.files:
        from adaface.identity.files import Identity

        known = [Identity.load(file) for file in order.files]
    else:
        known = []
    if order.opening.commercial_safe:
        from adaface.sources.licences import require_commercial

        require_commercial({one.name: one.provenance.get("licence", "") for one in known})
    names = [order.name] * bool(order.photos) + [one.name for one in known]
    check_distinct(names)
    _check_prompts(order.prompts, names, stack)
    return known


def _check_start(order: Order, stack: "Stack") -> None:
    """Settings, and the pictures to start from: they are read, and laid upon each other."""
    from adaface.pipelines.canvas.controlnet import check_controlnet
    from adaface.pipelines.canvas.pictures import check_pictures, open_canvas, settle
    from adaface.sources.places import find_local, parse_place

    settings = stack.recommended().override(order.settings)
    if order.controlnet is not None:
        place = parse_place(order.controlnet)
        if isinstance(place, Path):  # one of the hub is fetched when it is opened
            check_controlnet(find_local(place))
        if "control_image" not in order.pictures:
            raise ConfigError(
                "--controlnet without --control-image: give the image that it reads, or leave it out"
            )
    has_one = order.controlnet is not None or "controlnet" in stack.roles
    check_pictures({**order.settings, **order.pictures}, controlnet=has_one)
    settle(settings, open_canvas(None, **order.pictures))


def _check_prompts(prompts: Sequence[str], names: Sequence[str], stack: "Stack") -> None:
    """Do the prompts name nobody unknown? The tokenizer, whose own words may have brackets, is small."""
    from adaface.prompt.template import parse

    if all("<" not in prompt for prompt in prompts) and len(names) == 1:
        return
    from adaface.checkpoints.kinds import Kind, expect
    from adaface.prompt.embedding import own_words
    from adaface.text.folder import load_tokenizer

    base = stack.path("base")
    if base.is_dir():  # first, since another model's folder has no tokenizer either
        expect(base, Kind.SD1)
    words = own_words(load_tokenizer(stack.tokenizer_folder()))
    for text in prompts:
        parse(text, names, words)


def _meet(order: Order, known: "Sequence[Identity]") -> "tuple[Personalizer, list[Identity], list[Tile]]":
    """Faces first, since they fail most; then the models."""
    stack = order.opening.load()
    with working("Looking at the photos"):
        analyzer = order.choice.analyzer(stack)
        found = look_at(order.photos, analyzer, order.choice) if order.photos else None
    with working("Opening the models"):
        from adaface.pipelines.personalizer import Personalizer

        people = list(known)
        personalizer = Personalizer.from_pretrained(
            stack, analyzer=analyzer, controlnet=order.controlnet, **order.opening.arguments()
        )
        if found is not None:
            people.insert(0, personalizer.identity(found, name=order.name))
    return personalizer, people, [] if found is None else source_tiles(found, order.name)


def _scores(
    personalizer: "Personalizer", people: "Sequence[Identity]", made: "Generation"
) -> list[dict[str, dict[str, Any]]]:
    """For each picture, for each person by name: face_found, similarity, percentile."""
    from adaface.cli.scores import score_faces
    from adaface.evaluation.face_similarity import strangers_of

    analyzer = personalizer.analyzer
    with working("Comparing faces"):
        strangers = strangers_of(personalizer.stack, analyzer.recognizer.dim) if personalizer.stack else None
        columns = {one.name: score_faces(made.images, one, analyzer, strangers) for one in people}
    return [{name: column[k] for name, column in columns.items()} for k in range(len(made))]


def _grid(
    sources: "Sequence[Tile]", order: Order, made: "Generation", scores: Sequence[dict[str, dict[str, Any]]]
) -> Any:
    from adaface.cli.grid import Block, Tile, picture_grid
    from adaface.cli.scores import in_words

    tiles = [Tile(image, _label(score, in_words)) for image, score in zip(made.images, scores, strict=True)]
    n = order.num_images
    return picture_grid(sources, [Block(made.prompts[k], tiles[k : k + n]) for k in range(0, len(tiles), n)])


def _label(score: dict[str, dict[str, Any]], in_words: Any) -> str:
    if len(score) == 1:
        return str(in_words(next(iter(score.values()))))
    found = {name: one["similarity"] for name, one in score.items() if one["similarity"] is not None}
    return ", ".join(f"{name} {value:.2f}" for name, value in found.items()) or "no face found"


def _print(report: dict[str, Any]) -> None:
    from rich.table import Table

    from adaface.cli.scores import in_cells

    several = len(report["pictures"][0]["people"]) > 1
    table = Table(box=None, pad_edge=False)
    for title in ("prompt", "seed"):
        table.add_column(title, overflow="fold")
    for name in report["pictures"][0]["people"]:
        table.add_column(f"similarity to {name}" if several else "similarity", justify="right")
        table.add_column("above strangers", justify="right")
    for row in report["pictures"]:
        cells = [cell for score in row["people"].values() for cell in in_cells(score)]
        table.add_row(row["prompt"].replace("[", r"\["), str(row["seed"]), *cells)
    out.print(table)
    for note in report["notes"]:
        say(f"Note: {note}", style="yellow")
    used = ", ".join(f"{key} {value}" for key, value in report["settings"].items() if value not in (None, ""))
    out.print(f"Settings: {used}", highlight=False, markup=False)
    out.print(
        f"First picture after {report['seconds_cold']:.1f} s (cold start, from the command on), "
        f"then {report['seconds_per_picture']:.2f} s a picture. All of them: {report['grid']}",
        highlight=False, markup=False, soft_wrap=True,
    )  # fmt: skip
