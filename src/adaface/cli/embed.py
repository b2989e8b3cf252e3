"""`adaface embed`: photos of a person -> one small file that `adaface generate --identity` draws from."""

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from adaface.cli import options
from adaface.cli.console import mistakes_told, out, print_json, working
from adaface.cli.people import FaceChoice, look_at
from adaface.cli.pictures import check_folder
from adaface.errors import ConfigError

SUFFIX = ".safetensors"


def embed(
    photos: options.Photos = None,
    file: Annotated[Path, typer.Option("--out", "-o", help="The file to write.")] = Path(
        "person.safetensors"
    ),
    name: options.Name = None,
    face_index: options.FaceIndex = None,
    face_position: options.FacePosition = None,
    reference: options.Reference = None,
    strict: options.Strict = False,
    keep_all: options.KeepAll = False,
    min_face: options.MinFace = None,
    stack: options.StackName = "mini",
    encoder: options.Encoder = None,
    id_prompter: options.IdPrompter = None,
    recognizer: options.Recognizer = None,
    device: options.Device = "auto",
    commercial_safe: options.CommercialSafe = False,
    as_json: options.AsJson = False,
) -> None:
    """Make a small file of a person, without any photo in it.

    `adaface embed alice1.jpg alice2.jpg -o alice.safetensors`

    Then `adaface generate --identity alice.safetensors -p "a photo of <alice>"`. Other programs that load
    textual inversions read the file too.
    """
    with mistakes_told(as_json):
        choice = FaceChoice(face_index, face_position, reference, strict, keep_all, min_face)
        opening = options.Opening(
            stack, encoder=encoder, id_prompter=id_prompter, recognizer=recognizer, device=device,
            commercial_safe=commercial_safe,
        )  # fmt: skip
        report = carry_out(photos or [], file, name, choice, opening)
        if as_json:
            print_json(report)
        else:
            out.print(
                f"{report['file']}: {report['name']}, {report['rows']} rows of {report['width']}, "
                f"from {report['photos_used']} photo(s)",
                highlight=False, markup=False, soft_wrap=True,
            )  # fmt: skip


def carry_out(
    photos: list[str], file: Path, name: str | None, choice: FaceChoice, opening: options.Opening
) -> dict[str, Any]:
    """Do what `adaface embed` does, and return what `--json` prints. Raises what goes wrong as an
    AdaFaceError.
    """
    from adaface.identity.names import check_name, slot

    if not photos:
        raise ConfigError("no photo. Give at least one")
    if file.suffix.lower() != SUFFIX or file.is_dir():
        raise ConfigError(f"{file}: give -o a file name that ends with {SUFFIX}")
    called = check_name(name or name_from(file))
    check_folder(file.parent)
    stack = opening.load()
    with working("Looking at the photos"):
        analyzer = choice.analyzer(stack)
        found = look_at(photos, analyzer, choice)
    with working("Opening the models"):
        from adaface.pipelines.embedder import Embedder

        embedder = Embedder.from_pretrained(
            stack, device=opening.device, commercial_safe=opening.commercial_safe, analyzer=analyzer
        )
        person = embedder.identity(found, name=called)
    path = person.save(file)
    rows, width = person.subject_embeds.shape
    return {
        "file": str(path), "name": slot(called), "rows": rows, "width": width, "photos_used": len(found.used),
        "photos_left_out": [{"name": item.name, "reason": item.reason} for item in found.left_out],
        "provenance": dict(person.provenance),
    }  # fmt: skip


def name_from(file: Path) -> str:
    """The person's name out of a file name: alice.safetensors -> alice; blanks become dashes."""
    return re.sub(r"\s+", "-", file.stem.strip())
