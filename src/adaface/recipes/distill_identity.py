"""Stage 1: the encoder learns from an ID teacher what a prompt with a person in it is to draw. B, K, D.

Teacher and student see the same noisy latents; the teacher reads the ID embedding, the student a prompt in
which the encoder's rows stand. Source: AdaFace, stage 1; docs/method.md.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Generator, Tensor, nn

from adaface.data.dataset import FaceDataset
from adaface.errors import ConfigError
from adaface.losses.reconstruction import masked_mse
from adaface.recipes.base.chance import derived, normal, uniform
from adaface.recipes.base.config import PhotoConfig
from adaface.recipes.base.denoising import TEMPLATES, WORD, check_templates
from adaface.recipes.base.drawn import DrawnLikeness
from adaface.recipes.base.models import Models
from adaface.recipes.base.photos import Batch
from adaface.recipes.base.recipe import PhotoRecipe, Step, open_photo_recipe
from adaface.recipes.config import absolute_place
from adaface.recipes.identity.noise import noisy_faces, noisy_rows
from adaface.recipes.identity.people import open_people
from adaface.recipes.identity.rollout import Level, Loss, gathered, late_start, levels, raised
from adaface.recipes.identity.teachers import TEACHER, Said, open_teacher
from adaface.text.clip import text_layers
from adaface.training.plan import Coin, StepPlan, seeds

RANDOM, NEAR, REAL = "random", "near", "real"  # kinds of people: nobody's, near to one photo's, the photos'
ANYBODY = "person"  # class word of who does not exist
_SHARES = (
    "random_share", "near_share", "teacher_share", "raised", "student_noise_share", "subject_noise_share"
)  # fmt: skip
# what a sample's own numbers are for
_ID, _NEAR, _STUDENT, _ROWS, _LEVEL, _ROLLOUT, _BLANK = range(1, 8)


@dataclass(frozen=True, kw_only=True)
class Config(PhotoConfig):
    """Stage 1: distillation of an ID teacher into the encoder, through the frozen diffusion model.

    teachers: weights by place (see `open_teacher`); none is the stack's own. random_share: steps with people
    who do not exist, on pure noise; random_ids: "fitted" to the data's and the stack's, or of the whole
    "sphere". near_share: of the other steps, those in which all samples are one photo, each with ID noise
    (`id_noise`) of its own; `id_noise_share` plays no part in stage 1. teacher_share: of the rest, those
    whose target is the teacher's; the others' is the truth, and there the background counts
    (`background_weight`). masks: False counts all places of a photo alike. rollout_steps, rollout_shares:
    denoising steps of the teacher, and how often; at most `max_rollout`. raised: share of raised noise
    levels, at the start and at the end. student_noise, student_noise_share: more ID noise, that the student
    alone has. subject_noise, subject_noise_share: on subject rows. layer_dirichlet: the weights of the text
    encoder's last layers are drawn anew in each step with these numbers, deepest last; none is the stack's
    own. templates: as of `reconstruct`.
    """

    recipe: str = "distill_identity"
    teachers: Mapping[str, float] = field(default_factory=dict)
    random_share: float = 0.4
    random_ids: Literal["fitted", "sphere"] = "fitted"
    near_share: float = 0.6
    teacher_share: float = 0.5
    masks: bool = True
    rollout_steps: tuple[int, ...] = (1, 3, 5, 7)
    rollout_shares: tuple[float, ...] = (0.4, 0.3, 0.2, 0.1)
    max_rollout: int = 7
    raised: tuple[float, float] = (0.6, 0.8)
    student_noise: tuple[float, float] = (0.01, 0.02)
    student_noise_share: float = 0.5
    subject_noise: tuple[float, float] = (0.02, 0.04)
    subject_noise_share: float = 0.6
    layer_dirichlet: tuple[float, ...] = ()
    templates: tuple[str, ...] = TEMPLATES

    def __post_init__(self) -> None:
        """Check each value."""
        super().__post_init__()
        check_templates(self.templates)
        bad = [f"{name}={getattr(self, name)}" for name in _SHARES if not _is_share(getattr(self, name))]
        if bad:
            raise ConfigError(f"{', '.join(bad)}: give numbers from 0 to 1")
        for name in ("student_noise", "subject_noise"):
            low, high = getattr(self, name)
            if not 0 <= low <= high < math.inf:
                raise ConfigError(f"{name}={[low, high]}: give the least and the most, from 0")
        _check_rollouts(self)
        if not all(0 < weight < math.inf for weight in (*self.layer_dirichlet, *self.teachers.values())):
            raise ConfigError(
                f"layer_dirichlet={list(self.layer_dirichlet)}, teachers={dict(self.teachers)}: give numbers "
                "above 0"
            )

    @property
    def rollouts(self) -> dict[int, float]:
        """Shares by the number of steps, of those that `max_rollout` leaves; their sum is 1."""
        pairs = zip(self.rollout_steps, self.rollout_shares, strict=True)
        left = {steps: share for steps, share in pairs if steps <= self.max_rollout and share > 0}
        return {steps: share / sum(left.values()) for steps, share in left.items()}

    def places(self) -> dict[str, Any]:
        """As of `TrainConfig`."""
        named = self.teachers.items()
        return {"teachers": {n if n == TEACHER else absolute_place(n): weight for n, weight in named}}


class IdentityStep(Step):
    """What the UNet says under a prompt with the person in it is to be what the ID teacher says."""

    def __init__(self, config: Config, models: Models, dataset: FaceDataset) -> None:
        """Raises ConfigError: a template is too long for the text encoder, or more layer weights are to be
        drawn than it has layers. Further what opening the teacher and the strangers raises, and
        `DrawnLikeness`.
        """
        self.config, self.models = config, models
        _check_layers(config.layer_dirichlet, models)
        longest, rows = max([ANYBODY, *dataset.class_words], key=len), models.encoder.config.num_id_vectors
        for template in config.templates:
            models.denoiser.prompts.check(template.replace(WORD, longest), rows)
        self.teacher = open_teacher(config.teachers, models, config.frozen)
        self.people = open_people(config.random_ids, dataset, models.stack)
        self.likeness = DrawnLikeness(config, models, dataset)

    @property
    def frozen(self) -> Mapping[str, nn.Module]:
        """The teacher's own models, and the recogniser, if one is asked."""
        return {**self.teacher.frozen, **self.likeness.frozen}

    def coins(self, step: int, generator: Generator, share: float) -> dict[str, Coin]:
        """Which people, whose word is the target, how many denoising steps, which words.

        Plans of validation (no step of the run: below 1) ask the teacher about photos, once: the error to the
        true noise is so much larger that nothing else would be seen beside it.
        """
        config, validating = self.config, step < 1
        kind, target, rollout = torch.rand(3, generator=generator).tolist()
        template = int(torch.randint(len(config.templates), (1,), generator=generator))
        (own,) = seeds(generator, 1)
        near = config.random_share + (1 - config.random_share) * config.near_share
        who = RANDOM if kind < config.random_share else NEAR if kind < near else REAL
        who = REAL if validating else who
        taught = who != REAL or target < config.teacher_share or validating
        first, last = config.raised
        layers = (
            np.random.default_rng(own).dirichlet(config.layer_dirichlet) if config.layer_dirichlet else ()
        )
        return {
            "kind": who,
            "teacher": taught,
            "rollout": _chosen(config.rollouts, rollout) if taught and not validating else 1,
            "raised": first + (last - first) * share,
            "template": template,
            "layers": [float(weight) for weight in layers],
            **self.likeness.coins(step, generator),
        }

    def rows(self, rows: tuple[int, ...], coins: Mapping[str, Coin]) -> tuple[int, ...]:
        """Of people near to one, the first photo for all samples."""
        return rows[:1] * len(rows) if coins["kind"] == NEAR else rows

    def kind(self, plan: StepPlan) -> str:
        """By the number of denoising steps, and whether something is drawn."""
        return f"denoising steps: {plan.coins['rollout']}{self.likeness.kind(plan.coins)}"

    def __call__(self, plan: StepPlan, batch: Batch) -> dict[str, Tensor]:
        """The teacher's denoising steps, and the student's error at each of them."""
        coins = plan.coins
        steps = int(coins["rollout"])  # type: ignore[arg-type]  # our own
        theirs, ours = self.faces(coins, batch)  # (B, D_id) each
        subjects = self.models.subjects(ours)  # (B, K, D)
        context = self.context(coins, batch, subjects)  # (B, T, D)
        start = self.start(coins, batch, steps)
        say = self.teacher.about(theirs) if coins["teacher"] else self.truth(batch)
        total = gathered(context, self.losses(coins, batch, start, steps, say))
        likeness = self.likeness(coins, context, theirs, batch)
        return {"distill": total / steps**0.5, **likeness}

    def faces(self, coins: Mapping[str, Coin], batch: Batch) -> tuple[Tensor, Tensor]:
        """ID embeddings (B, D_id) for the teacher, and for the student, some of whose are a little off."""
        config, faces = self.config, batch.faces
        if coins["kind"] == RANDOM:
            faces = self.people(normal(derived(batch.seeds, _ID), faces.shape[-1])).to(faces)
        if coins["kind"] == NEAR:
            faces = noisy_faces(faces, config.id_noise, 1.0, derived(batch.seeds, _NEAR))
            return faces, faces
        seen = derived(batch.seeds, _STUDENT)
        return faces, noisy_faces(faces, config.student_noise, config.student_noise_share, seen)

    def context(self, coins: Mapping[str, Coin], batch: Batch, subjects: Tensor) -> Tensor:
        """Text features (B, T, D) of the step's template with the subjects' rows (B, K, D) in it."""
        config = self.config
        rows = derived(batch.seeds, _ROWS)
        subjects = noisy_rows(subjects, config.subject_noise, config.subject_noise_share, rows)
        template = config.templates[int(coins["template"])]  # type: ignore[arg-type]  # our own
        words = [ANYBODY] * len(batch) if coins["kind"] == RANDOM else batch.words
        prompts = [template.replace(WORD, word) for word in words]
        return self.models.denoiser.prompts(prompts, subjects, coins["layers"] or None)  # type: ignore[arg-type]

    def start(self, coins: Mapping[str, Coin], batch: Batch, steps: int) -> Level:
        """Where the denoising begins: the samples' noise, and noise levels that many steps need."""
        count = self.models.denoiser.steps
        drawn = uniform(derived(batch.seeds, _LEVEL), 2)
        timesteps = raised(batch.timesteps, float(coins["raised"]), count, drawn)  # type: ignore[arg-type]
        return Level(late_start(timesteps, steps, count), batch.noise)

    def losses(
        self, coins: Mapping[str, Coin], batch: Batch, start: Level, steps: int, say: Said
    ) -> Iterator[Loss]:
        """The student's error at each denoising step, as functions of the text features.

        The student is asked about the very latents that the teacher was shown (the authors' code had a slip
        there), and about all of the batch at every step.
        """
        denoiser = self.models.denoiser
        clean, weight = self.shown(coins, batch)
        for level in levels(start, derived(batch.seeds, _ROLLOUT), steps):
            noisy = denoiser.noisy(clean, level.noise, level.timesteps)
            target = say(noisy, level.timesteps)
            clean = denoiser.clean(noisy, target, level.timesteps)
            yield partial(self.error, noisy, level.timesteps, target, weight)

    def error(
        self, noisy: Tensor, timesteps: Tensor, target: Tensor, weight: Tensor, context: Tensor
    ) -> Tensor:
        """The student's error under a context (B, T, D), a scalar."""
        guess = self.models.denoiser.predict(noisy, timesteps, context)
        return masked_mse(guess, target, weight).mean()

    def shown(self, coins: Mapping[str, Coin], batch: Batch) -> tuple[Tensor, Tensor]:
        """Clean latents (B, C, h, w) to begin with, and the weights (B, 1, h, w) of their places.

        People who do not exist have no photo: pure noise, all of which counts. A teacher knows nothing of a
        photo's background, so that it does not count.
        """
        if coins["kind"] == RANDOM:
            noise = normal(derived(batch.seeds, _BLANK), *batch.noise.shape[1:]).to(batch.noise)
            return noise, torch.ones_like(batch.weight)
        weight = batch.foreground if coins["teacher"] else batch.weight
        return batch.latents, weight if self.config.masks else batch.valid

    def truth(self, batch: Batch) -> Said:
        """What a UNet was trained to say of the photos with their noise on them."""
        denoiser = self.models.denoiser
        return lambda noisy, timesteps: denoiser.target(batch.latents, batch.noise, timesteps)


def open_recipe(config: Config, device: torch.device, start: Path | None = None) -> PhotoRecipe:
    """The recipe with its data and models; start: an encoder in place of what `init_from` names."""
    return open_photo_recipe(config, device, start, IdentityStep)


def _chosen(shares: Mapping[int, float], coin: float) -> int:
    """A number of steps, by a coin in 0..1."""
    for steps, share in shares.items():
        coin -= share
        if coin < 0:
            return steps
    return list(shares)[-1]


def _is_share(value: float | tuple[float, float]) -> bool:
    return all(0 <= number <= 1 for number in (value if isinstance(value, tuple) else (value,)))


def _check_layers(numbers: tuple[float, ...], models: Models) -> None:
    layers = len(text_layers(models.denoiser.prompts.text.model))
    if len(numbers) > layers:
        raise ConfigError(
            f"layer_dirichlet={list(numbers)}: this text encoder has {layers} layers. Give fewer numbers"
        )


def _check_rollouts(config: Config) -> None:
    steps, shares = config.rollout_steps, config.rollout_shares
    if (
        len(steps) != len(shares)
        or min(steps, default=0) < 1
        or not all(0 <= share < math.inf for share in shares)
    ):
        raise ConfigError(
            f"rollout_steps={list(steps)}, rollout_shares={list(shares)}: give numbers of steps from 1, and "
            "a share from 0 for each"
        )
    if not any(number <= config.max_rollout and share for number, share in zip(steps, shares, strict=True)):
        raise ConfigError(
            f"max_rollout={config.max_rollout}: leaves none of rollout_steps={list(steps)}. Raise it"
        )
