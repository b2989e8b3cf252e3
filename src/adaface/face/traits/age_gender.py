"""Aligned face -> age and gender: a door for backends, and the network of InsightFace's packs."""

from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from adaface.errors import FormatError
from adaface.face.onnx import open_session
from adaface.face.types import Floats, Pixels

SIDE = 96  # of what genderage.onnx sees
ROOM = 1.5  # its side in the photo, in longer sides of the face's box
GENDERS = ("female", "male")  # the network's order


class AgeGender(NamedTuple):
    """age: in years. gender: "female" or "male"."""

    age: float
    gender: str


class AgeGenderBackend(Protocol):
    """How old a face looks, and whether it looks like a man's or a woman's: a guess, for class words only."""

    @property
    def name(self) -> str:
        """What data sets record."""
        ...

    def __call__(self, image: Pixels, box: Floats) -> AgeGender:
        """RGB photo (H, W, 3) uint8 and the face's box (4,), x0 y0 x1 y1 -> its age and gender."""
        ...


class GenderAgeOnnx:
    """`genderage.onnx` of InsightFace's packs (antelopev2, buffalo_l): (1, 3, 96, 96) RGB, 0..255 -> three
    numbers: female, male, age / 100. Fulfils `AgeGenderBackend`.

    Raises MissingFileError: no such file. FormatError: another kind of network.
    """

    def __init__(self, path: str | Path, *, threads: int = 1) -> None:
        self.path = Path(path)
        self.name = self.path.stem
        self._session = open_session(path, threads=threads)
        self._input = self._session.get_inputs()[0].name
        self._run(np.zeros((1, 3, SIDE, SIDE), np.float32))

    def __call__(self, image: Pixels, box: Floats) -> AgeGender:
        """See `AgeGenderBackend`."""
        import cv2

        scale = SIDE / (ROOM * max(float(box[2] - box[0]), float(box[3] - box[1]), 1.0))
        centre = (box[:2] + box[2:]) / 2
        matrix = np.array(
            [[scale, 0, SIDE / 2 - scale * centre[0]], [0, scale, SIDE / 2 - scale * centre[1]]]
        )
        crop = cv2.warpAffine(image, matrix, (SIDE, SIDE), flags=cv2.INTER_LINEAR)
        female, male, age = self._run(crop.transpose(2, 0, 1)[None].astype(np.float32))
        return AgeGender(max(0.0, 100 * float(age)), GENDERS[int(male > female)])

    def _run(self, batch: Floats) -> Floats:
        try:
            numbers: Floats = np.asarray(self._session.run(None, {self._input: batch})[0]).reshape(-1)
        except Exception as error:
            raise FormatError(
                f"{self.path}: does not take a picture of 1x3x96x96 ({str(error).splitlines()[0][:160]}). "
                "Give genderage.onnx of an InsightFace pack"
            ) from error
        if numbers.shape != (3,):
            raise FormatError(
                f"{self.path}: gives {numbers.size} numbers for one face, not 3. Give genderage.onnx of an "
                "InsightFace pack"
            )
        return numbers
