"""Faces in a picture -> vectors, and how like two vectors are. Letters: F faces, R photos, D_id."""

import re
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from adaface.evaluation.scores.looking import Look
from adaface.face.align import align
from adaface.face.types import FaceRecognizer, Floats


class FaceComparer(Protocol):
    """What scores need of a face recogniser: how faces are aligned and compared is its own."""

    @property
    def name(self) -> str:
        """What columns and reports call it."""
        ...

    @property
    def likeness(self) -> str:
        """What `compare` tells, in words, such as "the cosine of their vectors"."""
        ...

    @property
    def provenance(self) -> Mapping[str, str]:
        """Its networks: name -> digest, version and licence, as far as they are known."""
        ...

    def embed(self, seen: Sequence[Look]) -> list[Floats]:
        """For each picture the vectors (F, D_id) of its faces, row by row."""
        ...

    def compare(self, faces: Floats, photos: Floats) -> Floats:
        """How like each face (F, D_id) is to each photo (R, D_id): (F, R), at most 1, higher for likeness."""
        ...


class OwnRecogniser:
    """The recogniser of a `FaceAnalyzer`: its faces bring their vectors along."""

    likeness = "the cosine of their vectors"

    def __init__(self, recognizer: FaceRecognizer) -> None:
        """recognizer: the analyser's."""
        self.name, self._dim = recognizer.name, recognizer.dim
        self.provenance: dict[str, str] = {}  # the analyser's

    def embed(self, seen: Sequence[Look]) -> list[Floats]:
        """Unit vectors (F, D_id) of each picture's faces."""
        return [self._rows([face.id_embedding for face in one.faces]) for one in seen]

    def _rows(self, vectors: Sequence[Floats]) -> Floats:
        return np.array(vectors, np.float32).reshape(-1, self._dim)

    def compare(self, faces: Floats, photos: Floats) -> Floats:
        """Cosines (F, R) in [-1, 1]."""
        return faces @ photos.T


class CropRecogniser(OwnRecogniser):
    """Any other recogniser of aligned crops, as an ONNX file's; the detector's landmarks align for it."""

    def __init__(self, recognizer: FaceRecognizer, origin: str = "") -> None:
        """recognizer: makes unit vectors of aligned crops (F, 112, 112, 3). origin: digest and licence."""
        super().__init__(recognizer)
        self._recognizer = recognizer
        self.name = re.sub(r"\W+", "_", recognizer.name)  # of columns
        self.provenance = {f"second recogniser {self.name}": origin}

    def embed(self, seen: Sequence[Look]) -> list[Floats]:
        """Unit vectors (F, D_id) of each picture's faces."""
        return [self._rows(self._of(one)) for one in seen]

    def _of(self, one: Look) -> Sequence[Floats]:
        if not one.faces:
            return []
        return list(self._recognizer(np.stack([align(one.pixels, face.landmarks) for face in one.faces])))
