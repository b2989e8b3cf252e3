"""Stage 2: composition. The inverse encoder learns to leave the rest of a prompt alone. B samples.

Every so many-th step is compositional; the others keep what the encoder can do: most reconstruct photos, some
are of stage 1. Source: AdaFace, stage 2; docs/method.md.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Generator, Tensor, nn

from adaface.data.dataset import FaceDataset
from adaface.recipes.base.models import Models
from adaface.recipes.base.photos import Batch
from adaface.recipes.base.recipe import PhotoRecipe, Step, open_photo_recipe
from adaface.recipes.composition.config import Config as Config
from adaface.recipes.composition.step import Compose
from adaface.recipes.distill_identity import IdentityStep
from adaface.recipes.reconstruct import Reconstruct
from adaface.training.plan import Coin, StepPlan

COMPOSE, DISTILL, RECONSTRUCT = "compose", "distill", "reconstruct"
KIND = "step"  # the coin that says which of the three a step is


class CompositionStep(Step):
    """One of three steps: composition, stage 1, or reconstruction."""

    def __init__(self, config: Config, models: Models, dataset: FaceDataset) -> None:
        """Raises what making each of the three raises."""
        self.config = config
        self.steps: dict[str, Step] = {COMPOSE: Compose(config, models, dataset)}
        if config.distill_share > 0 and config.compose_every > 1:
            self.steps[DISTILL] = IdentityStep(config, models, dataset)
        if config.distill_share < 1 and config.compose_every > 1:
            self.steps[RECONSTRUCT] = Reconstruct(config, models, dataset)

    @property
    def watched(self) -> bool:
        """Whether layers of the UNet are recorded."""
        compose = self.steps[COMPOSE]
        return isinstance(compose, Compose) and compose.capture is not None

    @property
    def frozen(self) -> Mapping[str, nn.Module]:
        """The models of all three that are not trained."""
        return {name: part for step in self.steps.values() for name, part in step.frozen.items()}

    def coins(self, step: int, generator: Generator, share: float) -> dict[str, Coin]:
        """Which step it is, and its own coins.

        Plans of validation (no step of the run: below 1) are compositional: losses of other kinds are of
        other sizes, and their mean would say which kinds were drawn. They do not see likeness (see
        `Compose.coins`), so that the presets keep no checkpoint for its validation.
        """
        distil = float(torch.rand((), generator=generator)) < self.config.distill_share
        composes = step < 1 or step % self.config.compose_every == 0
        kind = COMPOSE if composes else DISTILL if distil else RECONSTRUCT
        return {KIND: kind, **self.steps[kind].coins(step, generator, share)}

    def rows(self, rows: tuple[int, ...], coins: Mapping[str, Coin]) -> tuple[int, ...]:
        """As the step has them."""
        return self.steps[str(coins[KIND])].rows(rows, coins)

    def kind(self, plan: StepPlan) -> str:
        """What a person calls this kind of step: those of one kind take equal memory and time."""
        return f"{plan.coins[KIND]}, {self.steps[str(plan.coins[KIND])].kind(plan)}"

    def dearest(self, plan: StepPlan) -> StepPlan:
        """As the step has it: a filter that bars nobody."""
        return self.steps[str(plan.coins[KIND])].dearest(plan)

    def __call__(self, plan: StepPlan, batch: Batch) -> dict[str, Tensor]:
        """The terms of the step that it is."""
        return self.steps[str(plan.coins[KIND])](plan, batch)


def open_recipe(config: Config, device: torch.device, start: Path | None = None) -> PhotoRecipe:
    """The recipe with its data and models; start: an encoder in place of what `init_from` names."""
    return open_photo_recipe(config, device, start, CompositionStep)
