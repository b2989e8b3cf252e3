"""One LDM file of Stable Diffusion 1.x -> a stock diffusers pipeline, without a hub."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import diffusers
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel

from adaface.checkpoints.kinds import Kind, kind_of, need_kind, read_json
from adaface.checkpoints.parts import TITLES, Part, component_folder, difference, diffusers_names, part_of
from adaface.checkpoints.tensors import Weights, open_tensors
from adaface.errors import FormatError
from adaface.text.clip import text_parts
from adaface.text.folder import load_tokenizer

if TYPE_CHECKING:
    from diffusers import StableDiffusionPipeline

SD15 = Path(__file__).with_name("sd15")
"""A diffusers folder of Stable Diffusion 1.x without weights: configs, scheduler, CLIP's tokenizer."""


def open_ldm(
    path: str | Path,
    dtype: torch.dtype = torch.float32,
    *,
    config: str | Path | None = None,
    text_encoder: CLIPTextModel | None = None,
    vae: AutoencoderKL | None = None,
    safety_checker: Any = None,
    feature_extractor: Any = None,
) -> "StableDiffusionPipeline":
    """Open a .safetensors or .ckpt file in LDM's layout; nothing is fetched, nothing unpickled by torch.

    dtype: of all models. config: a diffusers folder whose configs, scheduler and tokenizer stand in for those
    of SD-1.5, for files of other sizes (how many heads a model has is not to be seen in its weights).
    text_encoder, vae: used in place of the file's, which then need not be there. safety_checker: an LDM file
    holds none; give one with its feature_extractor, or there is none. The pipeline is on the CPU.
    Raises MissingFileError, DamagedFileError, UnsafeFileError: see `open_tensors`. WrongModelError: it is no
    SD-1.x checkpoint. FormatError: its tensors do not fit the configs; lists them.
    """
    from diffusers import StableDiffusionPipeline  # whose import prints hints, unless the caller hushes it

    weights, folder = open_tensors(path), Path(config or SD15)
    need_kind(path, kind_of(weights), Kind.SD1)
    scheduler = read_json(folder / "scheduler" / "scheduler_config.json")
    return StableDiffusionPipeline(
        vae=vae or filled(_part(weights, "vae"), folder, dtype),
        text_encoder=text_encoder or filled(_part(weights, "text_encoder"), folder, dtype),
        tokenizer=load_tokenizer(folder / "tokenizer"),
        unet=filled(_part(weights, "unet"), folder, dtype),
        scheduler=getattr(diffusers, scheduler["_class_name"]).from_config(scheduler),
        safety_checker=safety_checker,
        feature_extractor=feature_extractor,
        requires_safety_checker=safety_checker is not None,
    )


def filled(part: Part, folder: str | Path, dtype: torch.dtype) -> Any:
    """A diffusers or transformers model in eval mode with the weights of a part.

    folder: a diffusers folder; the config is taken from its subfolder of that role. The model owns its
    memory.
    Raises FormatError: the tensors do not fit the config; lists them.
    """
    model = empty(part.role, folder)
    inner = named_as_in_files(part.role, model)
    names = fit(part, inner, folder)
    wanted = inner.state_dict()
    tensors = {
        name: part.tensor(plain).to(dtype).reshape(wanted[name].shape) for plain, name in names.items()
    }
    inner.load_state_dict(tensors, assign=True)
    if part.role == "text_encoder":
        positions = torch.arange(model.config.max_position_embeddings)[None]  # in no file
        cast(nn.Module, inner.embeddings).register_buffer("position_ids", positions, persistent=False)
    return model.eval()


def empty(role: str, folder: str | Path) -> Any:
    """The model of a role as the config in a diffusers folder has it, on the meta device: without numbers.

    Raises MissingFileError: no config. FormatError: one that no such model can be made of.
    """
    path = component_folder(Path(folder), role) / "config.json"
    values = read_json(path)
    try:
        with torch.device("meta"):
            if role == "text_encoder":
                return CLIPTextModel(CLIPTextConfig.from_dict(values))
            return {"unet": UNet2DConditionModel, "vae": AutoencoderKL}[role].from_config(values)
    except (ValueError, TypeError, KeyError, AttributeError, RuntimeError) as error:
        raise FormatError(f"{path}: no config of a {TITLES[role]} ({error}). Check the folder") from error


def named_as_in_files(role: str, model: Any) -> Any:
    """The module of a model whose tensors are named as parts name them, in every supported transformers."""
    return text_parts(model) if role == "text_encoder" else model


def fit(part: Part, model: nn.Module, folder: str | Path) -> dict[str, str]:
    """Names inside the part -> names inside `model` (of diffusers or transformers), one to one.

    Raises FormatError: names or shapes differ; lists them.
    """
    names = diffusers_names(part)
    given = {names.get(plain, plain): shape for plain, shape in part.shapes().items()}
    wanted = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    wanted.pop("embeddings.position_ids", None)
    if sentence := difference(wanted, given):
        raise FormatError(
            f"{part.weights.path}: its {TITLES[part.role]} does not fit {part.role}/config.json in {folder}: "
            f"{sentence}. For a model of other sizes give the configs of a diffusers folder of its own"
        )
    return names


def _part(weights: Weights, role: str) -> Part:
    part = part_of(weights, role)
    if part is None:
        raise FormatError(
            f"{weights.path}: no {TITLES[role]} in this checkpoint. Take a whole one, or name a "
            f"{TITLES[role]} of its own beside it"
        )
    return part
