"""A ControlNet from disk: a diffusers folder -> a model that fits the base."""

import json
from pathlib import Path
from typing import Any

import torch

from adaface.errors import FormatError, MissingFileError, StackError
from adaface.pipelines.quiet import quiet

CLASS = "ControlNetModel"
WEIGHTS = "diffusion_pytorch_model.safetensors"


def check_controlnet(folder: str | Path) -> Path:
    """The folder of a ControlNet, looked at without opening the model.

    Raises MissingFileError: nothing is there, or no weights. FormatError: something else.
    """
    path = Path(folder).expanduser()
    what = f"a diffusers folder of a ControlNet (config.json, {WEIGHTS})"
    if not path.exists():
        raise MissingFileError(f"{path}: no such folder. --controlnet takes {what}")
    if not path.is_dir():
        raise FormatError(
            f"{path}: a file. Give {what}; diffusers' ControlNetModel.from_single_file reads single files, "
            "and its save_pretrained writes such a folder"
        )
    try:
        kind = json.loads((path / "config.json").read_text(encoding="utf-8"))["_class_name"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FormatError(f"{path}: not a ControlNet (no readable config.json). Give {what}") from error
    if kind != CLASS:
        raise FormatError(f"{path}: a {kind}, not a {CLASS}. Give {what}")
    if not any(path.glob("diffusion_pytorch_model*.safetensors")):
        raise MissingFileError(f"{path / WEIGHTS}: no such file. Copy the ControlNet's weights there")
    return path.resolve()


def load_controlnet(folder: str | Path, device: torch.device, dtype: torch.dtype) -> Any:
    """Open a ControlNet; nothing is fetched, nothing unpickled.

    Raises as `check_controlnet`; FormatError: its weights do not fit its config.
    """
    path = check_controlnet(folder)
    try:
        with quiet():
            from diffusers import ControlNetModel

            model = ControlNetModel.from_pretrained(path, local_files_only=True, use_safetensors=True)
            return model.to(device, dtype).eval()
    except (OSError, ValueError, TypeError, RuntimeError, KeyError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise FormatError(
            f"{path}: diffusers cannot open this ControlNet ({reason}). Copy it again"
        ) from error


def check_fit(controlnet: Any, unet: Any) -> None:
    """Raises StackError: a ControlNet for another kind of base model."""
    for name in ("in_channels", "cross_attention_dim"):
        theirs, ours = controlnet.config[name], unet.config[name]
        if theirs != ours:
            raise StackError(
                f"this ControlNet is for another kind of base model: its {name} is {theirs}, the base's UNet "
                f"has {ours}. Use a ControlNet that was trained for this base"
            )
