"""Going on from a stack: its fp16 weights put where a build's steps look for theirs, in float32."""

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import CLIPModel, CLIPTextModel, CLIPTokenizer

from adaface.errors import ConfigError, MissingFileError, StackError
from adaface.files import write_atomic
from adaface.mini.models import MiniConfig
from adaface.text.folder import load_text_encoder

WORLD = ("segmenter.safetensors", "class_words.safetensors", "look_codes.safetensors")
TOKENS = "token_embedding.weight"  # how the name of a token table ends
_OTHER_SIZES = "{}: made with other sizes than this preset's. Choose the preset it was made with"


def check(start: Path | None, vae_start: Path | None, sizes: MiniConfig) -> None:
    """Look at what a build is to start from before it takes an hour to get there.

    Raises ConfigError: both are given, or the autoencoder has other latents. MissingFileError: a folder is
    not there. StackError: a stack without its world, or of other sizes.
    """
    if start is not None and vae_start is not None:
        raise ConfigError("--start and --vae-start: give one. A stack to start from has its own autoencoder")
    if vae_start is not None:
        channels = _config(vae_start).get("latent_channels")
        if channels != sizes.latent_channels:
            raise ConfigError(
                f"{vae_start}: latents of {channels} channels, this preset has {sizes.latent_channels}. "
                "Choose another preset or autoencoder"
            )
    if start is not None:
        for name in WORLD:
            _of_the_world(start, name)
        unet, wanted = _config(start / "base" / "unet"), [*sizes.unet_widths, sizes.text_width]
        if [*unet.get("block_out_channels", ()), unet.get("cross_attention_dim")] != wanted:
            raise StackError(_OTHER_SIZES.format(start))


def _config(folder: Path) -> dict[str, Any]:
    """A diffusers model's config.json."""
    path = folder / "config.json"
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file. Give a folder of diffusers")
    config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return config


def _of_the_world(stack: Path, name: str) -> Path:
    source = stack / "world" / name
    if not source.is_file():
        raise StackError(f"{source}: not there, so this stack cannot be trained on. Start one from nothing")
    return source


def take_faces(stack: Path, folder: Path) -> None:
    """Copy the world's small models of a stack into the run folder of the step `faces`.

    Raises StackError: the stack was made without them.
    """
    for name in WORLD:
        tensors = {key: value.float() for key, value in load_file(_of_the_world(stack, name)).items()}
        write_atomic(folder / name, lambda path, tensors=tensors: save_file(tensors, path))  # type: ignore[misc]


def take_vae(stack: Path, folder: Path) -> None:
    """Copy the autoencoder of a stack, in float32."""
    AutoencoderKL.from_pretrained(stack / "base" / "vae", low_cpu_mem_usage=False).float().save_pretrained(
        folder
    )


def load_base(
    stack: Path,
    unet: UNet2DConditionModel,
    text: CLIPTextModel,
    id_text: CLIPTextModel,
    tokenizer: CLIPTokenizer,
) -> None:
    """Put the UNet and both text models of a stack into models of the same sizes.

    tokenizer: of the models. Where the stack's knows other words, those of both keep their rows, and new ones
    keep what they began with. Raises StackError: the stack's sizes are others.
    """
    trained = UNet2DConditionModel.from_pretrained(stack / "base" / "unet", low_cpu_mem_usage=False)
    _copy(unet, trained.float().state_dict(), stack)
    for model, part in ((text, "base"), (id_text, "id_prompter")):
        weights = load_text_encoder(stack / part / "text_encoder").float().state_dict()
        _copy(model, _by_word(weights, model, tokenizer, stack / "base" / "tokenizer"), stack)


def load_clip(folder: Path, clip: CLIPModel, tokenizer: CLIPTokenizer) -> None:
    """Put a CLIP of a stack into a model of the same size; words as in `load_base`. None there: nothing.

    Raises StackError: it has another size.
    """
    if not folder.is_dir():
        return
    weights = CLIPModel.from_pretrained(folder).float().state_dict()
    _copy(clip, _by_word(weights, clip, tokenizer, folder), folder)


def _by_word(
    weights: dict[str, Tensor], model: nn.Module, tokenizer: CLIPTokenizer, old: Path
) -> dict[str, Tensor]:
    """The weights with the rows of their token table where the model's tokenizer has the words."""
    before = CLIPTokenizer.from_pretrained(str(old)).get_vocab()
    words = tokenizer.get_vocab()
    if before == words:
        return weights
    (name,) = (key for key in weights if key.endswith(TOKENS))
    known = [word for word in words if word in before]
    rows = model.state_dict()[name].clone()
    rows[[words[word] for word in known]] = weights[name][[before[word] for word in known]].to(rows)
    return weights | {name: rows}


@torch.no_grad()
def _copy(model: nn.Module, weights: dict[str, Tensor], stack: Path) -> None:
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise StackError(_OTHER_SIZES.format(stack)) from error
