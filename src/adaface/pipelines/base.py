"""A base model (a diffusers folder, or one LDM file) opened quietly as a stock pipeline, and one shallow
pipeline of its own for each call.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from adaface.errors import AdaFaceError, StackError, WrongModelError
from adaface.pipelines.devices import Memory
from adaface.pipelines.quiet import quiet
from adaface.pipelines.stack import Stack

with quiet():  # the import itself prints hints about packages that nobody needs here
    from diffusers import DDIMScheduler, StableDiffusionPipeline
from adaface.checkpoints.kinds import Kind, expect, kind_of_folder, need_kind, read_json
from adaface.checkpoints.ldm import SD15, filled, open_ldm
from adaface.checkpoints.parts import ROLES, component_files, component_folder, open_part
from adaface.sources.heads import need_safetensors
from adaface.text.folder import load_text_encoder, load_tokenizer

__all__ = [
    "BaseParts",
    "StableDiffusionPipeline",
    "base_parts",
    "check_family",
    "ddim",
    "load_base",
    "own_pipeline",
]


@dataclass(frozen=True)
class BaseParts:
    """Where a base model lies, and what is taken in place of its own parts.

    base: a diffusers folder, or one LDM file. text_encoder, vae: a folder with config.json and weights, a
    diffusers folder that has one, or one file of SD-1.x. safety_checker: False leaves out the base's own; an
    LDM file has none.
    """

    base: Path
    text_encoder: Path | None = None
    vae: Path | None = None
    safety_checker: bool = True


def load_base(parts: BaseParts, device: torch.device, dtype: torch.dtype) -> StableDiffusionPipeline:
    """Open a base model with safetensors weights; nothing is fetched, nothing unpickled.

    All parts get `dtype`, whatever the files hold. Raises StackError: the folder cannot be opened as such a
    pipeline. FormatError: a file that is none, or of another family. MissingFileError: a part is not there.
    """
    base = parts.base.absolute()  # diffusers asks the hub for what it takes for a name
    try:
        with quiet():
            need_weights(parts)
            given = _given_parts(parts, dtype)
            if base.is_file():
                return open_ldm(base, dtype, **given).to(device, dtype)
            if "text_encoder" not in given:
                given["text_encoder"] = load_text_encoder(base / "text_encoder", dtype)
            pipe = StableDiffusionPipeline.from_pretrained(
                base,
                **given,
                **_checker(parts),
                tokenizer=load_tokenizer(base / "tokenizer"),
                local_files_only=True,
                use_safetensors=True,
            )
            return pipe.to(device, dtype)
    except AdaFaceError:
        raise
    except (OSError, ValueError, TypeError, RuntimeError, KeyError, AttributeError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise StackError(
            f"{base}: not a Stable Diffusion folder that diffusers can open ({reason}). It should hold "
            "model_index.json, unet/, vae/, text_encoder/, tokenizer/ and scheduler/, weights as safetensors"
        ) from error


def need_weights(parts: BaseParts) -> None:
    """Look at the weights of a base's folder before diffusers does, whose messages do not name the file.

    Raises MissingFileError: there are none. DamagedFileError: cut off, empty, a web page, a git-lfs pointer.
    FormatError: pickled ones.
    """
    if parts.base.is_file():
        return  # looked at where it is opened
    given = {"vae": parts.vae, "text_encoder": parts.text_encoder}
    for role in ROLES:
        if given.get(role) is None:
            for file in component_files(parts.base, role):
                need_safetensors(file)
    if parts.safety_checker:
        for file in (parts.base / "safety_checker").glob("*.safetensors"):
            need_safetensors(file)


def base_parts(stack: Stack, safety_checker: bool = True) -> BaseParts:
    """The files of a stack's base model, fetched first if they are of the hub. Raises as `Stack.path`."""
    own = {role: stack.path(role) if role in stack.roles else None for role in ("text_encoder", "vae")}
    checked = safety_checker and bool(stack.part("base").options.get("safety_checker", True))
    return BaseParts(stack.path("base"), own["text_encoder"], own["vae"], checked)


def check_family(parts: BaseParts, width: int) -> None:
    """Are base and text encoder of the family that an encoder of rows `width` wide was trained for?

    Reads JSON files only: one LDM file is opened later, and can only be of SD-1.5's sizes. Raises
    WrongModelError: they are not. Further what `what_is` raises for a file.
    """
    base, whole = parts.base, parts.base.is_dir()
    if whole:
        need_kind(base, kind_of_folder(base), Kind.SD1)
    unet = read_json((base if whole else SD15) / "unet" / "config.json")
    own = unet.get("cross_attention_dim", width)
    if not whole and own != width:
        expect(base, Kind.SD1)  # if it is another thing altogether, that is told first
    _check_width(base, "UNet reads", own, width)
    if parts.text_encoder is not None and parts.text_encoder.is_dir():
        text = read_json(component_folder(parts.text_encoder, "text_encoder") / "config.json")
        _check_width(parts.text_encoder, "text encoder makes", text.get("hidden_size", width), width)


def _check_width(path: Path, what: str, own: object, width: int) -> None:
    if own != width:
        raise WrongModelError(
            f"{path}: its {what} text features {own} wide, but this encoder was trained for {width}. "
            "Give a base of the encoder's family, or an encoder for this base (for Stable Diffusion 1.5 the "
            "stack of adaface setup sd15)"
        )


def _given_parts(parts: BaseParts, dtype: torch.dtype) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for role, path in (("text_encoder", parts.text_encoder), ("vae", parts.vae)):
        if path is not None:
            given[role] = filled(open_part(path, role), path if path.is_dir() else SD15, dtype)
    return given


def _checker(parts: BaseParts) -> dict[str, Any]:
    off = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    return {} if parts.safety_checker else off


def own_pipeline(
    pipe: StableDiffusionPipeline,
    kind: type[Any] = StableDiffusionPipeline,
    memory: Memory | None = None,
    **more: Any,
) -> Any:
    """A pipeline for one call: shares the models of `pipe`, but has its own DDIM scheduler and guidance.

    It takes prompt embeddings only, so that the text encoder stays out of it. `pipe` is not changed. A safety
    checker of `pipe` stays in force. kind: a stock pipeline over the same parts. memory: whether and where to
    offloaded models go. more: the parts that it has beside these, such as a ControlNet.
    """
    parts: dict[str, Any] = {**pipe.components, "text_encoder": None, "tokenizer": None, **more}
    parts["scheduler"] = ddim(parts["scheduler"])
    with quiet():
        own = kind(**parts, requires_safety_checker=parts.get("safety_checker") is not None)
    own.set_progress_bar_config(disable=True)
    if memory is not None:
        memory.visit(own)
    return own


def ddim(scheduler: Any) -> DDIMScheduler:
    """A DDIM scheduler over the noise schedule of `scheduler`, with the values that the pipeline itself would
    correct.
    """
    config = dict(scheduler.config)
    fixed = {"clip_sample": config.get("clip_sample", False), "steps_offset": config.get("steps_offset", 1)}
    return DDIMScheduler.from_config({**config, **fixed})
