"""Recipe of the autoencoder: reconstruct pictures, and identity in them. Shapes: B, C, 64 pixels."""

from dataclasses import dataclass, field

import torch
from diffusers import AutoencoderKL
from PIL.Image import Image
from torch import Generator, Tensor, nn

from adaface.face.differentiable.network import SFace, embed, identity_loss
from adaface.mini.recipes.latents import Pictures, World
from adaface.mini.recipes.sampling import contact_sheet


@dataclass(frozen=True, kw_only=True)
class VaeConfig:
    """One step: some plain photos with an identity loss, composed pictures and close-ups without."""

    plain: int = 5
    composed: int = 8
    close: int = 3
    edges: float = 0.5
    divergence: float = 2e-5  # per latent value, against a unit Gaussian
    identity: float = 0.12  # 0 switches the recogniser off


@dataclass
class VaeRecipe:
    """L1 on pixels and their differences, a touch of KL, cosine distance of the recogniser's vectors."""

    vae: AutoencoderKL
    world: World
    config: VaeConfig
    recognizer: SFace | None = None
    modules: dict[str, nn.Module] = field(init=False)

    def __post_init__(self) -> None:
        self.modules = {"vae": self.vae}

    def step(self, generator: Generator) -> dict[str, Tensor]:
        """Reconstruct one batch; terms `pixels`, `edges`, `divergence`, `identity`."""
        config = self.config
        plain = self._view(config.plain, generator, plain=True, close=False)
        others = [
            self._view(config.composed, generator, plain=False, close=False),
            self._view(config.close, generator, plain=False, close=True),
        ]
        pictures = torch.cat([plain.pictures, *(view.pictures for view in others)]) * 2 - 1
        posterior = self.vae.encode(pictures).latent_dist
        noise = torch.randn(posterior.mean.shape, generator=generator).to(posterior.mean)
        back = self.vae.decode(posterior.mean + posterior.std * noise).sample.float()
        mean, logvar = posterior.mean.float(), posterior.logvar.float()
        divergence = mean.square() + logvar.exp() - 1 - logvar  # twice that from a unit Gaussian
        terms = {
            "pixels": (back - pictures).abs().mean(),
            "edges": config.edges * _edges(back - pictures),
            "divergence": config.divergence * divergence.sum((1, 2, 3)).mean() / 2,
        }
        if config.identity and self.recognizer is not None and config.plain:
            marks = plain.landmarks.to(pictures.device)
            with torch.no_grad():
                seen = embed(self.recognizer, pictures[: config.plain], marks)
            loss = identity_loss(self.recognizer, back[: config.plain], marks, seen)
            terms["identity"] = config.identity * loss
        return terms

    def _view(self, count: int, generator: Generator, *, plain: bool, close: bool) -> Pictures:
        rows = torch.randint(len(self.world.packs[close]), (count,), generator=generator)
        return self.world.view(rows, generator, plain=plain, close=close)

    def sample(self) -> Image | None:
        """Pictures above, their reconstructions below."""
        generator = torch.Generator().manual_seed(0)
        views = [self._view(8, generator, plain=plain, close=False).pictures for plain in (True, False)]
        return contact_sheet(torch.cat([p for v in views for p in (v, self.reconstruct(v))]), columns=8)

    @torch.no_grad()
    def reconstruct(self, pictures: Tensor) -> Tensor:
        """Pictures (B, 3, 64, 64) in 0..1 -> the same, through the latents' mode."""
        latents = self.vae.encode(pictures * 2 - 1).latent_dist.mode()
        back: Tensor = self.vae.decode(latents).sample
        return (back / 2 + 0.5).clamp(0, 1)


def _edges(error: Tensor) -> Tensor:
    return error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()


@torch.no_grad()
def latent_statistics(
    vae: AutoencoderKL, world: World, generator: Generator, batches: int = 40
) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each latent channel (C,) over pictures of the world."""
    seen = []
    for index in range(batches):
        rows = torch.randint(len(world.packs[0]), (32,), generator=generator)
        pictures = world.view(rows, generator, plain=index % 2 == 0).pictures
        seen.append(vae.encode(pictures * 2 - 1).latent_dist.mode())
    values = torch.cat(seen).transpose(0, 1).flatten(1)
    return values.mean(1), values.std(1)
