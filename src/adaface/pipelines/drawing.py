"""Prompt embeddings -> pictures, over a stock diffusers pipeline. Shapes: N pictures, T text positions, D
width.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from adaface.errors import ConfigError
from adaface.pipelines.base import StableDiffusionPipeline, own_pipeline
from adaface.pipelines.canvas.masking import encode, keeping, latent_mask, noise_of, paste
from adaface.pipelines.canvas.pictures import Canvas, settle, steps_run
from adaface.pipelines.devices import Memory
from adaface.pipelines.guidance import StepCallback, guidance_at, is_plain, linear_guidance
from adaface.pipelines.quiet import quiet
from adaface.pipelines.settings import Settings

OnStep = Callable[[int, int], None]
OnPictures = Callable[[int, Sequence[Image.Image]], None]

# Which stock pipeline: is there a start picture, is there a control image?
PIPELINES = {
    (False, False): "StableDiffusionPipeline",
    (True, False): "StableDiffusionImg2ImgPipeline",
    (False, True): "StableDiffusionControlNetPipeline",
    (True, True): "StableDiffusionControlNetImg2ImgPipeline",
}


@dataclass(frozen=True, eq=False)
class Drawing:
    """What to draw: for each of N pictures its prompt embedding (1, T, D) and its seed; one negative.

    canvas: the pictures to start from. controlnet: the model that reads `canvas.control`. memory: of `pipe`.
    """

    prompt_embeds: Sequence[Tensor]
    negative_embeds: Tensor
    seeds: Sequence[int]
    settings: Settings
    canvas: Canvas = field(default_factory=Canvas)
    controlnet: Any = None
    memory: Memory = field(default_factory=Memory)


def draw(
    pipe: StableDiffusionPipeline,
    plan: Drawing,
    on_step: OnStep | None = None,
    on_pictures: OnPictures | None = None,
) -> tuple[tuple[Image.Image, ...], list[int]]:
    """The pictures, and the indices of those that a safety checker blacked out.

    Each picture has its own generator on the CPU, so that neither the batch size nor the device decides its
    noise. on_step: told steps done and steps in all. on_pictures: told, as soon as a batch is decoded, the
    index of its first picture and its pictures. Raises ConfigError: more steps than the scheduler has, a base
    that draws from more than noise, or no memory.
    """
    settings = settle(plan.settings, plan.canvas)
    plan, own = replace(plan, settings=settings), _pipeline_for(pipe, plan)
    _check_base(own, settings)
    keep = _keeper(own, plan)
    images: list[Image.Image] = []
    hidden: list[int] = []
    starts, steps = range(0, len(plan.seeds), settings.batch_size), steps_run(settings)
    for count, start in enumerate(starts):
        batch = slice(start, start + settings.batch_size)
        tell = None if on_step is None else _teller(on_step, count * steps, len(starts) * steps)
        result = _draw_batch(own, plan, batch, tell, keep)
        black = result.nsfw_content_detected or [False] * len(result.images)
        hidden += [start + k for k, flag in enumerate(black) if flag]
        done = [_finish(image, plan.canvas, flag) for image, flag in zip(result.images, black, strict=True)]
        images += done
        if on_pictures is not None:
            on_pictures(start, done)
    return tuple(images), hidden


def base_size(pipe: StableDiffusionPipeline) -> tuple[int, int]:
    """Height and width that the base model was trained for; the pipeline itself drops a height without a
    width.
    """
    size = pipe.unet.config.sample_size
    height, width = (size, size) if isinstance(size, int) else size
    return height * pipe.vae_scale_factor, width * pipe.vae_scale_factor


def _pipeline_for(pipe: StableDiffusionPipeline, plan: Drawing) -> Any:
    name = PIPELINES[plan.canvas.init is not None, plan.canvas.control is not None]
    with quiet():
        import diffusers

        kind = getattr(diffusers, name)  # loaded when it is first asked for
    more = {} if plan.canvas.control is None else {"controlnet": plan.controlnet}
    return own_pipeline(pipe, kind, plan.memory, **more)


def _check_base(own: Any, settings: Settings) -> None:
    most = own.scheduler.config.num_train_timesteps
    if settings.steps > most:
        raise ConfigError(
            f"steps={settings.steps}: the base model was trained with {most}; give at most that"
        )
    takes, latents = own.unet.config.in_channels, own.vae.config.latent_channels
    if takes != latents:
        raise ConfigError(
            f"the base's UNet takes {takes} channels, its autoencoder makes {latents}: a base for "
            "inpainting or another special use (give the plain one of its family; masks work with it, too), "
            "or a VAE of another family"
        )


Keeper = Callable[[Sequence[int], StepCallback], StepCallback]


def _keeper(own: Any, plan: Drawing) -> Keeper | None:
    """What makes the callback of a batch keep the places outside the mask; None without a mask."""
    canvas = plan.canvas
    if canvas.init is None or canvas.mask is None:
        return None
    with _enough_memory(1):
        kept = encode(own, canvas.init)
    mask = latent_mask(canvas.mask, kept)
    return lambda seeds, after: keeping(mask, kept, noise_of(seeds, kept), after)


def _draw_batch(
    own: Any, plan: Drawing, batch: slice, tell: Callable[[int], None] | None, keep: Keeper | None
) -> Any:
    settings, seeds = plan.settings, plan.seeds[batch]
    rows = torch.cat(list(plan.prompt_embeds[batch]))  # (n, T, D)
    guided = _guidance(settings, plan.negative_embeds.expand_as(rows), tell)
    if keep is not None:
        guided["callback_on_step_end"] = keep(seeds, guided["callback_on_step_end"])
    with _enough_memory(len(rows)):
        return own(
            prompt_embeds=rows,
            num_inference_steps=settings.steps,
            eta=0.0,
            generator=[torch.Generator("cpu").manual_seed(seed) for seed in seeds],
            **_start(own, plan, len(rows)),
            **guided,
        )


def _start(own: Any, plan: Drawing, count: int) -> dict[str, Any]:
    """The pipeline's arguments for size, start picture and control image."""
    canvas, settings = plan.canvas, plan.settings
    given: dict[str, Any] = {}
    if canvas.control is not None:
        name = "image" if canvas.init is None else "control_image"
        given[name] = Image.fromarray(canvas.control)
        given["controlnet_conditioning_scale"] = settings.control_scale
    if canvas.init is not None:
        given |= {"image": [Image.fromarray(canvas.init)] * count, "strength": settings.strength}
    else:
        height, width = base_size(own)
        given |= {"height": settings.height or height, "width": settings.width or width}
    return given


def _guidance(settings: Settings, negative: Tensor, tell: Callable[[int], None] | None) -> dict[str, Any]:
    """The pipeline's arguments for guided steps, or, if all scales are 1, for steps that cost half."""
    if is_plain(settings.guidance_scale):
        return {"guidance_scale": 1.0, "callback_on_step_end": _telling(tell)}
    return {
        "guidance_scale": guidance_at(0, settings.steps, settings.guidance_scale),
        "negative_prompt_embeds": negative,
        "callback_on_step_end": linear_guidance(settings.guidance_scale, tell),
    }


def _finish(image: Image.Image, canvas: Canvas, black: bool) -> Image.Image:
    """What a safety checker blacked out stays black."""
    if black or canvas.init is None or canvas.mask is None:
        return image
    return paste(image, canvas.init, canvas.mask)


_NO_MEMORY = ("out of memory", "not enough memory", "can't allocate memory")  # CUDA and MPS; the CPU


@contextmanager
def _enough_memory(count: int) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # a class of its own on CUDA only
        if not any(words in str(error).lower() for words in _NO_MEMORY):
            raise
        raise ConfigError(
            f"not enough memory for {count} pictures at once. Give a smaller batch size, or a smaller "
            "height and width"
        ) from error


def _teller(on_step: OnStep, done: int, total: int) -> Callable[[int], None]:
    return lambda step: on_step(done + step, total)


def _telling(tell: Callable[[int], None] | None) -> StepCallback:
    def callback(pipe: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        if tell is not None:
            tell(step + 1)
        return tensors

    return callback
