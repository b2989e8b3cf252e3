"""Pictures that a model draws from noise while it trains. Shapes: B, C h w, T, D.

A photo's noisy latents still show whose they are: a loss on what is predicted from them falls without the
context being read. Here only the context says who it is. Training through few-step drawings is PuLID's idea.
"""

from collections.abc import Callable, Mapping
from itertools import pairwise

import torch
from torch import Generator, Tensor

from adaface.data.dataset import FaceDataset
from adaface.face.differentiable.network import SFace
from adaface.recipes.base.chance import derived, normal
from adaface.recipes.base.config import PhotoConfig
from adaface.recipes.base.likeness import likeness, mean_face, open_recognizer
from adaface.recipes.base.models import Models
from adaface.recipes.base.photos import Batch
from adaface.recipes.base.predictions import ddim_step
from adaface.training.plan import Coin

Say = Callable[[Tensor, Tensor, Tensor], Tensor]  # noisy latents, timesteps (B,), context -> a prediction

COARSE = 0.11  # shares of all noise levels that a step without gradients goes
HIGH, LOW = (0.45, 0.95), (0.12, 0.5)  # where the two predictions are that have gradients
APART = 0.15  # that they are apart, at least
_NOISE, _FACE = 21, 22  # what a sample's own numbers are for


def two_levels(generator: Generator) -> tuple[float, float]:
    """Where gradients are to flow, as shares of all noise levels: the higher one, and the lower one."""
    one, two = torch.rand(2, generator=generator).tolist()
    high = HIGH[0] + (HIGH[1] - HIGH[0]) * one
    return high, LOW[0] + (min(high - APART, LOW[1]) - LOW[0]) * two


def draw_latents(
    say: Say,
    kind: str,
    alphas: Tensor,
    context: Tensor,
    empty: Tensor,
    noise: Tensor,
    levels: tuple[float, float],
    *,
    guidance: float = 2.0,
    layout: Tensor | None = None,
) -> Tensor:
    """Clean latents (B, C, h, w) for contexts (B, T, D): guided DDIM from noise, in a few steps.

    Gradients flow through the last two of them, one where the picture is laid out and one where it is nearly
    sharp. say: what a UNet says; kind: of these predictions, of `adaface.recipes.base.predictions.KINDS`.
    alphas: cumulative products of its schedule (steps,). empty: context (1, T, D) to be guided away from,
    without gradients. noise: (B, C, h, w). levels: of `two_levels`. layout: (B,) bool, the pictures that get
    gradients through the first of the two as well; default: all.
    """
    empty = empty.detach().to(context).expand(len(context), -1, -1)
    both, last = torch.cat([empty, context.detach()]), len(alphas) - 1
    high, low = (min(last - 1, round(level * len(alphas))) for level in levels)

    def asked(latents: Tensor, timestep: int, context: Tensor) -> Tensor:
        return say(latents, torch.full((len(latents),), timestep, device=latents.device), context).float()

    def guided(away: Tensor, towards: Tensor) -> Tensor:
        return away + guidance * (towards - away)

    @torch.no_grad()
    def coarse(latents: Tensor, timestep: int) -> Tensor:  # one call for both: small batches cost as much
        return guided(*asked(torch.cat([latents] * 2), timestep, both).chunk(2))

    def learning(latents: Tensor, timestep: int) -> Tensor:
        with torch.no_grad():
            away = asked(latents, timestep, empty)
        return guided(away, asked(latents, timestep, context))

    count = max(1, round((last - high) / (COARSE * len(alphas))))
    first = [round(last - (last - high) * k / count) for k in range(count + 1)]
    latents = noise
    for now, then in pairwise(first):
        latents = ddim_step(kind, latents, coarse(latents, now), alphas[now], alphas[then])
    latents = ddim_step(kind, latents, learning(latents, high), alphas[high], alphas[low])
    if layout is not None:
        latents = torch.where(layout.to(latents.device)[:, None, None, None], latents, latents.detach())
    return ddim_step(kind, latents, learning(latents, low), alphas[low], torch.ones_like(alphas[low]))


class DrawnLikeness:
    """A term of a recipe's loss: what the base draws from noise for the step's people is to be like them.

    In a share of the steps, since it takes as long as some other steps together.
    """

    def __init__(self, config: PhotoConfig, models: Models, dataset: FaceDataset) -> None:
        """Raises ConfigError: the stack's recogniser gives no gradients, and the config asks for them."""
        self.weight, self.share, self.models = config.likeness_weight, config.likeness_share, models
        self.recognizer: SFace | None = None
        if self.weight:
            self.recognizer = open_recognizer(models.stack, models.device, "likeness_weight")
            self.mean = mean_face(dataset, models.device)
            self.empty = models.denoiser.prompts.no_words()
            self.guidance = float(models.settings.guidance_scale[0])

    @property
    def frozen(self) -> Mapping[str, SFace]:
        """The recogniser, if the config asks for the term."""
        return {} if self.recognizer is None else {"recognizer": self.recognizer}

    def coins(self, step: int, generator: Generator) -> dict[str, Coin]:
        """In steps that have the term, where gradients flow.

        A config without it draws nothing from the generator. Plans of validation (below step 1) leave it out.
        """
        if self.recognizer is None:
            return {}
        levels, coin = two_levels(generator), float(torch.rand((), generator=generator))
        return {"likeness": list(levels)} if step > 0 and coin < self.share else {}

    def kind(self, coins: Mapping[str, Coin]) -> str:
        """What it adds to the kind of a step with such coins, in words."""
        return ", likeness of a drawing" if "likeness" in coins else ""

    def __call__(
        self, coins: Mapping[str, Coin], context: Tensor, faces: Tensor, batch: Batch
    ) -> dict[str, Tensor]:
        """1 - likeness of what text features (B, T, D) draw to ID embeddings (B, D_id), a weighted mean.

        faces: of whom the prompts speak, which need not be the batch's. Empty for steps without the term.
        """
        levels, denoiser = coins.get("likeness"), self.models.denoiser
        if self.recognizer is None or not isinstance(levels, list):
            return {}
        noise = normal(derived(batch.seeds, _NOISE), *batch.noise.shape[1:]).to(batch.noise)
        high, low = (float(level) for level in levels)  # type: ignore[arg-type]  # our own
        latents = draw_latents(
            denoiser.predict,
            denoiser.prediction_type,
            denoiser.alphas,
            context,
            self.empty,
            noise,
            (high, low),
            guidance=self.guidance,
        )
        pictures = denoiser.decode(latents)
        found = likeness(self.recognizer, pictures, faces, self.mean, derived(batch.seeds, _FACE))
        return {"likeness": self.weight * (1 - found).mean()}
