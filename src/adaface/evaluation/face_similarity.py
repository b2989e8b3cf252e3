"""Is it the person? Cosines of a recogniser's vectors. Shapes: N pictures, S strangers, D_id."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from adaface.errors import FormatError, MissingFileError, ShapeError
from adaface.face.analyzer import FaceAnalyzer
from adaface.face.types import Floats
from adaface.pipelines.stack import Stack

STRANGERS = "id_embeddings"  # name of the tensor (S, D_id) in a file of strangers


@dataclass(frozen=True, eq=False)
class FaceMatch:
    """The face of a picture that is most like the person.

    similarity: cosine in [-1, 1]; None if no face was found. id_embedding: (D_id,) of that face, or None.
    """

    similarity: float | None = None
    id_embedding: Floats | None = None

    @property
    def found(self) -> bool:
        """True if the picture shows a face."""
        return self.similarity is not None


def similarity(
    images: Sequence[Image.Image], id_embedding: Floats, analyzer: FaceAnalyzer
) -> list[FaceMatch]:
    """Compare each picture with the person of the unit vector `id_embedding` (D_id,).

    Pictures without a face are in the list too, as not found, so that no average can hide them. Raises
    ShapeError: a vector of another length than the recogniser's.
    """
    vector = np.asarray(id_embedding, dtype=np.float32)
    if vector.shape != (analyzer.recognizer.dim,):
        raise ShapeError(
            f"ID embedding {vector.shape}: the recogniser {analyzer.recognizer.name} makes "
            f"({analyzer.recognizer.dim},). Make the identity again with this stack"
        )
    return [_match(image, vector, analyzer) for image in images]


def percentile(match: FaceMatch, strangers: Floats) -> float | None:
    """Share of strangers (S, D_id), in per cent, whom the found face is less like than the person; None: no
    face.
    """
    if match.similarity is None or match.id_embedding is None:
        return None
    return float(100 * np.mean(strangers @ match.id_embedding < match.similarity))


def strangers_of(stack: Stack, dim: int) -> Floats | None:
    """The stack's strangers, if it has any: (S, D_id). Raises FormatError: of another recogniser's length."""
    return load_strangers(stack.path("strangers"), dim) if "strangers" in stack.roles else None


def load_strangers(path: str | Path, dim: int) -> Floats:
    """ID embeddings of people who are not the person: (S, D_id) unit vectors, D_id = `dim`.

    Raises MissingFileError: no such file. FormatError: no such tensor in it, or of another recogniser's
    length.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    path = Path(path)
    if not path.is_file():
        raise MissingFileError(
            f"{path}: no such file; it should hold ID embeddings of strangers. Copy the stack again"
        )
    try:
        rows = load_file(path)[STRANGERS].astype(np.float32)
    except (SafetensorError, KeyError, ValueError) as error:
        raise FormatError(f'{path}: no tensor "{STRANGERS}" in it ({error}). Copy it again') from error
    if rows.ndim != 2 or rows.shape[1] != dim:
        raise FormatError(
            f"{path}: {rows.shape}, the recogniser makes (S, {dim}). Use the file of the same stack"
        )
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: Floats = (rows / np.maximum(lengths, 1e-12)).astype(np.float32)
    return unit


def _match(image: Image.Image, vector: Floats, analyzer: FaceAnalyzer) -> FaceMatch:
    faces = analyzer.faces(image)
    if not faces:
        return FaceMatch()
    best = max(faces, key=lambda face: face.similarity(vector))
    return FaceMatch(best.similarity(vector), best.id_embedding)
