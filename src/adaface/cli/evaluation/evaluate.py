"""`adaface evaluate`: subjects x prompts x seeds -> pictures, scores and a report."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from adaface.cli import options
from adaface.cli.console import mistakes_told, print_json, progress, say
from adaface.cli.evaluation.gates import check_data, gates_entry
from adaface.cli.evaluation.told import result_of, tell_comparison, tell_result
from adaface.errors import ConfigError

if TYPE_CHECKING:
    from adaface.evaluation.run.request import Request, Tell

WHO, WHAT, SCORES = "Who", "What is drawn", "What it is scored with"


def _option(
    flags: str, text: str, panel: str, metavar: str | None = None, *, show_default: bool = False
) -> Any:
    """flags: with blanks between, as "--prompt -p"."""
    return typer.Option(
        *flags.split(), help=text, rich_help_panel=panel, metavar=metavar, show_default=show_default
    )


_shown = partial(_option, show_default=True)


def evaluate(
    subjects: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SUBJECT",
            help="A folder of photos of one person, a folder of such folders, or an identity file. None: "
            "people who do not exist, drawn by the stack's ID teacher.",
            show_default=False,
        ),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="Folder of the run; usual is out/evaluation, and out/comparison with --compare.",
            show_default=False,
        ),
    ] = None,
    protocol: Annotated[
        str | None,
        _option(
            "--protocol",
            "mini, short, pairs, adaface-2024 or mini-gates; usual is mini for a stack with "
            "prompts of its own, else short.",
            WHAT,
            "NAME",
        ),
    ] = None,
    prompt: Annotated[
        list[str] | None,
        _option(
            "--prompt -p",
            "A prompt in place of the protocol's; `<person>` is the subject, `<other>` "
            "the next one. Give it again for more.",
            WHAT,
        ),
    ] = None,
    prompts: Annotated[
        Path | None,
        _option("--prompts", "A file of prompts: text, YAML, or a table of the original.", WHAT, "FILE"),
    ] = None,
    num_images: Annotated[
        int | None, _option("--num-images -n", "Pictures of each prompt; usual is 2.", WHAT)
    ] = None,
    seed: Annotated[
        int,
        _shown(
            "--seed", "Of each prompt's first picture, of the split of photos, and of synthetic people.", WHAT
        ),
    ] = 0,
    sweep: Annotated[
        list[str] | None,
        _option(
            "--sweep",
            "Draw everything at several values of a setting: id_scale=0.5,1,1.5. Give it again "
            "for guidance_scale or steps.",
            WHAT,
            "NAME=VALUES",
        ),
    ] = None,
    images: Annotated[
        Path | None,
        _option(
            "--images",
            "Score pictures that somebody else made, of any method: DIR/SUBJECT/PROMPT/*.png, "
            "or a pictures.jsonl or pictures.csv in DIR.",
            WHAT,
            "DIR",
        ),
    ] = None,
    compare: Annotated[
        bool, _shown("--compare", "Put runs side by side instead: each SUBJECT is the folder of a run.", WHAT)
    ] = False,
    data: Annotated[
        Path | None,
        _option(
            "--data", "Folder with the face packs, for --protocol mini-gates (docs/mini.md).", WHAT, "DIR"
        ),
    ] = None,
    people: Annotated[int, _shown("--people", "How many synthetic people, at most 12.", WHO)] = 12,
    given: Annotated[
        int, _shown("--given", "Photos of a person that make the identity; the others score.", WHO)
    ] = 1,
    keep_all: Annotated[
        bool, _shown("--keep-all", "Use each photo, even if a person's photos seem to show several.", WHO)
    ] = False,
    about: Annotated[
        Path | None,
        _option(
            "--about",
            "What subjects are, for the text score: YAML or JSON (alice: young woman), or the "
            "original's file of subjects.",
            WHO,
            "FILE",
        ),
    ] = None,
    clip: Annotated[
        str | None,
        _option(
            "--clip",
            "A CLIP model's folder, or hub:owner/name@revision; usual is the stack's.",
            SCORES,
            "PLACE",
        ),
    ] = None,
    dino: Annotated[
        str | None,
        _option(
            "--dino", "A DINO model's folder, or hub:owner/name@revision; without it, none.", SCORES, "PLACE"
        ),
    ] = None,
    second: Annotated[
        str,
        _shown(
            "--second",
            "A second recogniser, which nothing was trained with: auto (dlib if it is "
            "installed), dlib, none, or an ONNX file.",
            SCORES,
            "NAME",
        ),
    ] = "auto",
    steps: options.Steps = None,
    guidance: options.Guidance = None,
    id_scale: options.IdScale = None,
    negative_prompt: options.NegativePrompt = None,
    height: options.Height = None,
    width: options.Width = None,
    batch_size: options.BatchSize = None,
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
    """Measure how well people are drawn, and write a report of it.

    `adaface evaluate photos/ -o out/evaluation`, where photos/ holds a folder of several photos a person

    Some photos of a person make the identity, others score the pictures. Stop it whenever you like: the same
    command goes on. `--compare RUN RUN` puts runs side by side, `--images DIR` scores pictures of any method.
    """
    with mistakes_told(as_json):
        if compare:
            _compare([Path(one) for one in subjects or ()], folder or Path("out/comparison"), as_json)
            return
        given_settings = {
            "steps": steps, "guidance_scale": guidance, "id_scale": id_scale, "height": height,
            "width": width, "batch_size": batch_size, "negative_prompt": negative_prompt,
        }  # fmt: skip
        opening = options.Opening(
            stack, base, text_encoder, vae, encoder, id_prompter, recognizer, device=device, dtype=dtype,
            offload=offload, slicing=slicing, tiling=tiling, safety_checker=not no_safety_checker,
            commercial_safe=commercial_safe,
        )  # fmt: skip
        from adaface.evaluation.run.about import read_about
        from adaface.evaluation.run.protocols import protocol as find_protocol
        from adaface.evaluation.run.request import Request
        from adaface.evaluation.run.subjects import Splitting

        who, swept = _told_apart(subjects or (), sweep)
        opened = opening.load()
        request = Request(
            folder=folder or Path("out/evaluation"), stack=opened,
            protocol=find_protocol(protocol, opened), subjects=who, people=people,
            splitting=Splitting(seed, given, keep_all), about={} if about is None else read_about(about),
            prompts=_prompts(prompt, prompts), num_images=num_images, seed=seed,
            settings={name: value for name, value in given_settings.items() if value is not None},
            sweeps=swept, images=images, clip=clip, dino=dino, second=second, models=opening.arguments(),
        )  # fmt: skip
        _run(request, data, as_json)


def _told_apart(words: Sequence[str], sweep: Sequence[str] | None) -> tuple[list[str], list[str]]:
    """Subjects and sweeps: in `--sweep id_scale=0.5,1 guidance=1,2` the second word comes as a subject."""
    from adaface.evaluation.run.plan import ALIASES, SWEPT

    known = tuple(f"{name}=" for name in (*SWEPT, *ALIASES))
    more = [word for word in words if sweep and word.startswith(known) and not Path(word).exists()]
    return [word for word in words if word not in more], [*(sweep or ()), *more]


def _prompts(given: Sequence[str] | None, file: Path | None) -> list[Any]:
    from adaface.evaluation.run.prompts import prompt_line, read_prompts

    lines = [prompt_line(text, "", "--prompt") for text in given or ()]
    return lines + list(read_prompts(file) if file is not None else ())


def _run(request: "Request", data: Path | None, as_json: bool) -> None:
    from adaface.evaluation.run.run import evaluate as carry_out

    check_data(request.protocol.name, data)
    if data is not None:
        gates = gates_entry(request, data, partial(say, quiet=as_json))
        request = replace(request, more={"gates": gates})
    try:
        with _told(quiet=as_json) as tell:
            done = carry_out(request, tell)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            "Stopped. What is drawn is kept; the same command goes on where it was."
        ) from None
    result = result_of(done)
    if as_json:
        print_json(result)
    else:
        tell_result(result)


@contextmanager
def _told(*, quiet: bool) -> "Iterator[Tell]":
    """A bar for what is counted; a line, once, for each thing that begins."""
    told: list[str] = []
    with progress("Evaluating") as bar:

        def tell(stage: str, done: int, total: int) -> None:
            if stage not in told:
                told.append(stage)
                say(stage, quiet=quiet, style="dim")
            if total:
                bar(done, total)

        yield tell


def _compare(runs: Sequence[Path], folder: Path, as_json: bool) -> None:
    from adaface.evaluation import compare

    if len(runs) < 2:
        raise ConfigError(
            f"--compare: {len(runs)} runs to put side by side. Give the folders of two or more: --compare "
            "RUN RUN"
        )
    page = compare.write(runs, folder)
    figures = json.loads((page.parent / compare.JSON).read_text(encoding="utf-8"))
    if as_json:
        print_json({"report": str(page), **figures})
    else:
        tell_comparison(figures, page)
