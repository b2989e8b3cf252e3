"""Where pictures go: checks before the work, PNG files with their settings inside, and the grid."""

import json
import re
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaface.cli.console import since_start
from adaface.errors import ConfigError, MissingFileError, WriteError
from adaface.files import slug, write_atomic

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
    try:  # permissions alone do not tell: a file system may be read-only, or made up by the system
        with tempfile.TemporaryFile(dir=there):
            return
    except OSError as error:
        raise WriteError(f"{there}: not writable ({error.strerror}). Choose another place (-o)") from error


def check_inputs(folder: Path, inputs: Iterable[str | Path], seeds: range) -> None:
    """Raises ConfigError: one of `inputs` lies in `folder` under a name that a picture of `seeds` may get."""
    for name in map(Path, inputs):
        made = re.fullmatch(r"\d{2,}-.*-seed(\d+)\.png", name.name)
        if name.name != "grid.png" and not (made and int(made[1]) in seeds):
            continue
        if name.absolute().parent.resolve() == folder.resolve():
            raise ConfigError(
                f"{name}: lies in the folder for the pictures, where a new one may replace it. Choose "
                "another folder (-o)"
            )


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


@dataclass
class Album:
    """Saves pictures batch by batch, as `Personalizer.generate` gives them to `on_batch`: what is drawn is
    kept, whatever happens later.

    folder: where to. stack: its name. num_images: of each prompt, which numbers the files. paths: of the
    files so far. drawn: for each batch, the seconds since the command was started when it was done.
    """

    folder: Path
    stack: str
    num_images: int
    paths: list[Path] = field(default_factory=list)
    drawn: list[float] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)

    def __call__(self, batch: "Generation") -> None:
        """One PNG a picture, with prompt, seed and settings as JSON in its text field "adaface".

        Raises WriteError: a file cannot be written; those written before it are whole.
        """
        self.drawn.append(since_start())
        self.sizes.append(len(batch))
        for image, record in zip(batch.images, batch.records(), strict=True):
            number = len(self.paths) // self.num_images + 1
            name = f"{number:02d}-{slug(record['prompt'])}-seed{record['seed']}.png"
            self.paths.append(save_png(self.folder / name, image, {**record, "stack": self.stack}))

    def seconds(self, ready: float) -> dict[str, float]:
        """`seconds_cold`: from the start of the process until the first batch was drawn.
        `seconds_per_picture`: of the batches behind the first, or, if there is only one, of that, counted
        from `ready`.
        """
        first, last = self.drawn[0], self.drawn[-1]
        later = sum(self.sizes[1:])
        warm = (last - first) / later if later else (first - ready) / self.sizes[0]
        return {"seconds_cold": round(first, 2), "seconds_per_picture": round(warm, 3)}


def save_png(path: Path, image: "Image.Image", record: dict[str, Any] | None = None) -> Path:
    """Write a PNG, with `record` as JSON in it. Raises WriteError."""
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    if record is not None:
        import adaface

        info.add_itxt("adaface", json.dumps({**record, "version": adaface.__version__}, ensure_ascii=False))
    return write_atomic(path, lambda beside: image.save(beside, "PNG", pnginfo=info))
