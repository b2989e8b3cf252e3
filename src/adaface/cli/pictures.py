"""Where pictures go: checks before the work, PNG files with their settings inside, and the grid."""

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaface.errors import ConfigError, MissingFileError, WriteError
from adaface.files import write_atomic

if TYPE_CHECKING:
    from PIL import Image

    from adaface.pipelines.generation import Generation


def check_folder(folder: Path) -> None:
    """Fail now rather than after minutes of drawing. Raises WriteError: files cannot be written below
    `folder`.
    """
    there = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    if not there.is_dir():
        raise WriteError(f"{there}: a file, not a folder. Choose another place for the pictures (-o)")
    if not os.access(there, os.W_OK | os.X_OK):
        raise WriteError(f"{there}: no permission to write there. Choose another place (-o)")


def read_prompts(given: Sequence[str], file: Path | None) -> list[str]:
    """Prompts of the command line, then those of the file, a line each; blank lines and # comments are
    skipped.

    Raises ConfigError: none at all. MissingFileError: no such file.
    """
    prompts = [text.strip() for text in given]
    if any(not text for text in prompts):
        raise ConfigError('--prompt is empty. Write what to draw, such as "a photo of <person> in a meadow"')
    if file is not None:
        prompts += _prompts_of(file)
    if not prompts:
        raise ConfigError('no prompt. Give one: --prompt "a photo of <person> in a meadow"')
    return prompts


def _prompts_of(file: Path) -> list[str]:
    if not file.is_file():
        raise MissingFileError(f"{file}: no such file. --prompt-file needs a text file with a prompt a line")
    try:
        lines = [line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines()]
    except (UnicodeDecodeError, OSError) as error:
        raise ConfigError(
            f"{file}: not readable as text ({error}). Save it as UTF-8, a prompt a line"
        ) from error
    prompts = [line for line in lines if line and not line.startswith("#")]
    if not prompts:
        raise ConfigError(f"{file}: no prompt in it. Write one a line")
    return prompts


def save_pictures(folder: Path, generation: "Generation", stack: str) -> list[Path]:
    """One PNG a picture, with prompt, seed and settings as JSON in its text field "adaface".

    Raises WriteError: a file cannot be written; those written before it are whole.
    """
    paths, number = [], 0
    for image, record in zip(generation.images, generation.records(), strict=True):
        number += record["seed"] == generation.seeds[0]  # each prompt starts with the first seed
        name = f"{number:02d}-{slug(record['prompt'])}-seed{record['seed']}.png"
        paths.append(save_png(folder / name, image, {**record, "stack": stack}))
    return paths


def save_png(path: Path, image: "Image.Image", record: dict[str, Any] | None = None) -> Path:
    """Write a PNG, with `record` as JSON in it. Raises WriteError."""
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    if record is not None:
        import adaface

        info.add_itxt("adaface", json.dumps({**record, "version": adaface.__version__}, ensure_ascii=False))
    return write_atomic(path, lambda beside: image.save(beside, "PNG", pnginfo=info))


def slug(prompt: str, longest: int = 48) -> str:
    """A prompt as part of a file name: plain letters, digits and dashes."""
    words = re.sub(r"[^a-z0-9]+", "-", prompt.lower()).strip("-")
    return words[:longest].rstrip("-") or "picture"
