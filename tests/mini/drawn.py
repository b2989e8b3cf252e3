"""Drawn faces in the layout of the face packs, so that a whole build can run without any photo."""

import csv
import io
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

ID_WIDTH = 128  # as SFace
FACE_POINTS = np.array([[0.36, 0.42], [0.64, 0.42], [0.5, 0.56], [0.4, 0.7], [0.6, 0.7]])


def write_packs(folder: Path, people: int = 12, photos: int = 2) -> Path:
    """Write the four data files with a handful of drawn people."""
    rng = np.random.default_rng(0)
    for name, size in (("lfw_64", 80), ("celeba_wild_64", 80), ("utkface_64", 64)):
        _write_pack(folder / f"{name}.npz", size, people, photos, rng, labelled=name == "utkface_64")
    _write_portraits(folder / "portraits_masks.zip", rng, count=12)
    return folder


def face(size: int, rng: np.random.Generator) -> tuple[Image.Image, Image.Image]:
    """A drawn face and its class mask (0 background, 1 skin, 13 hair)."""
    image = Image.new("RGB", (size, size), tuple(int(v) for v in rng.integers(0, 255, 3)))
    mask = Image.new("L", (size, size), 0)
    for canvas, hair, skin in ((image, "saddlebrown", "peachpuff"), (mask, 13, 1)):
        pen = ImageDraw.Draw(canvas)
        pen.ellipse([size * 0.2, size * 0.1, size * 0.8, size * 0.9], fill=hair)
        pen.ellipse([size * 0.27, size * 0.25, size * 0.73, size * 0.9], fill=skin)
    pen = ImageDraw.Draw(image)
    for x, y in FACE_POINTS * size:
        pen.ellipse([x - 2, y - 2, x + 2, y + 2], fill="black")
    return image, mask


def _write_pack(
    path: Path, size: int, people: int, photos: int, rng: np.random.Generator, *, labelled: bool
) -> None:
    count = people * photos
    files = [_bytes(face(size, rng)[0], "WEBP") for _ in range(count)]
    vectors = rng.normal(size=(count, ID_WIDTH))
    pid = np.repeat(np.arange(people), photos)
    fields = {
        "data": np.frombuffer(b"".join(files), np.uint8),
        "off": np.cumsum([0, *map(len, files)]).astype(np.int64),
        "lm": np.broadcast_to(FACE_POINTS * size, (count, 5, 2)).astype(np.float16),
        "emb": (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16),
        "valid": np.ones(count, np.float16),
    }
    if labelled:
        fields |= {
            "age": np.sort(rng.integers(18, 90, count)).astype(np.uint8),  # the real pack is in order of age
            "gender": rng.integers(0, 2, count).astype(np.uint8),
        }
    else:
        held = (pid >= people * 3 // 4).astype(np.uint8)
        fields |= {"pid": pid.astype(np.int16), "split": held, "sim_own": np.full(count, 0.9, np.float16)}
    np.savez_compressed(path, **fields)


def _write_portraits(path: Path, rng: np.random.Generator, count: int) -> None:
    table = io.StringIO()
    rows = csv.DictWriter(table, ["id"])
    rows.writeheader()
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(count):
            image, mask = face(128, rng)
            archive.writestr(f"images/{number}.jpg", _bytes(image, "JPEG"))
            archive.writestr(f"masks/{number}.png", _bytes(mask, "PNG"))
            rows.writerow({"id": number})
        archive.writestr("index.csv", table.getvalue())


def _bytes(image: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()
