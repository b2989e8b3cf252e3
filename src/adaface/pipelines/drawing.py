"""Prompt embeddings -> pictures, over a stock diffusers pipeline. Shapes: N pictures, T text positions, D
width.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from adaface.errors import ConfigError
from adaface.pipelines.base import StableDiffusionPipeline, own_pipeline
from adaface.pipelines.guidance import guidance_at, is_plain, linear_guidance
from adaface.pipelines.settings import Settings

OnStep = Callable[[int, int], None]
OnPictures = Callable[[int, Sequence[Image.Image]], None]


@dataclass(frozen=True, eq=False)
class Drawing:
    """What to draw: for each of N pictures its prompt embedding (1, T, D) and its seed; one negative."""

    prompt_embeds: Sequence[Tensor]
    negative_embeds: Tensor
    seeds: Sequence[int]
    settings: Settings


def draw(
    pipe: StableDiffusionPipeline,
    plan: Drawing,
    on_step: OnStep | None = None,
    on_pictures: OnPictures | None = None,
) -> tuple[tuple[Image.Image, ...], list[int]]:
    """The pictures, and the indices of those that a safety checker blacked out.

    Each picture has its own generator on the CPU, so that neither the batch size nor the device decides its
    noise. on_step: told steps done and steps in all. on_pictures: told, as soon as a batch is decoded, the
    index of its first picture and its pictures. Raises ConfigError: more steps than the scheduler has, or no
    memory.
    """
    settings, own = plan.settings, own_pipeline(pipe)
    most = own.scheduler.config.num_train_timesteps
    if settings.steps > most:
        raise ConfigError(
            f"steps={settings.steps}: the base model was trained with {most}; give at most that"
        )
    images: list[Image.Image] = []
    hidden: list[int] = []
    starts = range(0, len(plan.seeds), settings.batch_size)
    for count, start in enumerate(starts):
        batch = slice(start, start + settings.batch_size)
        done = count * settings.steps
        tell = (
            None
            if on_step is None
            else lambda step, done=done: on_step(done + step, len(starts) * settings.steps)
        )
        result = _draw_batch(own, plan, batch, tell)
        hidden += [start + k for k, flag in enumerate(result.nsfw_content_detected or ()) if flag]
        images += result.images
        if on_pictures is not None:
            on_pictures(start, result.images)
    return tuple(images), hidden


def _draw_batch(
    own: StableDiffusionPipeline, plan: Drawing, batch: slice, tell: Callable[[int], None] | None
) -> Any:
    settings = plan.settings
    rows = torch.cat(list(plan.prompt_embeds[batch]))  # (n, T, D)
    height, width = _own_size(own)
    try:
        return own(
            prompt_embeds=rows,
            num_inference_steps=settings.steps,
            eta=0.0,
            generator=[torch.Generator("cpu").manual_seed(seed) for seed in plan.seeds[batch]],
            height=settings.height or height,
            width=settings.width or width,
            **_guidance(settings, plan.negative_embeds.expand_as(rows), tell),
        )
    except torch.OutOfMemoryError as error:
        raise ConfigError(
            f"not enough memory for {len(rows)} pictures at once. Give a smaller batch size, or a smaller "
            "height "
            "and width"
        ) from error


def _own_size(own: StableDiffusionPipeline) -> tuple[int, int]:
    """Height and width that the base model was trained for; the pipeline itself drops a height without a
    width.
    """
    size = own.unet.config.sample_size
    height, width = (size, size) if isinstance(size, int) else size
    return height * own.vae_scale_factor, width * own.vae_scale_factor


def _guidance(settings: Settings, negative: Tensor, tell: Callable[[int], None] | None) -> dict[str, Any]:
    """The pipeline's arguments for guided steps, or, if all scales are 1, for steps that cost half."""
    if is_plain(settings.guidance_scale):
        return {"guidance_scale": 1.0, "callback_on_step_end": _telling(tell)}
    return {
        "guidance_scale": guidance_at(0, settings.steps, settings.guidance_scale),
        "negative_prompt_embeds": negative,
        "callback_on_step_end": linear_guidance(settings.guidance_scale, tell),
    }


def _telling(tell: Callable[[int], None] | None) -> Any:
    def callback(pipe: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        if tell is not None:
            tell(step + 1)
        return tensors

    return callback
