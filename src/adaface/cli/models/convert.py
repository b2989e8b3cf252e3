"""`adaface convert`: a checkpoint of AdaFace's authors -> folders that adaface reads; nothing in it runs."""

from pathlib import Path
from typing import Annotated, Any

import typer

from adaface.cli import options
from adaface.cli.console import mistakes_told, out, print_json, say, working

UNKNOWN = "unknown"


def convert(
    original: Annotated[
        Path,
        typer.Argument(metavar="ORIGINAL.pt", help="The authors' file, of 2024 or 2025.", show_default=False),
    ],
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="OUT", help="The folder to make; one that is there is not touched.", show_default=False
        ),
    ],
    licence: Annotated[
        str, typer.Option("--licence", help="Of the weights, as their source has it: the file does not say.")
    ] = UNKNOWN,
    recognizer: Annotated[
        str,
        typer.Option(
            "--recognizer", help="Name of the face recogniser that it was trained with, if you know it."
        ),
    ] = UNKNOWN,
    as_json: options.AsJson = False,
) -> None:
    """Convert the authors' AdaFace checkpoint into a folder that adaface reads.

    `adaface convert embeddings_gs-30000.pt my-encoder/`

    Then `adaface generate me.jpg --encoder my-encoder/ ...`. The file is pickled Python; it is read without
    running anything in it. If it holds several encoders, each gets a folder of its own inside OUT.
    """
    with mistakes_told(as_json):
        report = carry_out(original, folder, licence, recognizer)
        if as_json:
            print_json(report)
        else:
            _tell(report)


def carry_out(original: Path, folder: Path, licence: str, recognizer: str) -> dict[str, Any]:
    """Do what `adaface convert` does, and return what `--json` prints. Raises what goes wrong as an
    AdaFaceError.
    """
    with working("Converting"):
        from adaface.checkpoints import convert as work

        done = work.convert(original, folder, licence=licence, recognizer=recognizer)
    return {
        "source": str(done.source),
        "encoders": [
            {
                "name": one.name, "folder": str(one.folder), "part": one.part, "width": one.config.width,
                "layers": one.config.layers, "id_vectors": one.config.num_id_vectors,
                "multipliers": list(one.config.multipliers), "id_scale": one.config.id_scale,
                "licence": one.config.licence, "recognizer": one.config.recognizer,
                "origin": dict(one.config.origin),
            }
            for one in done.encoders
        ],
        "left_out": [{"part": s.part, "tensors": s.tensors, "why": s.why} for s in done.skipped],
    }  # fmt: skip


def _tell(report: dict[str, Any]) -> None:
    for one in report["encoders"]:
        copies = " ".join(map(str, one["multipliers"]))
        _line(
            f"{one['folder']}: {one['name']}, {one['id_vectors']} vectors of {one['width']}, {one['layers']} "
            f"layers with {copies} keys and values a token, used at scale {one['id_scale']:g}"
        )
    if report["left_out"]:
        _line("Left out, since pictures of people do not need it:")
    for part in report["left_out"]:
        _line(f"  {part['part']} ({part['tensors']} tensors): {part['why']}")
    if report["encoders"][0]["licence"] == UNKNOWN:
        say(
            "The file does not say under which licence its weights are. Look at where it is from, and write "
            "it into config.json, or convert again with --licence",
            style="yellow",
        )


def _line(text: str) -> None:
    out.print(text, highlight=False, markup=False, soft_wrap=True)
