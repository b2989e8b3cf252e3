"""Is it the same thing? Cosines of DINO's class tokens. Letters: N pictures, E width."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from transformers import ViTModel

from adaface.evaluation.records import Case, Scores, World
from adaface.evaluation.scores.columns import DINO
from adaface.evaluation.scores.features import features, mean_of_pairs, photo_features
from adaface.evaluation.scores.pretrained import open_pretrained
from adaface.evaluation.text_match import pixel_scale, square_pixels
from adaface.face.types import Floats

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, which DINO was trained with
WHAT = "a ViTModel"


class DinoScores:
    """Scores pictures against photos by a vision transformer without labels. It is a `Scorer`."""

    columns = (DINO,)

    def __init__(
        self,
        model: Any,
        mean: Sequence[float] = MEAN,
        std: Sequence[float] = STD,
        provenance: Mapping[str, str] | None = None,
    ) -> None:
        """model: a ViTModel, used as it is, on its own device. mean, std: of pixels in [0, 1]."""
        self._model, self.provenance = model.eval(), dict(provenance or {})
        self._mean, self._std = (torch.tensor(values).view(3, 1, 1) for values in (mean, std))
        self._photos: dict[str, Floats] = {}

    @classmethod
    def from_pretrained(
        cls,
        folder: Path,
        *,
        device: str | torch.device = "cpu",
        provenance: Mapping[str, str] | None = None,
    ) -> Self:
        """Read a folder of a transformers ViTModel, such as facebook/dino-vits16. Raises as
        `open_pretrained`.
        """
        model = open_pretrained(folder, ViTModel, WHAT, add_pooling_layer=False)
        scale = pixel_scale(folder / "preprocessor_config.json", MEAN, STD)
        return cls(model.to(device), *scale, provenance=provenance)

    def begin(self, world: World) -> Sequence[str]:
        """Look at the photos that score."""
        self._photos, notes = photo_features(world.subjects, self.embed)
        return notes

    def __call__(self, cases: Sequence[Case]) -> list[Scores]:
        """The score of each picture; None where it cannot be read, or there is no photo."""
        rows = features([case.image for case in cases], self.embed)
        return [
            {DINO.name: mean_of_pairs(row, case.picture.subjects, self._photos)}
            for case, row in zip(cases, rows, strict=True)
        ]

    @torch.no_grad()
    def embed(self, images: Sequence[Image.Image]) -> Floats:
        """Pictures of any size -> unit class tokens (N, E)."""
        size = self._model.config.image_size
        pixels = torch.stack([square_pixels(image, size, self._mean, self._std) for image in images])
        tokens = self._model(pixel_values=pixels.to(self._model.device)).last_hidden_state[:, 0]
        rows: Floats = F.normalize(tokens, dim=-1).cpu().numpy().astype(np.float32)
        return rows
