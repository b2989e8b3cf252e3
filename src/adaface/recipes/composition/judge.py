"""Is the class's picture a good teacher? CLIP says how well pictures fit words. B, N candidates, S, E.

Source: AdaFace, teacher filtering; docs/method.md. Each CLIP has a scale of its own, so the thresholds are
relative: a teacher's picture has to fit the composed words better than the plain ones by `level`, and better
than the student's picture does by `margin`.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import CLIPModel, PreTrainedTokenizerBase
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from adaface.errors import FormatError
from adaface.pipelines.quiet import quiet
from adaface.text.folder import load_tokenizer


class Judge:
    """A CLIP model over batches of pictures as tensors."""

    # `adaface.evaluation.text_match.ClipScorer` does so for image files. Recipes and evaluation stand on
    # one floor and do not import each other; a test holds the two together.

    def __init__(
        self,
        model: CLIPModel,
        tokenizer: PreTrainedTokenizerBase,
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        """model: frozen, on the pictures' device. mean, std: of the pixels in 0..1 it was trained with."""
        self.model, self.tokenizer = model.requires_grad_(False).eval(), tokenizer
        self.mean, self.std = (torch.tensor(values).view(3, 1, 1) for values in (mean, std))

    @classmethod
    def open(cls, folder: str | Path, device: torch.device) -> Self:
        """Read a folder of a CLIPModel of transformers with its tokenizer. Raises FormatError: it is none."""
        folder, inner = Path(folder), Path(folder) / "tokenizer"
        try:
            with quiet():
                model = CLIPModel.from_pretrained(folder, local_files_only=True, use_safetensors=True)
            path = folder / "preprocessor_config.json"
            scale = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
            mean, std = scale.get("image_mean", OPENAI_CLIP_MEAN), scale.get("image_std", OPENAI_CLIP_STD)
        except (OSError, ValueError, RuntimeError, AttributeError) as error:
            raise FormatError(
                f"{folder}: no CLIP model for the teacher's filter ({error}). Copy it again, or train "
                "without one: compose.candidates=0"
            ) from error
        return cls(model.to(device), load_tokenizer(inner if inner.is_dir() else folder), mean, std)

    @torch.no_grad()
    def pictures(self, pictures: Tensor) -> Tensor:
        """Pictures (B, 3, S, S) in -1..1 -> unit features (B, E)."""
        size = self.model.config.vision_config.image_size
        pixels = (pictures.float().clamp(-1, 1) + 1) / 2
        if pixels.shape[-1] != size:
            pixels = F.interpolate(
                pixels, (size, size), mode="bicubic", antialias=True, align_corners=False
            ).clamp(0, 1)
        pixels = (pixels - self.mean.to(pixels)) / self.std.to(pixels)
        pooled = self.model.vision_model(pixel_values=pixels).pooler_output
        return F.normalize(self.model.visual_projection(pooled), dim=-1)

    @torch.no_grad()
    def texts(self, texts: Sequence[str]) -> Tensor:
        """Texts -> unit features (B, E); words beyond the model's text length are cut off."""
        length = min(
            int(self.tokenizer.model_max_length), self.model.config.text_config.max_position_embeddings
        )
        rows = self.tokenizer(
            list(texts), padding="max_length", truncation=True, max_length=length, return_tensors="pt"
        ).to(self.model.device)
        pooled = self.model.text_model(input_ids=rows["input_ids"]).pooler_output
        return F.normalize(self.model.text_projection(pooled), dim=-1)


@dataclass(frozen=True)
class Verdict:
    """Of each sample, which candidate is taken (B,), and whether it teaches (B,) bool."""

    best: Tensor
    teaches: Tensor


def verdict(teacher: Tensor, plain: Tensor, student: Tensor, *, level: float, margin: float) -> Verdict:
    """Which candidates teach.

    teacher, student: (B, N) cosines of their pictures with the composed words; plain: the teacher's with the
    words of the single prompt. Of those candidates that teach, or of all if none does, the one with the
    largest lead of the teacher is taken.
    """
    lead = teacher - student
    good = (teacher - plain > level) & (lead > margin)
    best = torch.where(good, lead, lead - 10).argmax(1)  # cosines are apart by 2 at most
    return Verdict(best, good.gather(1, best[:, None])[:, 0])
