"""Does a stack draw the person? One photo, pictures of the person and of the class prompt, compared.

The judge is SFace, which the stack was not trained with, unless the stack's own recogniser is SFace.
"""

import itertools
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from adaface import files
from adaface.errors import MissingExtra
from adaface.evaluation.face_similarity import similarity
from adaface.face.analyzer import FaceAnalyzer
from adaface.face.recognize import default_recognizer
from adaface.identity.files import Identity
from adaface.optional import require
from adaface.pipelines.devices import Memory, choose_device, choose_dtype
from adaface.pipelines.generation import Generation
from adaface.pipelines.personalizer import Personalizer
from adaface.pipelines.settings import Settings
from adaface.text.tokens import piece_ids

PROMPT, CLASS_WORDS = "a photo of <person>", "a person"
COUNT = 4
NEEDED = 15  # of the 16 pairs (a picture of the person, one of the class prompt)
CHANCE = "2 in 70"  # orders of 4 + 4 pictures that have so many pairs right by luck
FOLDER, REPORT = "self-check", "self-check.json"


@dataclass(frozen=True)
class Check:
    """What a self-check found. person, class_prompt: cosines with the photo, None where no face was found.

    pairs: in how many of the 16 pairs the person's picture is more like the photo. passed: at least 15.
    """

    judge: str
    person: tuple[float | None, ...]
    class_prompt: tuple[float | None, ...]
    pairs: int
    passed: bool
    assumptions: tuple[str, ...]
    folder: str = ""

    @property
    def verdict(self) -> str:
        """Pass or fail, in a sentence."""
        word = "PASS" if self.passed else "FAIL"
        return (
            f"{word}: in {self.pairs} of {COUNT**2} pairs the picture of the person is more like the photo "
            f"than the picture of the class prompt; {NEEDED} are needed, luck has them {CHANCE} times"
        )


def judge(
    person: Sequence[float | None],
    class_prompt: Sequence[float | None],
    *,
    name: str,
    assumptions: Sequence[str] = (),
    folder: str = "",
) -> Check:
    """Compare the similarities of four pictures each; a picture without a face loses against one with."""
    low = -2.0  # below every cosine
    pairs = sum(
        (low if a is None else a) > (low if b is None else b)
        for a, b in itertools.product(person, class_prompt)
    )
    return Check(name, tuple(person), tuple(class_prompt), pairs, pairs >= NEEDED, tuple(assumptions), folder)


def self_check(
    personalizer: Personalizer,
    photo: str | Path | Image.Image,
    folder: Path,
    assumptions: Sequence[str] = (),
    **settings: Any,
) -> Check:
    """Draw four pictures of the person in `photo` and four of the class prompt, with equal seeds; keep them.

    folder: gets a folder `self-check` with the pictures and a report. settings: of `Personalizer.generate`.
    Raises what `FaceAnalyzer.identity` raises for a photo without a face, and WriteError.
    """
    person = personalizer.identity(photo)
    drawn = {
        "person": personalizer.generate(PROMPT, person, num_images=COUNT, seed=0, **settings),
        "class": personalizer.generate(
            PROMPT, class_words(personalizer), num_images=COUNT, seed=0, **{**settings, "id_scale": 1.0}
        ),
    }
    analyzer = FaceAnalyzer(recognizer=default_recognizer())
    vector = analyzer.identity(photo).id_embedding
    found = {
        name: [match.similarity for match in similarity(made.images, vector, analyzer)]
        for name, made in drawn.items()
    }
    own = personalizer.encoder.config.recognizer == analyzer.recognizer.name
    trained = "the encoder was trained with it: not an independent judge" if own else "not trained with"
    name = f"{analyzer.recognizer.name} ({trained})"
    place = folder / FOLDER
    check = judge(found["person"], found["class"], name=name, assumptions=assumptions, folder=str(place))
    _keep(place, drawn, check)
    return check


def class_words(personalizer: Personalizer) -> Identity:
    """Nobody: an identity whose rows are the words "a person": with it the prompt is the class prompt."""
    ids = piece_ids(personalizer.pipe.tokenizer, CLASS_WORDS)
    table = personalizer.text.token_embedding
    rows = table(torch.tensor(ids, device=table.weight.device)).detach().float().cpu()
    return Identity("person", rows)


def check_ready(
    photo: str | Path | Image.Image, device: str, dtype: str | None, offload: str | None, **settings: Any
) -> None:
    """Find mistakes in what a self-check is asked to do before anything is fetched for it.

    Raises ConfigError: no such device, precision or way to offload, or a setting out of range. MissingExtra:
    offloading needs accelerate. MissingFileError, ImageError, FaceError: a photo that is not there, is none,
    or shows no face.
    """
    memory = Memory(offload, device=choose_device(device))
    choose_dtype(dtype, memory.device)
    Settings.from_mapping(settings)
    FaceAnalyzer(recognizer=default_recognizer()).identity(photo)


def example_photo() -> Image.Image:
    """The astronaut of scikit-image, in the public domain.

    Raises MissingExtra: scikit-image is not installed.
    """
    data = require("skimage.data", extra="demo")
    return Image.fromarray(data.astronaut())


def photo_or_none(photo: Path | None) -> Path | Image.Image | None:
    """`photo`, else the example photo; None if there is none either."""
    if photo is not None:
        return photo
    try:
        return example_photo()
    except MissingExtra:
        return None


def _keep(folder: Path, drawn: dict[str, Generation], check: Check) -> None:
    for name, made in drawn.items():
        for k, image in enumerate(made.images):
            files.write_atomic(folder / f"{name}-{k + 1}.png", partial(image.save, format="PNG"))
    text = json.dumps(asdict(check) | {"verdict": check.verdict}, indent=2) + "\n"
    files.write_atomic(folder / REPORT, lambda path: path.write_text(text, encoding="utf-8"))
