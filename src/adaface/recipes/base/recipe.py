"""A recipe of the inverse encoder, but for its step: photos in, an encoder out. Shapes: B, K rows, D wide.

`Step` is what a recipe adds; `PhotoRecipe` is all the rest that the loop and `adaface train` ask for.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from PIL import Image
from torch import Generator, Tensor, nn

from adaface.data.dataset import FaceDataset
from adaface.data.latents import LatentCache
from adaface.errors import ConfigError, PromptError
from adaface.pipelines.drawing import base_size
from adaface.pipelines.stack import Stack
from adaface.prompt.embedding import embed_prompt
from adaface.recipes.base.batches import Loader
from adaface.recipes.base.config import PhotoConfig
from adaface.recipes.base.latents import open_latents
from adaface.recipes.base.models import Models, open_models, quicken, start_of
from adaface.recipes.base.opening import open_base, open_dataset
from adaface.recipes.base.photos import Batch, Photos
from adaface.recipes.base.samples import draw_people, grid, settings_of
from adaface.recipes.config import ENCODER
from adaface.spec import DEFAULT_SUBJECT
from adaface.text.clip import TextEncoder
from adaface.training.plan import Coin, Part, StepPlan, step_generator

C = TypeVar("C", bound=PhotoConfig)
VALIDATED = 4  # samples at once: the first process validates alone, whatever the batch of all of them is


class Step(ABC):
    """What one recipe does and others do not: its coins, and from photos to the terms of a loss.

    Made once, before the first step, from the recipe's config, the models and the data set. unused: whether
    some steps leave some of the encoder's weights without a gradient; several processes then look for them.
    """

    unused = False

    @property
    def watched(self) -> bool:
        """Whether a step records what happens within the UNet, which a compiled one does not show."""
        return False

    @property
    def frozen(self) -> Mapping[str, nn.Module]:
        """Further models that are not trained, by their role, such as a teacher."""
        return {}

    def coins(self, step: int, generator: Generator, share: float) -> dict[str, Coin]:
        """What the samples of a step share, from nothing but these; see `Recipe.draw`."""
        return {}

    def rows(self, rows: tuple[int, ...], coins: Mapping[str, Coin]) -> tuple[int, ...]:
        """The photos that a step with such coins looks at, chosen among those that were drawn; as many.

        Here, and not where they are looked at: a part of a batch does not see the other parts' photos.
        """
        return rows

    def kind(self, plan: StepPlan) -> str:
        """What kind of step a plan is of, in words: steps of one kind take alike in memory and time."""
        return "step"

    def dearest(self, plan: StepPlan) -> StepPlan:
        """The plan with which a step of its kind takes the most memory, whatever its samples are."""
        return plan

    @abstractmethod
    def __call__(self, plan: StepPlan, batch: Batch) -> dict[str, Tensor]:
        """Named scalar terms, weighted, each a mean over the batch's samples; their sum is minimised."""


class PhotoRecipe:
    """Trains the inverse encoder by a step over prepared photos; all other models stay as they are."""

    def __init__(
        self,
        config: C,
        step: Callable[[C, Models, FaceDataset], Step],
        models: Models,
        dataset: FaceDataset,
        cache: LatentCache | None = None,
    ) -> None:
        """cache: latents of the data set, to be taken instead of its pictures.

        Raises ConfigError: the grid cannot be drawn as its settings say; further what making the step raises.
        """
        self.config, self.models, self.dataset = config, models, dataset
        self.modules: dict[str, nn.Module] = {ENCODER: models.encoder.train().requires_grad_(True)}
        if config.gradient_checkpointing:
            models.pipe.unet.enable_gradient_checkpointing()
        self.photos = Photos(config, dataset, models.denoiser, base_size(models.pipe)[0], cache)
        self.step = step(config, models, dataset)
        quicken(self.frozen.values(), config.unets, watched=self.step.watched)
        self._check_samples()
        self.loader = Loader(self.photos.read, config.workers)

    def draw(self, step: int, generator: Generator, share: float) -> StepPlan:
        """Photos of people, and the step's coins; what is a sample's own comes from its seed."""
        rows, own = self.photos.draw(generator)
        coins = self.step.coins(step, generator, share)
        return StepPlan(step=step, rows=self.step.rows(rows, coins), seeds=own, coins=coins)

    def kind(self, plan: StepPlan) -> str:
        """The kind of a plan's step, in words."""
        return self.step.kind(plan)

    def dearest(self, plan: StepPlan) -> StepPlan:
        """A plan of the same kind that takes the most memory."""
        return self.step.dearest(plan)

    def prepare(self, plan: StepPlan, part: Part) -> None:
        """Begin to read the samples in the background."""
        self.loader.prepare(plan, part)

    def names(self, plan: StepPlan) -> list[str]:
        """Keys of the data set."""
        return [self.dataset.key(row) for row in plan.rows]

    def loss(self, plan: StepPlan, part: Part) -> dict[str, Tensor]:
        """The terms of this part's samples."""
        return self.step(plan, self.photos.batch(self.loader.take(plan, part)))

    @torch.no_grad()
    def validate(self) -> float | None:
        """The mean loss of a draw that is the same each time; no step of the run has its plans."""
        config, seen = self.config, []
        steps = -(-config.validation // config.batch)
        for step in range(steps):
            plan = self.draw(-step, step_generator(config.seed, -step), 0.0)
            pairs = list(zip(plan.rows, plan.seeds, strict=True))
            for begin in range(0, len(pairs), VALIDATED):
                items = [self.photos.read(row, seed) for row, seed in pairs[begin : begin + VALIDATED]]
                terms = self.step(plan, self.photos.batch(items))
                seen.append(float(torch.stack(list(terms.values())).sum()) * len(items) / len(pairs))
        return sum(seen) / steps if steps else None

    @torch.no_grad()
    def sample(self) -> Image.Image | None:
        """The same people under the same prompts, drawn by the stock pipeline, beside their photos."""
        config, models = self.config.samples, self.models
        if not config.people:
            return None
        rows = self.photos.shown(config.people)
        photos = [Image.fromarray(self.dataset[row].image.permute(1, 2, 0).numpy()) for row in rows]
        faces = torch.stack([torch.from_numpy(self.dataset.id_embeddings[row].copy()) for row in rows])
        subjects = models.encoder(models.prompter(faces.to(models.device)))
        settings = settings_of(config, models.settings)
        drawn = draw_people(models.pipe, list(subjects), config.prompts, settings, config.seed)
        return grid(photos, drawn, config.prompts)

    def export(self, folder: Path) -> None:
        """Write the encoder as `folder/encoder`, which `AdaFaceEncoder.from_pretrained` opens."""
        self.models.encoder.save_pretrained(folder / ENCODER)

    def about(self) -> dict[str, Any]:
        """What a run keeps of the data it saw."""
        return {
            "data": self.dataset.hash,
            "samples": len(self.dataset),
            "people": len(self.dataset.people),
            "recognizer": self.dataset.recognizer,
            "latents": "fly" if self.photos.cache is None else "cached",
        }

    @property
    def frozen(self) -> Mapping[str, nn.Module]:
        """The models that are not trained, by their role."""
        return {**self.models.frozen, **self.step.frozen}

    @property
    def unused(self) -> bool:
        """Whether some steps leave weights without a gradient."""
        return self.step.unused

    @property
    def waited(self) -> float:
        """Seconds that this process has waited for samples so far."""
        return self.loader.waited

    def close(self) -> None:
        """Stop the readers."""
        self.loader.close()

    @torch.no_grad()
    def _check_samples(self) -> None:
        """So that the first grid does not stop a run that has begun."""
        config, models = self.config.samples, self.models
        if not config.people:
            return
        settings_of(config, models.settings)
        text, rows = TextEncoder(models.pipe.text_encoder), {DEFAULT_SUBJECT: models.encoder.pad_embeddings}
        for prompt in config.prompts:
            try:
                embed_prompt(text, models.pipe.tokenizer, prompt, rows)
            except PromptError as error:
                raise ConfigError(f"samples.prompts: {error}") from error


def open_photo_recipe(
    config: C,
    device: torch.device,
    start: Path | None,
    step: Callable[[C, Models, FaceDataset], Step],
) -> PhotoRecipe:
    """A recipe with its data and models.

    start: an encoder folder in place of what `init_from` names, for a run that goes on. Raises what opening
    the data set and the models raises.
    """
    stack = Stack.load(config.stack)
    dataset = open_dataset(config.data, stack)
    begin = start_of(config, stack, start)
    pipe = open_base(stack)
    cache = open_latents(config.latents, dataset, pipe)
    models = open_models(config, stack, pipe, begin, dataset.recognizer, device)
    return PhotoRecipe(config, step, models, dataset, cache)
