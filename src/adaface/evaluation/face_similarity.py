"""Is it the person? Cosines of a recogniser's vectors. Shapes: N pictures, S strangers, D_id."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from adaface.errors import ShapeError
from adaface.face.analyzer import FaceAnalyzer
from adaface.face.types import Floats
from adaface.identity.strangers import load_strangers
from adaface.pipelines.stack import Stack


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


def _match(image: Image.Image, vector: Floats, analyzer: FaceAnalyzer) -> FaceMatch:
    faces = analyzer.faces(image)
    if not faces:
        return FaceMatch()
    best = max(faces, key=lambda face: face.similarity(vector))
    return FaceMatch(best.similarity(vector), best.id_embedding)
