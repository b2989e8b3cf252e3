"""Going on from a stack: its fp16 weights put where a build's steps look for theirs, in float32."""

import shutil
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import CLIPModel, CLIPTextModel

from adaface.errors import StackError
from adaface.files import write_atomic
from adaface.text.folder import load_text_encoder

WORLD = ("segmenter.safetensors", "class_words.safetensors", "look_codes.safetensors")


def take_faces(stack: Path, folder: Path) -> None:
    """Copy the world's small models and the tokenizer of a stack into the run folder of the step `faces`.

    Raises StackError: the stack was made without them.
    """
    for name in WORLD:
        source = stack / "world" / name
        if not source.is_file():
            raise StackError(
                f"{source}: not there, so this stack cannot be trained on. Start one from nothing"
            )
        tensors = {key: value.float() for key, value in load_file(source).items()}
        write_atomic(folder / name, lambda path, tensors=tensors: save_file(tensors, path))  # type: ignore[misc]
    shutil.copytree(stack / "base" / "tokenizer", folder / "tokenizer", dirs_exist_ok=True)


def take_vae(stack: Path, folder: Path) -> None:
    """Copy the autoencoder of a stack, in float32."""
    AutoencoderKL.from_pretrained(stack / "base" / "vae", low_cpu_mem_usage=False).float().save_pretrained(
        folder
    )


def load_base(stack: Path, unet: UNet2DConditionModel, text: CLIPTextModel, id_text: CLIPTextModel) -> None:
    """Put the UNet and both text models of a stack into models of the same sizes.

    Raises StackError: the stack's sizes are others.
    """
    trained = UNet2DConditionModel.from_pretrained(stack / "base" / "unet", low_cpu_mem_usage=False)
    pairs: list[tuple[nn.Module, nn.Module]] = [
        (unet, trained),
        (text, load_text_encoder(stack / "base" / "text_encoder")),
        (id_text, load_text_encoder(stack / "id_prompter" / "text_encoder")),
    ]
    for model, source in pairs:
        _copy(model, source, stack)


def load_clip(stack: Path, clip: CLIPModel) -> None:
    """Put the CLIP of a stack into a model of the same size. Raises StackError: it has another."""
    _copy(clip, CLIPModel.from_pretrained(stack / "clip"), stack)


@torch.no_grad()
def _copy(model: nn.Module, source: nn.Module, stack: Path) -> None:
    try:
        model.load_state_dict(source.float().state_dict())
    except RuntimeError as error:
        raise StackError(
            f"{stack}: made with other sizes than this preset's. Choose the preset it was made with"
        ) from error
