"""Does a picture fit its words? Cosine of CLIP features. Shapes: N pictures, M texts, E feature width, T text
positions.
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from transformers import CLIPModel, PreTrainedTokenizerBase

from adaface.errors import ConfigError, FormatError
from adaface.evaluation.scores.pretrained import open_pretrained
from adaface.prompt.template import CLASS_NOUNS
from adaface.text.folder import load_tokenizer

MEAN = (
    0.48145466,
    0.4578275,
    0.40821073,
)  # of CLIP's own training pictures; a preprocessor_config.json overrides
STD = (0.26862954, 0.26130258, 0.27577711)
_NAME = r"<(?P<name>[^<>\s]+)>"


class ClipScorer:
    """Scores pictures against texts with a CLIP model, any size of it."""

    def __init__(
        self,
        model: CLIPModel,
        tokenizer: PreTrainedTokenizerBase,
        mean: Sequence[float] = MEAN,
        std: Sequence[float] = STD,
    ) -> None:
        """model: used as it is, on its own device. mean, std: of the pixels in [0, 1] that it was trained
        with.
        """
        self.model, self.tokenizer = model.eval(), tokenizer
        self.mean, self.std = (torch.tensor(values).view(3, 1, 1) for values in (mean, std))

    @classmethod
    def from_pretrained(cls, folder: str | Path, *, device: str | torch.device = "cpu") -> Self:
        """Read a transformers CLIPModel folder with its tokenizer in it or in `tokenizer/`; float32.

        Raises MissingFileError: no config there. FormatError: another kind of model, or weights that do not
        fit the config.
        """
        folder = Path(folder)
        model = open_pretrained(folder, CLIPModel, "a CLIPModel")
        inner = folder / "tokenizer"
        tokenizer = load_tokenizer(inner if inner.is_dir() else folder)
        scale = pixel_scale(folder / "preprocessor_config.json", MEAN, STD)
        return cls(model.to(device), tokenizer, *scale)

    @torch.no_grad()
    def __call__(self, images: Sequence[Image.Image], texts: Sequence[str]) -> NDArray[np.float32]:
        """Cosine of every picture with every text: (N, M) float32 in [-1, 1].

        Raises ConfigError: no picture, or no text.
        """
        if not images or not texts:
            raise ConfigError(
                f"{len(images)} pictures and {len(texts)} texts to compare: give at least one of each"
            )
        scores: Tensor = self.embed_images(images) @ self.embed_texts(texts).T  # (N, E) x (E, M)
        return scores.cpu().numpy()

    @torch.no_grad()
    def embed_images(self, images: Sequence[Image.Image]) -> Tensor:
        """Pictures of any size -> unit features (N, E)."""
        pixels = torch.stack([self._pixels(image) for image in images]).to(self.model.device)
        pooled = self.model.vision_model(pixel_values=pixels).pooler_output
        return F.normalize(self.model.visual_projection(pooled), dim=-1)

    @torch.no_grad()
    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Texts -> unit features (M, E); words beyond the model's text length are cut off."""
        rows = self.tokenizer(
            list(texts), padding="max_length", truncation=True, max_length=self._length, return_tensors="pt"
        ).to(self.model.device)
        # Pads behind the end token need no mask: the causal one hides them from it, as in CLIP's training.
        pooled = self.model.text_model(input_ids=rows["input_ids"]).pooler_output
        return F.normalize(self.model.text_projection(pooled), dim=-1)

    @property
    def _length(self) -> int:
        return min(
            int(self.tokenizer.model_max_length), self.model.config.text_config.max_position_embeddings
        )

    def _pixels(self, image: Image.Image) -> Tensor:
        return square_pixels(image, self.model.config.vision_config.image_size, self.mean, self.std)


def square_pixels(image: Image.Image, size: int, mean: Tensor, std: Tensor) -> Tensor:
    """Shorter side to `size` (bicubic), centre cut out, (pixels in [0, 1] - mean) / std: (3, size, size).

    mean, std: (3, 1, 1).
    """
    image = image.convert("RGB")
    scale = size / min(image.size)
    width, height = (max(size, round(side * scale)) for side in image.size)
    left, top = (width - size) // 2, (height - size) // 2
    image = image.resize((width, height), Image.Resampling.BICUBIC).crop((left, top, left + size, top + size))
    pixels = torch.from_numpy(np.asarray(image, dtype=np.float32) / 255).permute(2, 0, 1)  # -> (3, S, S)
    return (pixels - mean) / std


def first_choice(scores: NDArray[np.float32], own: Sequence[int]) -> list[bool]:
    """For each picture: does its own text score highest? scores: (N, M). own: (N,) index of each picture's
    own text.
    """
    return [bool(row.argmax() == index) for row, index in zip(scores, own, strict=True)]


def plain_words(prompt: str, words: Mapping[str, str] | None = None) -> str:
    """A prompt as somebody who knows no names would write it: each <name> becomes "a person".

    words: other class words by name, such as {"alice": "young woman"}. Beside a class noun ("a woman
    <alice>") the name only goes away.
    """
    words = words or {}
    nouns = "|".join(re.escape(noun) for noun in sorted({*CLASS_NOUNS, *words.values()}, key=len)[::-1])
    prompt = re.sub(rf"\b(?P<noun>{nouns}) +{_NAME}", r"\g<noun>", prompt, flags=re.IGNORECASE)
    prompt = re.sub(rf"{_NAME} +(?P<noun>{nouns})\b", r"\g<noun>", prompt, flags=re.IGNORECASE)

    def named(match: re.Match[str]) -> str:
        word = words.get(match["name"], "person")
        if (match["article"] or "").lower() == "the":
            return f"{match['article']} {word}"
        article = "an" if word[:1].lower() in "aeiou" else "a"
        return f"{article.capitalize() if (match['article'] or '')[:1] == 'A' else article} {word}"

    return re.sub(rf"(?:\b(?P<article>a|an|the) +)?{_NAME}", named, prompt, flags=re.IGNORECASE)


def pixel_scale(
    path: Path, mean: Sequence[float], std: Sequence[float]
) -> tuple[Sequence[float], Sequence[float]]:
    """Mean and deviation of pixels by a preprocessor_config.json at `path`; without one those that are given.

    Raises FormatError: it cannot be read.
    """
    if not path.is_file():
        return mean, std
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        means, stds = (
            [float(v) for v in config.get(k, d)] for k, d in (("image_mean", mean), ("image_std", std))
        )
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise FormatError(
            f"{path}: not a preprocessor's config ({error}). Copy it again, or remove it"
        ) from error
    return means, stds
