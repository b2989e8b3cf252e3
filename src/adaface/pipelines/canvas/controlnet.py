"""A ControlNet from disk: a diffusers folder -> a model that fits the base."""

import re
from pathlib import Path
from typing import Any

import torch

from adaface.checkpoints.kinds import Kind, expect
from adaface.errors import FormatError, MissingFileError, StackError
from adaface.pipelines.quiet import quiet

STEM = "diffusion_pytorch_model"
WEIGHTS = f"{STEM}.safetensors"


def check_controlnet(folder: str | Path) -> Path:
    """The folder of a ControlNet, looked at without opening the model.

    Raises MissingFileError: nothing is there, or no config or weights. WrongModelError: another model.
    FormatError: a file.
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
    expect(path, Kind.CONTROLNET)
    _variant(path)
    return path.resolve()


def _variant(folder: Path) -> str | None:
    """None, or the variant ("fp16") that is there alone. Raises MissingFileError: no weights."""
    found = sorted(file.name for file in folder.glob(f"{STEM}*.safetensors"))
    if not found:
        raise MissingFileError(f"{folder / WEIGHTS}: no such file. Copy the ControlNet's weights there")
    plain = any(re.fullmatch(rf"{STEM}(-\d+-of-\d+)?\.safetensors", name) for name in found)
    return None if plain else found[0].removeprefix(f"{STEM}.").split(".")[0].split("-")[0]


def load_controlnet(folder: str | Path, device: torch.device, dtype: torch.dtype) -> Any:
    """Open a ControlNet; nothing is fetched, nothing unpickled.

    Raises as `check_controlnet`; FormatError: its weights do not fit its config.
    """
    path = check_controlnet(folder)
    try:
        with quiet():
            from diffusers import ControlNetModel

            model = ControlNetModel.from_pretrained(
                path, local_files_only=True, use_safetensors=True, variant=_variant(path)
            )
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
