"""Masked reconstruction: photos of prepared people through the frozen diffusion model. Shapes: B, K, D.

The inverse encoder learns rows for the text encoder's input that make the UNet say what is true of a noisy
photo. Source: AdaFace, the plain reconstruction step; docs/method.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Generator, Tensor, nn

from adaface.data.dataset import FaceDataset
from adaface.losses.reconstruction import masked_mse
from adaface.recipes.base.config import PhotoConfig
from adaface.recipes.base.denoising import TEMPLATES, WORD, check_templates
from adaface.recipes.base.drawn import DrawnLikeness
from adaface.recipes.base.models import Models
from adaface.recipes.base.photos import Batch
from adaface.recipes.base.recipe import PhotoRecipe, Step, open_photo_recipe
from adaface.training.plan import Coin, StepPlan


@dataclass(frozen=True, kw_only=True)
class Config(PhotoConfig):
    """Masked reconstruction: photos of a data set through the frozen diffusion model.

    templates: with {subject} where the person's rows stand, and {word} for the class word.
    """

    recipe: str = "reconstruct"
    templates: tuple[str, ...] = TEMPLATES

    def __post_init__(self) -> None:
        """Check each value."""
        super().__post_init__()
        check_templates(self.templates)


class Reconstruct(Step):
    """What the UNet says of a noisy photo, under a prompt with the person in it, is to be true."""

    def __init__(self, config: Config, models: Models, dataset: FaceDataset) -> None:
        """Raises ConfigError: a template is too long for the text encoder, or as `DrawnLikeness`."""
        self.config, self.models = config, models
        self.likeness = DrawnLikeness(config, models, dataset)
        longest, rows = max(dataset.class_words, key=len), models.encoder.config.num_id_vectors
        for template in config.templates:
            models.denoiser.prompts.check(template.replace(WORD, longest), rows)

    @property
    def frozen(self) -> Mapping[str, nn.Module]:
        """The recogniser, if one is asked."""
        return self.likeness.frozen

    def coins(self, step: int, generator: Generator, share: float) -> dict[str, Coin]:
        """One template for all samples, and whether their likeness counts."""
        template = int(torch.randint(len(self.config.templates), (1,), generator=generator))
        return {"template": template, **self.likeness.coins(step, generator)}

    def kind(self, plan: StepPlan) -> str:
        """By whether something is drawn."""
        return f"step{self.likeness.kind(plan.coins)}"

    def __call__(self, plan: StepPlan, batch: Batch) -> dict[str, Tensor]:
        """Noise on the photos' latents, a prompt with the person in it, what the UNet says of both."""
        denoiser = self.models.denoiser
        template = self.config.templates[int(plan.coins["template"])]  # type: ignore[arg-type]  # our own
        subjects = self.models.subjects(batch.id_embeddings)  # (B, K, D)
        context = denoiser.prompts([template.replace(WORD, word) for word in batch.words], subjects)
        noisy = denoiser.noisy(batch.latents, batch.noise, batch.timesteps)
        guess = denoiser.predict(noisy, batch.timesteps, context)
        target = denoiser.target(batch.latents, batch.noise, batch.timesteps)
        likeness = self.likeness(plan.coins, context, batch.faces, batch)
        return {"reconstruct": masked_mse(guess, target, batch.weight).mean(), **likeness}


def open_recipe(config: Config, device: torch.device, start: Path | None = None) -> PhotoRecipe:
    """The recipe with its data and models; start: an encoder in place of what `init_from` names."""
    return open_photo_recipe(config, device, start, Reconstruct)
