"""Head crop -> mask of the person: doors for other parsers, and BiSeNet as an ONNX file. Letter: S pixels."""

from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from adaface.errors import FormatError
from adaface.face.onnx import open_session
from adaface.face.types import Pixels
from adaface.files import sha256

Mask = NDArray[np.uint8]  # (S, S), 0 or 255
BISENET_SIDE, BISENET_CLASSES = 512, 19
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, which BiSeNet was trained with


class Parsed(NamedTuple):
    """mask: (S, S) uint8, 255 where the person is. labels: kinds of parts that were seen; None: not told."""

    mask: Mask
    labels: int | None = None


class FaceParser(Protocol):
    """Which pixels of a head crop are the person: hair, neck, clothes and hats too."""

    @property
    def name(self) -> str:
        """What data sets record."""
        ...

    def __call__(self, picture: Pixels) -> Parsed:
        """An upright head crop (S, S, 3) uint8 RGB -> its mask (S, S)."""
        ...


class BiSeNetParser:
    """A face-parsing network with 19 classes as an ONNX file: (1, 3, 512, 512) -> (1, 19, 512, 512), class
    0 is the background. Fulfils `FaceParser`.

    threads: of ONNX Runtime.
    Raises MissingFileError: no such file. FormatError: another kind of network.
    """

    def __init__(self, path: str | Path, *, threads: int = 1) -> None:
        self.path = Path(path)
        self._session = open_session(path, threads=threads)
        self._input = self._session.get_inputs()[0].name
        self._name = f"{self.path.stem}-{sha256(path)[:8]}"
        self._logits(np.zeros((1, 3, BISENET_SIDE, BISENET_SIDE), np.float32))

    @property
    def name(self) -> str:
        """File name and digest, so that two networks are never mixed up."""
        return self._name

    def __call__(self, picture: Pixels) -> Parsed:
        """A head crop (S, S, 3) uint8 RGB -> its mask (S, S) and the number of classes in it."""
        import cv2

        side = (BISENET_SIDE, BISENET_SIDE)
        large = cv2.resize(picture, side, interpolation=cv2.INTER_LINEAR).astype(np.float32) / 255
        scaled = ((large - np.array(MEAN, np.float32)) / np.array(STD, np.float32)).transpose(2, 0, 1)[None]
        classes = self._logits(np.ascontiguousarray(scaled, np.float32))[0].argmax(0)  # (512, 512)
        person = np.where(classes > 0, 255, 0).astype(np.uint8)
        return Parsed(resized(person, picture.shape[0]), len(np.unique(classes)))

    def _logits(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        try:
            first: NDArray[np.float32] = self._session.run(None, {self._input: batch})[0]
        except Exception as error:
            raise FormatError(
                f"{self.path}: does not take a picture of 1x3x512x512 ({str(error).splitlines()[0][:160]}). "
                "Give a face-parsing network (BiSeNet) as ONNX"
            ) from error
        if first.ndim != 4 or first.shape[1] != BISENET_CLASSES:
            raise FormatError(
                f"{self.path}: gives {first.shape} for one picture, not (1, {BISENET_CLASSES}, 512, 512). "
                "Give a face-parsing network (BiSeNet) with 19 classes"
            )
        return first


def resized(mask: Mask, size: int) -> Mask:
    """A mask (any, any), soft values allowed, at (size, size): 255 from the half on, else 0."""
    import cv2

    if mask.shape != (size, size):
        way = cv2.INTER_AREA if size < mask.shape[0] else cv2.INTER_LINEAR
        mask = cv2.resize(mask, (size, size), interpolation=way)
    return np.where(mask >= 128, 255, 0).astype(np.uint8)
