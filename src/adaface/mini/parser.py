"""The mini stack's segmenter as a parser: head crop -> mask of the person. Letter: S pixels."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from adaface.face.traits.parse import Parsed, resized
from adaface.face.types import Pixels
from adaface.files import sha256
from adaface.mini.measuring import load_segmenter
from adaface.mini.world.geometry import SIZE

FILE = "segmenter.safetensors"
SHIPPED = Path(__file__).parent / "weights" / "world" / FILE


class SegmenterParser:
    """Fulfils `FaceParser`. It looks at 64 x 64 pixels, so the mask of a larger crop has a soft outline.

    path: the segmenter's weights. Raises MissingFileError: no such file.
    """

    def __init__(self, path: str | Path = SHIPPED) -> None:
        self._segmenter = load_segmenter(path)
        self.name = f"mini-{sha256(path)[:8]}"

    @torch.no_grad()
    def __call__(self, picture: Pixels) -> Parsed:
        """A head crop (S, S, 3) uint8 RGB in FFHQ's frame -> its mask (S, S), 0 or 255."""
        import cv2

        small = cv2.resize(picture, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
        batch = torch.from_numpy(small).permute(2, 0, 1)[None].float() / 255
        person = self._segmenter.person(batch)[0, 0].numpy()  # (64, 64) in 0..1
        return Parsed(resized(np.rint(person * 255).astype(np.uint8), len(picture)))


@dataclass(frozen=True)
class ShippedParser:
    """Makes a `SegmenterParser` in each worker; travels to other processes. path: the segmenter's weights."""

    path: Path = SHIPPED

    def __call__(self) -> SegmenterParser:
        """Open the network. Raises MissingFileError: no such file."""
        return SegmenterParser(self.path)
