"""Drawn photos and networks that read them exactly; a file of their own, since other processes import them.

A face is a square of patches in its person's colour. Its middle pixel is MARK, and the pixel to the right of
that says how large it is. Pictures are PNG, so that the mark stays what it was.
"""

import io
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from adaface.face.align import CROP, TEMPLATE
from adaface.face.analyzer import FaceAnalyzer
from adaface.face.traits.age_gender import AgeGender
from adaface.face.traits.parse import Parsed
from adaface.face.types import Detection

MARK = (255, 0, 254)
RED, GREEN, BLUE, YELLOW = (210, 60, 60), (60, 200, 60), (60, 60, 220), (200, 200, 40)
SIDE = 256  # the analyser enlarges smaller pictures, which would smear the mark


class MarkDetector:
    """Finds the marks."""

    def __call__(self, image: np.ndarray) -> list[Detection]:
        ys, xs = np.nonzero((image == MARK).all(2))
        return [_detection(x, y, float(image[y, x + 1, 0])) for x, y in zip(xs, ys, strict=True)]


def _detection(x: float, y: float, side: float) -> Detection:
    box = np.array([x - side / 2, y - side / 2, x + side / 2, y + side / 2], np.float32)
    points = ((TEMPLATE - (CROP - 1) / 2) / CROP * side + [x, y]).astype(np.float32)
    return Detection(box, points, 0.95)


@dataclass(frozen=True)
class ColourRecognizer:
    """Mean colour of the aligned crop as an ID embedding of 3 numbers."""

    name: str = "colour"
    dim: int = 3
    same_person: float | None = 0.8

    def __call__(self, crops: np.ndarray) -> np.ndarray:
        vectors = crops.reshape(len(crops), -1, 3).mean(1) - 110.0
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@dataclass(frozen=True)
class Analyzer:
    """Makes the analyser in each worker."""

    name: str = "colour"

    def __call__(self) -> FaceAnalyzer:
        return FaceAnalyzer(MarkDetector(), ColourRecognizer(self.name))


@dataclass(frozen=True)
class LeftHalf:
    """A parser that takes the left half for the person; `labels` as many as it is told."""

    labels: int | None = None
    name: str = "left half"

    def __call__(self, picture: np.ndarray) -> Parsed:
        mask = np.zeros(picture.shape[:2], np.uint8)
        mask[:, : len(mask) // 2] = 255
        return Parsed(mask, self.labels)


@dataclass(frozen=True)
class Guess:
    """A backend that guesses the same of everybody."""

    age: float = 24.0
    gender: str = "female"
    name: str = "guess"

    def __call__(self, image: np.ndarray, box: np.ndarray) -> AgeGender:
        return AgeGender(self.age, self.gender)


@dataclass(frozen=True)
class Always:
    """Makes the one thing that it is given: a factory for workers."""

    what: object

    def __call__(self) -> object:
        return self.what


def photo(
    colour: Sequence[int],
    seed: int,
    *,
    side: int = 80,
    at: tuple[int, int] = (128, 128),
    on: Image.Image | None = None,
    size: tuple[int, int] = (SIDE, SIDE),
) -> Image.Image:
    """A photo of somebody; seed: another picture of the same person. on: put the face into this picture."""
    rng = np.random.default_rng(seed)
    if on is None:
        cells = rng.integers(60, 160, (8, 8, 3)).astype(np.uint8)
        on = Image.fromarray(cells).resize(size, Image.Resampling.NEAREST)
    pixels = np.array(on)
    patches = np.clip(np.array(colour) + rng.integers(-45, 46, (8, 8, 1)), 0, 255).astype(np.uint8)
    face = np.asarray(Image.fromarray(patches).resize((side, side), Image.Resampling.NEAREST))
    x, y = at
    pixels[y - side // 2 : y - side // 2 + side, x - side // 2 : x - side // 2 + side] = face
    pixels[y, x], pixels[y, x + 1] = MARK, side
    return Image.fromarray(pixels)


def save(picture: Image.Image, path: Path, **options: object) -> Path:
    """Write a picture; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, **options)
    return path


def write_people(
    folder: Path,
    people: Sequence[tuple[str, Sequence[int]]] = (("ann", RED), ("bob", GREEN)),
    photos: int = 3,
) -> Path:
    """A folder a person, with so many photos in each."""
    for k, (name, colour) in enumerate(people):
        for number in range(photos):
            save(photo(colour, 100 * k + number), folder / name / f"{number}.png")
    return folder


def encoded(picture: Image.Image, kind: str, **options: object) -> bytes:
    """A picture as the bytes of a file."""
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def tree(folder: Path, *without: str) -> dict[str, bytes]:
    """Every file below a folder and what is in it."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    named = {path.relative_to(folder).as_posix(): path for path in files}
    return {name: path.read_bytes() for name, path in named.items() if name not in without}


def copied(folder: Path, to: Path) -> Path:
    """A copy with the same times."""
    return Path(shutil.copytree(folder, to))
