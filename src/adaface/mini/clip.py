"""Recipe of the mini CLIP: which caption belongs to which picture. Shapes: B of both, E width."""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from PIL.Image import Image
from torch import Generator, Tensor, nn
from transformers import CLIPModel, CLIPTokenizer

from adaface.mini.captions import caption
from adaface.mini.latents import LatentSet
from adaface.mini.sampling import decode
from adaface.mini.world import Facts


@dataclass(frozen=True, kw_only=True)
class ClipConfig:
    """One step of the contrastive training."""

    batch: int = 64
    latent_noise: float = 0.15  # so that the soft edges of generated pictures are nothing new


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

    def step(self, generator: Generator) -> dict[str, Tensor]:
        """One batch of decoded pictures against their captions."""
        rows = torch.randint(len(self.data), (self.config.batch,), generator=generator)
        latents = self.data.latents[rows].float()
        spread = self.config.latent_noise * torch.rand(len(rows), 1, 1, 1, generator=generator)
        latents = latents + spread * torch.randn(latents.shape, generator=generator)
        pictures = decode(self.vae, latents.to(self.device))
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
    keys = torch.stack([facts.background, facts.accessory, facts.style, facts.close], -1)
    return (keys[:, None] == keys[None]).all(-1)
