"""Cached latents of a data set by a stack's VAE: made once, and known again when a training opens them."""

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from adaface.data.augment import SCALE
from adaface.data.dataset import FaceDataset
from adaface.data.latents import LatentCache, Tell, encode_latents, vae_encode
from adaface.encoder.fingerprint import fingerprint
from adaface.errors import ConfigError
from adaface.pipelines.base import base_parts, load_base
from adaface.pipelines.devices import choose_device
from adaface.pipelines.drawing import base_size
from adaface.pipelines.stack import Stack


def encode_dataset(
    folder: str | Path,
    stack: str | Path | Stack,
    *,
    count: int,
    seed: int = 0,
    device: str = "auto",
    batch_size: int = 8,
    scale: tuple[float, float] = SCALE,
    tell: Tell | None = None,
) -> Path:
    """Encode `count` augmentations of each picture of a prepared folder with a stack's VAE, in float32.

    Returns the file beside the index. scale: of the augmentations, least and most. tell: rows done and rows
    in all. Raises what opening the stack and `encode_latents` raise.
    """
    loaded = stack if isinstance(stack, Stack) else Stack.load(stack)
    pipe = load_base(base_parts(loaded, safety_checker=False), torch.device("cpu"), torch.float32)
    name, size = vae_name(pipe.vae), base_size(pipe)[0]
    encode = vae_encode(pipe.vae.to(choose_device(device)).requires_grad_(False).eval())
    return encode_latents(
        FaceDataset(folder),
        lambda pictures: encode(resized(pictures, size)),
        count=count,
        seed=seed,
        vae=name,
        batch_size=batch_size,
        scale=scale,
        tell=tell,
    )


def open_latents(wanted: str, dataset: FaceDataset, pipe: Any) -> LatentCache | None:
    """The data set's cached latents, if they are wanted and there; None: pictures are encoded as they come.

    wanted: "cached", "fly" or "auto". pipe: a stock pipeline in float32, whose VAE they have to be of.
    Raises ConfigError: they are of another VAE. MissingFileError: "cached", and there are none.
    """
    if wanted == "fly" or (wanted == "auto" and not LatentCache.there(dataset)):
        return None
    cache = LatentCache(dataset)
    if cache.vae != vae_name(pipe.vae):
        raise ConfigError(
            f"{dataset.folder}: its cached latents are of another VAE than this stack's. Give latents=fly, "
            "or encode them anew with this stack (adaface prepare ... --latents K --stack STACK)"
        )
    return cache


def vae_name(vae: Any) -> str:
    """A name for the weights of a VAE, to be asked for in float32."""
    return fingerprint(vae.state_dict())


def resized(pictures: Tensor, size: int) -> Tensor:
    """Pictures (B, 3, S, S) of any range and type, brought to `size` pixels; the same if they have it."""
    if pictures.shape[-1] == size:
        return pictures
    made = F.interpolate(pictures.float(), (size, size), mode="bilinear", antialias=True, align_corners=False)
    return made if pictures.is_floating_point() else made.round().clamp(0, 255).to(pictures.dtype)
