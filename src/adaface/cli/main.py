"""The command `adaface`. Only what `--help` needs is imported here; each command loads its models itself."""

import os
from importlib.util import find_spec
from typing import Annotated

import typer

from adaface.cli import console  # first, for the time it notes
from adaface.cli.demo import demo
from adaface.cli.embed import embed
from adaface.cli.evaluation.evaluate import evaluate
from adaface.cli.evaluation.prompts import prompts
from adaface.cli.generate import generate
from adaface.cli.models.checkpoint import app as checkpoint
from adaface.cli.models.convert import convert
from adaface.cli.models.doctor import doctor
from adaface.cli.models.setup import setup
from adaface.cli.prepare import RayWithoutAddress, prepare
from adaface.cli.training.train import app as train

app = typer.Typer(
    name="adaface",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _tell_version(wanted: bool) -> None:
    if wanted:
        import adaface

        typer.echo(f"adaface {adaface.__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version and stop.", is_eager=True, callback=_tell_version),
    ] = False,
) -> None:
    """Pictures of a person from one photo of the face.

    Start with `adaface demo`, then try your own photo:

    `adaface generate me.jpg --prompt "a photo of <person> in a meadow" -o out/`
    """
    # A thread that waits for the other by spinning takes the core that the other needs: pictures took 20
    # times as long beside one busy process. OpenMP reads this when torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


for command in (generate, embed, demo, evaluate, prompts, doctor, setup, convert):
    app.command()(command)
app.command(cls=RayWithoutAddress)(prepare)
app.add_typer(checkpoint, name="checkpoint")
app.add_typer(train, name="train")
if find_spec("adaface.cli.mini") is not None:
    from adaface.cli.mini import app as mini

    app.add_typer(mini, name="mini")

__all__ = ["app", "console"]
