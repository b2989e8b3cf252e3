"""What is told about each picture: is there a face, how like the person is it, how rare is that among
strangers?
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL import Image

    from adaface.face.analyzer import FaceAnalyzer
    from adaface.face.types import Floats
    from adaface.identity.files import Identity


def score_faces(
    images: Sequence["Image.Image"],
    identity: "Identity",
    analyzer: "FaceAnalyzer",
    strangers: "Floats | None",
) -> list[dict[str, Any]]:
    """For each picture `face_found`, `similarity` and `percentile`; None where nothing can be said.

    That is so without an ID embedding, and with one of another recogniser, which lives in another space.
    """
    from adaface.evaluation.face_similarity import percentile, similarity

    origin = identity.provenance.get("recognizer", "unknown")
    comparable = "unknown" in (origin, analyzer.recognizer.name) or origin == analyzer.recognizer.name
    fits = identity.id_embedding is not None and len(identity.id_embedding) == analyzer.recognizer.dim
    if identity.id_embedding is None or not (comparable and fits):
        return [{"face_found": None, "similarity": None, "percentile": None} for _ in images]
    return [
        {
            "face_found": match.found,
            "similarity": None if match.similarity is None else round(match.similarity, 4),
            "percentile": None if strangers is None else percentile(match, strangers),
        }
        for match in similarity(images, identity.id_embedding.numpy(), analyzer)
    ]


def in_words(score: dict[str, Any]) -> str:
    """One score as a short line under a picture."""
    if score["face_found"] is None:
        return ""
    if not score["face_found"]:
        return "no face found"
    rank = "" if score["percentile"] is None else f", above {score['percentile']:.0f} % of strangers"
    return f"similarity {score['similarity']:.2f}{rank}"


def in_cells(score: dict[str, Any]) -> tuple[str, str]:
    """Similarity and percentile of one score for a table."""
    if not score["face_found"]:
        return ("no face" if score["face_found"] is False else "-"), "-"
    rank = "-" if score["percentile"] is None else f"{score['percentile']:.0f} %"
    return f"{score['similarity']:.3f}", rank
