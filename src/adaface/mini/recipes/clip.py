"""Recipe of the mini CLIP: which caption belongs to which picture. Shapes: B of both, E width."""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from PIL.Image import Image
from torch import Generator, Tensor, nn
from transformers import CLIPModel, CLIPTokenizer

from adaface.mini.recipes.latents import LatentSet
from adaface.mini.recipes.sampling import decode
from adaface.mini.world.captions import caption
from adaface.mini.world.facts import Facts


@dataclass(frozen=True, kw_only=True)
class ClipConfig:
    """One step of the contrastive training."""

    batch: int = 64
    pictures: int = 20_000  # decoded once, then drawn from
    latent_noise: float = 0.15  # so that the soft edges of generated pictures are nothing new
    fold: int = 0  # which half of the people: 0 those of even numbers, 1 those of odd ones


@dataclass
class ClipRecipe:
    """Symmetric contrastive loss on decoded latents; equal facts are no negatives of each other."""

    clip: CLIPModel
    tokenizer: CLIPTokenizer
    vae: AutoencoderKL
    data: LatentSet
    config: ClipConfig
    modules: dict[str, nn.Module] = field(init=False)

    def __post_init__(self) -> None:
        self.modules = {"clip": self.clip}
        self.device = next(self.clip.parameters()).device
        self.rows, self.pictures = self.decoded(torch.Generator().manual_seed(0))

    def decoded(self, generator: Generator, chunk: int = 64) -> tuple[Tensor, Tensor]:
        """Some rows of this half of the people (N,), and their noisy latents decoded: (N, 3, 64, 64) uint8.

        Pictures of nobody named belong to a half by their place.
        """
        number = torch.where(self.data.person < 0, torch.arange(len(self.data)), self.data.person)
        half = (number % 2 == self.config.fold).nonzero()[:, 0]
        rows = half[torch.randperm(len(half), generator=generator)[: self.config.pictures]]
        parts = []
        for some in rows.split(chunk):
            latents = self.data.latents[some].float()
            spread = self.config.latent_noise * torch.rand(len(some), 1, 1, 1, generator=generator)
            noisy = latents + spread * torch.randn(latents.shape, generator=generator)
            parts.append((decode(self.vae, noisy.to(self.device)) * 255).round().byte().cpu())
        return rows, torch.cat(parts)

    def step(self, generator: Generator) -> dict[str, Tensor]:
        """One batch of decoded pictures against their captions."""
        drawn = torch.randint(len(self.rows), (self.config.batch,), generator=generator)
        rows, mirrored = self.rows[drawn], torch.rand(len(drawn), generator=generator) < 0.5
        pictures = self.pictures[drawn].to(self.device).float() / 255
        pictures = torch.where(mirrored[:, None, None, None].to(self.device), pictures.flip(-1), pictures)
        facts = self.data.facts.take(rows)
        texts = [caption(facts, i, None, generator) for i in range(len(rows))]
        images, words = self.embed_pictures(pictures), self.embed_texts(texts)
        scores = images @ words.T * self.clip.logit_scale.exp().clamp_max(100)
        same = same_facts(facts).to(self.device)
        target = same.float() / same.sum(1, keepdim=True)
        by_picture = (target * scores.log_softmax(1)).sum(1).mean()
        by_caption = (target * scores.T.log_softmax(1)).sum(1).mean()
        return {"contrast": (-by_picture - by_caption) / 2}

    def embed_pictures(self, pictures: Tensor) -> Tensor:
        """Pictures (B, 3, 64, 64) in 0..1 -> unit vectors (B, E)."""
        pooled = self.clip.vision_model(pixel_values=pictures * 2 - 1).pooler_output
        return F.normalize(self.clip.visual_projection(pooled), dim=-1)

    def embed_texts(self, texts: list[str]) -> Tensor:
        """Captions -> unit vectors (B, E)."""
        tokens = self.tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt")
        ids, mask = tokens.input_ids.to(self.device), tokens.attention_mask.to(self.device)
        pooled = self.clip.text_model(input_ids=ids, attention_mask=mask).pooler_output
        return F.normalize(self.clip.text_projection(pooled), dim=-1)

    def sample(self) -> Image | None:
        """Nothing to see."""
        return None


def same_facts(facts: Facts) -> Tensor:
    """Who shows the same things: (B, B) bool. Class words do not count: half of the captions lack them."""
    keys = torch.stack([facts.background, facts.accessory, facts.style, facts.framing], -1)
    return (keys[:, None] == keys[None]).all(-1)
