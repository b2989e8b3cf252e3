"""Drawing under a mask with any stock pipeline: latents (N, C, h, w) are blended after each step, pixels
(H, W, 3) once at the end.

The stock inpainting pipeline takes UNets of 4 or 9 channels only; this way takes any, and needs no other
pipeline than text-to-image or image-to-image.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers.utils.torch_utils import randn_tensor
from PIL import Image
from torch import Tensor

from adaface.face.types import Floats, Pixels
from adaface.pipelines.guidance import StepCallback


def encode(pipe: Any, init: Pixels) -> Tensor:
    """The latents (1, C, h, w) that the autoencoder of `pipe` makes of a picture: the mean, not a sample."""
    device = getattr(pipe, "_execution_device", pipe.device)  # that of offloaded models is not where they lie
    image = torch.tensor(init).permute(2, 0, 1)[None]  # (H, W, 3) -> (1, 3, H, W)
    image = image.to(device, pipe.vae.dtype) / 127.5 - 1
    with torch.no_grad():
        coded = pipe.vae.encode(image)
    latents: Tensor = coded.latent_dist.mode() if hasattr(coded, "latent_dist") else coded.latents
    return latents * pipe.vae.config.scaling_factor


def noise_of(seeds: Sequence[int], latents: Tensor) -> Tensor:
    """The noise (N, C, h, w) that the stock image-to-image pipeline draws for these seeds.

    It is each generator's second draw: the first is the sample of the autoencoder. (One that does not sample
    begins with another noise than the kept places have, which only shows in the first step.)
    """
    rows = []
    for seed in seeds:
        generator = torch.Generator("cpu").manual_seed(seed)
        for _ in range(2):
            row = randn_tensor(latents.shape, generator=generator, device=latents.device, dtype=latents.dtype)
        rows.append(row)
    return torch.cat(rows)


def latent_mask(mask: Floats, latents: Tensor) -> Tensor:
    """(H, W) -> (1, 1, h, w): a place of the latents is drawn anew if any pixel of its patch may change."""
    pixels = (torch.from_numpy(mask) > 0).to(latents)[None, None]
    return F.adaptive_max_pool2d(pixels, latents.shape[-2:])


def keeping(mask: Tensor, kept: Tensor, noise: Tensor, after: StepCallback) -> StepCallback:
    """A `callback_on_step_end` that puts `kept`, noised as the next step expects, where `mask` is 0.

    mask: (1, 1, h, w) of 0 and 1. kept: (1, C, h, w). noise: (N, C, h, w), the same at all steps. after: the
    callback that is asked first. After the last step the kept places are `kept` itself.
    """

    def callback(pipe: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        tensors = after(pipe, step, timestep, tensors)
        left = pipe.num_timesteps - (step + 1)
        known = kept if left < 1 else _noised(pipe.scheduler, kept, noise, left)
        latents = tensors["latents"]
        return {**tensors, "latents": torch.where(mask > 0, latents, known.to(latents))}

    return callback


def paste(drawn: Image.Image, init: Pixels, mask: Floats) -> Image.Image:
    """`drawn` where `mask` is 1, the pixels of `init` bit by bit where it is 0, and a mixture between."""
    new, share = np.asarray(drawn, np.float32), mask[:, :, None]
    mixed = np.rint(share * new + (1 - share) * init.astype(np.float32))
    return Image.fromarray(mixed.astype(np.uint8))


def _noised(scheduler: Any, kept: Tensor, noise: Tensor, left: int) -> Tensor:
    upcoming = scheduler.timesteps[-left].expand(len(noise))
    noised: Tensor = scheduler.add_noise(kept.expand_as(noise), noise, upcoming)
    return noised
