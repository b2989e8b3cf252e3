"""A base model (a diffusers folder) opened quietly as a stock pipeline, and one shallow pipeline of its own
for each call.
"""

from pathlib import Path
from typing import Any

import torch

from adaface.errors import AdaFaceError, StackError
from adaface.pipelines.quiet import quiet

with quiet():  # the import itself prints hints about packages that nobody needs here
    from diffusers import DDIMScheduler, StableDiffusionPipeline
from adaface.text.folder import load_text_encoder, load_tokenizer

__all__ = ["StableDiffusionPipeline", "ddim", "load_base", "own_pipeline"]


def load_base(folder: str | Path, device: torch.device, dtype: torch.dtype) -> StableDiffusionPipeline:
    """Open a Stable Diffusion folder with safetensors weights; nothing is fetched, nothing unpickled.

    All parts get `dtype`, whatever the folder holds. Raises StackError: the folder cannot be opened as such a
    pipeline.
    """
    folder = Path(folder).resolve()  # diffusers asks the hub for what it takes for a name
    try:
        with quiet():
            text_encoder, tokenizer = (
                load_text_encoder(folder / "text_encoder"),
                load_tokenizer(folder / "tokenizer"),
            )
            pipe = StableDiffusionPipeline.from_pretrained(
                folder,
                text_encoder=text_encoder,
                tokenizer=tokenizer,
                local_files_only=True,
                use_safetensors=True,
            )
            return pipe.to(device, dtype)
    except AdaFaceError:
        raise
    except (OSError, ValueError, TypeError, RuntimeError, KeyError, AttributeError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise StackError(
            f"{folder}: not a Stable Diffusion folder that diffusers can open ({reason}). It should hold "
            "model_index.json, unet/, vae/, text_encoder/, tokenizer/ and scheduler/, weights as safetensors"
        ) from error


def own_pipeline(
    pipe: StableDiffusionPipeline, kind: type[Any] = StableDiffusionPipeline, **more: Any
) -> Any:
    """A pipeline for one call: shares the models of `pipe`, but has its own DDIM scheduler and guidance.

    It takes prompt embeddings only, so that the text encoder stays out of it. `pipe` is not changed. A safety
    checker of `pipe` stays in force. kind: a stock pipeline over the same parts. more: the parts that it has
    beside these, such as a ControlNet.
    """
    parts: dict[str, Any] = {**pipe.components, "text_encoder": None, "tokenizer": None, **more}
    parts["scheduler"] = ddim(parts["scheduler"])
    with quiet():
        own = kind(**parts, requires_safety_checker=parts.get("safety_checker") is not None)
    own.set_progress_bar_config(disable=True)
    return own


def ddim(scheduler: Any) -> DDIMScheduler:
    """A DDIM scheduler over the noise schedule of `scheduler`, with the values that the pipeline itself would
    correct.
    """
    config = dict(scheduler.config)
    fixed = {"clip_sample": config.get("clip_sample", False), "steps_offset": config.get("steps_offset", 1)}
    return DDIMScheduler.from_config({**config, **fixed})
