"""DDIM sampling and contact sheets for training runs; users get stock pipelines. Shapes: B, C, T, D."""

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from PIL import Image
from torch import Generator, Tensor


@torch.no_grad()
def sample(
    unet: UNet2DConditionModel,
    vae: AutoencoderKL,
    scheduler: DDIMScheduler,
    context: Tensor,
    empty: Tensor,
    generator: Generator,
    *,
    steps: int = 25,
    guidance: float = 2.0,
) -> Tensor:
    """Pictures (B, 3, 64, 64) in 0..1 for contexts (B, T, D), guided away from `empty` of the same shape."""
    scheduler = DDIMScheduler.from_config(scheduler.config)
    scheduler.set_timesteps(steps)
    size = unet.config.sample_size
    latents = torch.randn(len(context), unet.config.in_channels, size, size, generator=generator).to(context)
    with torch.autocast(context.device.type, torch.bfloat16):
        for t in scheduler.timesteps:
            both = unet(torch.cat([latents] * 2), t, torch.cat([empty, context])).sample.float()
            without, with_ = both.chunk(2)
            latents = scheduler.step(without + guidance * (with_ - without), t, latents).prev_sample
    return decode(vae, latents.float())


@torch.no_grad()
def decode(vae: AutoencoderKL, latents: Tensor) -> Tensor:
    """Latents (B, C, 8, 8) -> pictures (B, 3, 64, 64) in 0..1."""
    with torch.autocast(latents.device.type, torch.bfloat16):
        pictures = vae.decode(latents).sample
    return (pictures.float() / 2 + 0.5).clamp(0, 1)


def contact_sheet(pictures: Tensor, *, columns: int = 8, zoom: int = 2) -> Image.Image:
    """Pictures (B, 3, S, S) in 0..1 -> one picture, row by row."""
    pictures = F.interpolate(pictures.cpu().float(), scale_factor=float(zoom), mode="nearest")
    count, _, high, wide = pictures.shape
    rows = -(-count // columns)
    sheet = torch.ones(3, rows * high, columns * wide)
    for i, picture in enumerate(pictures):
        top, left = i // columns * high, i % columns * wide
        sheet[:, top : top + high, left : left + wide] = picture
    return Image.fromarray((sheet.permute(1, 2, 0) * 255).round().byte().numpy())
