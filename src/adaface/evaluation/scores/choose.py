"""Which scores a run has, with the models that they need."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from adaface.evaluation.face_similarity import load_strangers
from adaface.evaluation.records import Scorer
from adaface.evaluation.scores.faces import FaceScorer
from adaface.face.analyzer import FaceAnalyzer
from adaface.pipelines.stack import Stack

if TYPE_CHECKING:
    import torch


def scorers(
    stack: Stack,
    *,
    analyzer: FaceAnalyzer,
    clip: str | Path | None = None,
    dino: str | Path | None = None,
    second: str | Path = "auto",
    device: "str | torch.device" = "cpu",
) -> Sequence[Scorer]:
    """The scorers of a run, in the order of tables."""
    strangers = None
    if "strangers" in stack.roles:
        strangers = load_strangers(stack.path("strangers"), analyzer.recognizer.dim)
    return [FaceScorer(analyzer, strangers=strangers)]
