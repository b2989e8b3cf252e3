"""`adaface prompts`: the prompts of a protocol as a list, for other programs and for lists of one's own."""

from pathlib import Path
from typing import Annotated, Any

import typer

from adaface.cli import options
from adaface.cli.console import mistakes_told, out as stdout, print_json
from adaface.errors import ConfigError


def prompts(
    protocol: Annotated[
        str | None,
        typer.Option("--protocol", metavar="NAME", show_default=False,
                     help="mini, short, pairs or adaface-2024; usual is mini for a stack with prompts of its "
                     "own, else short."),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option("--prompts", help="Instead, a file: text, YAML, or a table of the original.",
                     show_default=False),
    ] = None,
    kind: Annotated[
        str, typer.Option("--kind", help="Of subjects: person, animal or object.")
    ] = "person",
    subject: Annotated[
        str | None,
        typer.Option("--subject", help="Put this in the place of `<person>`, as alice or \"young woman\".",
                     show_default=False),
    ] = None,
    to: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Write a .txt or .yaml file, do not print.", show_default=False),
    ] = None,
    stack: options.StackName = "mini",
    as_json: options.AsJson = False,
) -> None:  # fmt: skip
    """Print the prompts that `adaface evaluate` draws.

    `adaface prompts --protocol short -o mine.txt` writes a list that can be changed and given back with
    `adaface evaluate --prompts mine.txt`.
    """
    with mistakes_told(as_json):
        lines = _lines(protocol, file, kind, stack)
        if subject is not None:
            lines = [type(line)(line.text.replace("<person>", subject), line.kind) for line in lines]
        if to is not None:
            _write(to, lines)
        if as_json:
            print_json({"prompts": [vars(line) for line in lines]})
        elif to is None:
            from adaface.evaluation.run.prompts import as_text

            stdout.print(as_text(lines), end="", highlight=False, markup=False, soft_wrap=True)


def _lines(protocol: str | None, file: Path | None, kind: str, stack: str) -> list[Any]:
    from adaface.evaluation.records import broad_class
    from adaface.evaluation.run.prompts import read_prompts
    from adaface.evaluation.run.protocols import protocol as find_protocol, protocol_prompts
    from adaface.pipelines.stack import Stack

    try:
        broad = broad_class(kind)
    except ValueError as error:
        raise ConfigError(f"--kind: {error}") from None
    if file is not None:
        return list(read_prompts(file))
    opened = Stack.load(stack)
    return list(protocol_prompts(find_protocol(protocol, opened), opened, broad))


def _write(path: Path, lines: list[Any]) -> None:
    from adaface.evaluation.run.prompts import YAML, as_text, as_yaml
    from adaface.files import write_text

    if path.suffix.lower() not in (*YAML, ".txt"):
        raise ConfigError(f"{path}: give a name that ends in .txt or .yaml (-o)")
    write_text(path, as_yaml(lines) if path.suffix.lower() in YAML else as_text(lines))
