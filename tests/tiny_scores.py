"""People as colours, for the tests of scores: a picture is stripes, a stripe a face, its colour who it is."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from adaface.evaluation.records import Case, Picture, Subject, World
from adaface.face.types import Face

# Who is whose neighbour is known by hand: unit vectors in the plane.
VECTORS = {
    "red": (1.0, 0.0),
    "orange": (0.8, 0.6),
    "yellow": (0.6, 0.8),
    "blue": (0.0, 1.0),
    "cyan": (-0.6, 0.8),
    "purple": (-1.0, 0.0),
    "black": (0.0, -1.0),
}
COLOURS = {Image.new("RGB", (1, 1), name).getpixel((0, 0)): name for name in VECTORS}


def picture(*faces: str) -> Image.Image:
    """A picture of 256 pixels with these faces, the first one the largest; white if there are none."""
    image = Image.new("RGB", (256, 256), "white")
    for k, name in enumerate(faces):
        image.paste(name, (32 * k, 0, 32 * k + 32, 256 - 16 * k))
    return image


def photo(folder: Path, *faces: str) -> Path:
    """`picture` as a file."""
    path = folder / f"{'-'.join(faces) or 'nobody'}.png"
    picture(*faces).save(path)
    return path


class FakeRecognizer:
    name, dim, same_person = "fake", 2, 0.5

    def __init__(self, vectors=VECTORS):
        self.vectors = {key: np.array(row, np.float32) for key, row in vectors.items()}

    def __call__(self, crops):
        """The vector of each crop's middle."""
        return np.stack([self.vectors[COLOURS[tuple(int(v) for v in crop[56, 56])]] for crop in crops])


class FakeAnalyzer:
    """Sees the stripes of `picture`; fulfils what scores use of a FaceAnalyzer."""

    detector = None
    min_face_px = 1

    def __init__(self):
        self.recognizer = FakeRecognizer()

    def faces(self, pixels):
        found = []
        for k in range(8):
            name = COLOURS.get(tuple(int(v) for v in pixels[8, 32 * k + 16]))
            if name is not None:
                box = np.array([32 * k, 0, 32 * k + 32, 256 - 16 * k], np.float32)
                points = np.array([[8, 8], [24, 8], [16, 16], [8, 24], [24, 24]], np.float32) + box[:2]
                found.append(Face(box, points, 1.0, self.recognizer.vectors[name], 1.0))
        return found


class FakeClip:
    """Features of a picture: the vector of its first stripe; of a text: that of the first colour in it."""

    def embed_images(self, images):
        return torch.tensor([VECTORS[COLOURS[image.getpixel((16, 8))]] for image in images])

    def embed_texts(self, texts):
        return torch.tensor(
            [VECTORS[next(word for word in text.split() if word in VECTORS)] for text in texts]
        )


def case(image, *names, template="a red <person>", seed=0, prompt="", variant="") -> Case:
    """A picture to be scored."""
    return Case(Picture(names, prompt, template, seed, "x.png", variant=variant), image)


def person(name, given=(), scored=(), **options) -> Subject:
    """Somebody with photos."""
    return Subject(name, tuple(given), tuple(scored), **options)


def world(*subjects, templates=("a red <person>",)) -> World:
    """A run's subjects and templates."""
    return World(subjects, tuple(templates))


def broken() -> Image.Image:
    """A picture whose file was cut off: it opens, and fails when its pixels are read."""
    import io

    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(
        stream, "PNG"
    )
    return Image.open(io.BytesIO(stream.getvalue()[: len(stream.getvalue()) // 2]))
