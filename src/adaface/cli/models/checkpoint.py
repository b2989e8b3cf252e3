"""`adaface checkpoint`: checkpoints with another text encoder or VAE, averaged, taken apart."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from adaface.cli import options
from adaface.cli.console import mistakes_told, out, print_json, progress
from adaface.errors import ConfigError

if TYPE_CHECKING:
    from adaface.checkpoints.surgery.common import Written
    from adaface.checkpoints.surgery.writing import Tell

app = typer.Typer(
    no_args_is_help=True,
    help="Stable Diffusion 1.x checkpoints: swap the text encoder or the VAE, average, take a model out.\n\n"
    "A checkpoint is one LDM file (.safetensors, or .ckpt, of which nothing is executed) or a diffusers "
    "folder. Inputs stay as they are; memory stays small, however large the files.",
)
Base = Annotated[
    Path, typer.Argument(help="The checkpoint to start from; the result has its form, a file or a folder.")
]
Out = Annotated[Path, typer.Option("--out", "-o", help="The .safetensors file, or the new folder, to write.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the result's file if it is there.")]


@app.command()
def swap_text_encoder(
    base: Base,
    source: Annotated[
        Path, typer.Argument(help="Where the text encoder is: a checkpoint, or its own file or folder.")
    ],
    to: Out,
    overwrite: Overwrite = False,
    as_json: options.AsJson = False,
) -> None:
    """Write BASE with the CLIP text encoder of SOURCE.

    `adaface checkpoint swap-text-encoder v1-5.safetensors dreamshaper8.safetensors -o base.safetensors`
    """
    _swap(base, source, to, "text_encoder", overwrite, as_json)


@app.command()
def swap_vae(
    base: Base,
    source: Annotated[
        Path, typer.Argument(help="Where the VAE is: a checkpoint, or its own file or folder.")
    ],
    to: Out,
    overwrite: Overwrite = False,
    as_json: options.AsJson = False,
) -> None:
    """Write BASE with the VAE of SOURCE, which has to be one of Stable Diffusion 1.x or 2.x.

    `adaface checkpoint swap-vae base.safetensors vae-ft-mse-840000.safetensors -o better.safetensors`
    """
    _swap(base, source, to, "vae", overwrite, as_json)


@app.command()
def average(
    checkpoints: Annotated[
        list[Path],
        typer.Argument(help="Two or more; the first one gives the form and all that is no weight."),
    ],
    to: Out,
    weights: Annotated[
        str | None,
        typer.Option(
            help="A number of 0 or more for each, as 2,1,1; only their ratios count. Default: equal."
        ),
    ] = None,
    overwrite: Overwrite = False,
    as_json: options.AsJson = False,
) -> None:
    """Write the average of checkpoints, of VAEs, of text encoders, of UNets, or of AdaFace encoders.

    `adaface checkpoint average a.safetensors b.safetensors c.safetensors -o mean.safetensors`
    """

    def work(tell: "Tell") -> "Written":
        from adaface.checkpoints.surgery.averaging import average as mean

        return mean(checkpoints, to, _numbers(weights), overwrite=overwrite, tell=tell)

    _run(work, "Averaging", as_json)


@app.command()
def extract(
    checkpoint: Annotated[Path, typer.Argument(help="An LDM file, a diffusers folder, or a model's own.")],
    model: Annotated[
        str, typer.Argument(help="unet, vae or text-encoder; pipeline: all of an LDM file, as a folder.")
    ],
    to: Out,
    config: Annotated[
        Path | None,
        typer.Option(help="For sizes other than SD-1.5's: a diffusers folder whose configs are to be used."),
    ] = None,
    overwrite: Overwrite = False,
    as_json: options.AsJson = False,
) -> None:
    """Take one model out: into a .safetensors file (names as in CHECKPOINT), or a folder for diffusers.

    `adaface checkpoint extract v1-5.safetensors pipeline -o v1-5/`
    """

    def work(tell: "Tell") -> "Written":
        from adaface.checkpoints.surgery.extracting import extract as take

        return take(checkpoint, model.replace("-", "_"), to, config, overwrite=overwrite, tell=tell)

    _run(work, "Extracting", as_json)


def _swap(base: Path, source: Path, to: Path, role: str, overwrite: bool, as_json: bool) -> None:
    def work(tell: "Tell") -> "Written":
        from adaface.checkpoints.surgery.swapping import swap

        return swap(base, source, to, role, overwrite=overwrite, tell=tell)

    _run(work, "Writing", as_json)


def _run(work: "Callable[[Tell], Written]", label: str, as_json: bool) -> None:
    with mistakes_told(as_json):
        with progress(f"{label} (MB)") as tell:
            done = work(lambda some, all_of_it: tell(some // 10**6, all_of_it // 10**6))
        report: dict[str, Any] = {
            "path": str(done.path), "bytes": done.bytes, "tensors": done.tensors, "changed": done.changed,
            "left_out": list(done.left_out),
        }  # fmt: skip
        if as_json:
            print_json(report)
            return
        note = f", {len(done.left_out)} tensors of old averages left out" if done.left_out else ""
        out.print(
            f"{done.path}: {done.tensors} tensors, {done.bytes / 1e9:.2f} GB written{note}",
            highlight=False, markup=False, soft_wrap=True,
        )  # fmt: skip


def _numbers(text: str | None) -> list[float] | None:
    if text is None:
        return None
    try:
        return [float(number) for number in text.split(",")]
    except ValueError as error:
        raise ConfigError(f"--weights {text}: not numbers. Write them with commas, as 2,1,1") from error
