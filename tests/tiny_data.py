"""A small prepared folder of drawn faces, for the tests of all rooms."""

import io
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

FACE_POINTS = np.array([[0.36, 0.42], [0.64, 0.42], [0.5, 0.56], [0.4, 0.7], [0.6, 0.7]], np.float32)
CLASS_WORDS = ("person", "woman", "young man", "girl")


def write_tiny_data(
    folder: Path,
    *,
    people: int = 4,
    photos: int = 3,
    size: int = 64,
    id_width: int = 128,
    seed: int = 0,
    masks: bool = True,
    mixed: int = 0,
    rows_per_shard: int = 5,
) -> Path:
    """Write a data set of `people` x `photos` drawn faces; the last `mixed` show many people."""
    from adaface.data.shards import ShardWriter

    settings = {"drawn": True}
    with ShardWriter(
        folder, image_size=size, recognizer="sface", settings=settings, rows_per_shard=rows_per_shard
    ) as writer:
        for entry in tiny_entries(people, photos, size, id_width, seed, masks, mixed):
            writer.add(entry)
    return folder


def tiny_entries(
    people: int = 4,
    photos: int = 3,
    size: int = 64,
    id_width: int = 128,
    seed: int = 0,
    masks: bool = True,
    mixed: int = 0,
) -> Iterator:
    """Entries of drawn faces: an ID embedding a person, with some noise a photo."""
    from adaface.data.shards import Entry

    for number in range(people):
        many = number >= people - mixed
        own = np.random.default_rng((seed, number))
        centre = own.normal(size=id_width)
        for photo in range(photos):
            rng = np.random.default_rng((seed, number, photo))
            vector = centre + 0.3 * rng.normal(size=id_width)
            picture, mask = drawn_face(size, zlib.crc32(f"{seed}-{number}".encode()), rng)
            yield Entry(
                key=f"person{number}-{photo}",
                image=encoded(picture, "JPEG"),
                mask=encoded(mask, "PNG") if masks else None,
                person=f"Person {number}",
                mixed=many,
                class_word="person" if many else CLASS_WORDS[number % len(CLASS_WORDS)],
                landmarks=FACE_POINTS * size,
                id_embedding=(vector / np.linalg.norm(vector)).astype(np.float32),
                quality=0.5 + 0.01 * photo,
                facts={"source": f"Person {number}/{photo}.jpg", "score": 0.9},
            )


def drawn_face(size: int, look: int, rng: np.random.Generator) -> tuple[Image.Image, Image.Image]:
    """A face of a person's own colours before a background of the photo's; its mask, 0 and 255."""
    own = np.random.default_rng(look)
    hair, skin = (tuple(int(v) for v in own.integers(40, 220, 3)) for _ in range(2))
    image = Image.new("RGB", (size, size), tuple(int(v) for v in rng.integers(0, 255, 3)))
    mask = Image.new("L", (size, size), 0)
    for canvas, fills in ((image, (hair, skin)), (mask, (255, 255))):
        pen = ImageDraw.Draw(canvas)
        pen.ellipse([size * 0.2, size * 0.1, size * 0.8, size * 0.9], fill=fills[0])
        pen.ellipse([size * 0.27, size * 0.25, size * 0.73, size * 0.9], fill=fills[1])
    pen = ImageDraw.Draw(image)
    for x, y in FACE_POINTS * size:
        pen.ellipse([x - 2, y - 2, x + 2, y + 2], fill="black")
    return image, mask


def encoded(picture: Image.Image, kind: str) -> bytes:
    """The picture as a file of this kind."""
    buffer = io.BytesIO()
    picture.save(buffer, kind)
    return buffer.getvalue()
