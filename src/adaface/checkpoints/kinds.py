"""Which model a file or folder of weights is, by names and shapes of its tensors, not by its own name."""

import json
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Any

from adaface.checkpoints.tensors import Weights, open_tensors
from adaface.errors import FormatError, MissingFileError, WrongModelError

UNET, VAE, TEXT = "model.diffusion_model.", "first_stage_model.", "cond_stage_model."
FIRST, LAST = "input_blocks.0.0.weight", "out.2.weight"


class Kind(StrEnum):
    """Kinds of models; the value stands in messages."""

    SD1 = "a Stable Diffusion 1.x checkpoint"
    SD1_EDITING = "a Stable Diffusion 1.x checkpoint for inpainting or editing (its UNet reads a picture too)"
    SD2 = "a Stable Diffusion 2.x checkpoint"
    SDXL = "a Stable Diffusion XL checkpoint"
    NEWER = "a checkpoint of a later family (SD3, Flux or alike)"
    UNET = "a UNet alone"
    VAE = "a VAE"
    TEXT_ENCODER = "a CLIP text encoder"
    OPEN_CLIP = "an OpenCLIP model"
    TEXTUAL_INVERSION = "a textual inversion"
    LORA = "a LoRA"
    CONTROLNET = "a ControlNet"
    MOTION = "an AnimateDiff motion module"
    ADAFACE_ENCODER = "an AdaFace encoder"
    OTHER = "no model that is known here"


_OTHER_FAMILY = "AdaFace's vectors are words of Stable Diffusion 1.x's text encoder: take a 1.x checkpoint"
REMEDIES = {
    Kind.SD1_EDITING: "Take the checkpoint that it was made from",
    Kind.SD2: _OTHER_FAMILY,
    Kind.SDXL: _OTHER_FAMILY,
    Kind.NEWER: _OTHER_FAMILY,
    Kind.OPEN_CLIP: "Stable Diffusion 1.x has OpenAI's CLIP in the names of transformers: take that",
    Kind.LORA: "A LoRA is loaded into a pipeline on top of a checkpoint",
}


def what_is(path: str | Path) -> Kind:
    """The kind of a file of weights, or of a diffusers folder or a component's folder.

    Of safetensors only the header is read; a pickled file is read through once for its checksums.

    Raises MissingFileError: nothing is there. DamagedFileError, UnsafeFileError, FormatError: a file with no
    tensors to be had (see `open_tensors`), or a folder whose JSON cannot be read.
    """
    path = Path(path)
    return kind_of_folder(path) if path.is_dir() else kind_of(open_tensors(path))


def expect(path: str | Path, *kinds: Kind) -> Kind:
    """The kind of a file or folder, which has to be one of `kinds`.

    Raises WrongModelError: it is another. Further what `what_is` raises.
    """
    return need_kind(path, what_is(path), *kinds)


def need_kind(path: str | Path, found: Kind, *kinds: Kind) -> Kind:
    """`found`, if it is one of `kinds`. Raises WrongModelError: it is not; says what to do."""
    if found not in kinds:
        remedy = REMEDIES.get(found, "Check the path")
        raise WrongModelError(f"{path}: {found}; expected here: {' or '.join(kinds)}. {remedy}")
    return found


def kind_of(weights: Weights) -> Kind:
    """The kind of opened weights, from names and shapes."""
    return next((kind for kind, fits in _SIGNS if fits(weights)), Kind.OTHER)


def kind_of_folder(folder: str | Path) -> Kind:
    """The kind of a diffusers folder by its model_index.json, or of one model's folder by its config.json.

    Raises MissingFileError: neither is there. FormatError: one is not JSON.
    """
    folder = Path(folder)
    if (folder / "model_index.json").is_file():
        return _kind_of_pipeline(folder)
    if not (folder / "config.json").is_file():
        raise MissingFileError(
            f"{folder}: neither model_index.json nor config.json in it; expected here: a diffusers folder, a "
            "model's folder or a file of weights. Check the path"
        )
    config = read_json(folder / "config.json")
    if config.get("kind") == "adaface-encoder":
        return Kind.ADAFACE_ENCODER
    known = {"UNet2DConditionModel": Kind.UNET, "AutoencoderKL": Kind.VAE, "ControlNetModel": Kind.CONTROLNET,
             "MotionAdapter": Kind.MOTION}  # fmt: skip
    names = config.get("architectures") or [config.get("_class_name", "")]
    if names[0] in ("CLIPTextModel", "CLIPModel", "CLIPTextModelWrapper"):
        return Kind.TEXT_ENCODER
    return known.get(names[0], Kind.OTHER)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file's object. Raises MissingFileError: it is not there. FormatError: it is none."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise MissingFileError(f"{path}: no such file. Copy or download the folder again") from error
    except (ValueError, OSError) as error:
        raise FormatError(
            f"{path}: not JSON that can be read ({error}). Copy or download it again"
        ) from error
    if not isinstance(values, dict):
        raise FormatError(f"{path}: not a JSON object. Copy or download it again")
    return values


def _kind_of_pipeline(folder: Path) -> Kind:
    index = read_json(folder / "model_index.json")
    if "transformer" in index:
        return Kind.NEWER
    if "text_encoder_2" in index:
        return Kind.SDXL
    if "unet" not in index:
        return Kind.OTHER
    unet = read_json(folder / "unet" / "config.json")
    if unet.get("addition_embed_type") == "text_time":
        return Kind.SDXL
    if unet.get("use_linear_projection") or unet.get("cross_attention_dim") == 1024:
        return Kind.SD2
    return Kind.SD1 if unet.get("in_channels") == unet.get("out_channels") else Kind.SD1_EDITING


def _has(*beginnings: str) -> Callable[[Weights], bool]:
    return lambda weights: any(name.startswith(beginnings) for name in weights)


def _is_sd2(weights: Weights) -> bool:
    if any(name.startswith(f"{TEXT}model.") for name in weights):
        return True
    # 1.x projects by a 1x1 convolution, 2.x by a matrix
    return any(
        name.startswith(UNET) and name.endswith(".1.proj_in.weight") and len(weights.shape(name)) == 2
        for name in weights
    )


def _is_ldm(weights: Weights) -> bool:
    return UNET + FIRST in weights and UNET + LAST in weights


def _edits(weights: Weights) -> bool:
    return _is_ldm(weights) and weights.shape(UNET + FIRST)[1] != weights.shape(UNET + LAST)[0]


def _is_inversion(weights: Weights) -> bool:
    if any(name.startswith("string_to_param.") or name == "clip_l" for name in weights):
        return True
    return len(weights) == 1 and all(len(weights.shape(name)) in (1, 2) for name in weights)


_SIGNS: tuple[tuple[Kind, Callable[[Weights], bool]], ...] = (
    (Kind.ADAFACE_ENCODER, lambda weights: "hidden_layer_weights" in weights),
    (Kind.LORA, lambda weights: any(".lora_" in name or ".lora." in name for name in weights)),
    (Kind.MOTION, lambda weights: any(".motion_modules." in name for name in weights)),
    (Kind.CONTROLNET, _has("control_model.", "controlnet_cond_embedding.")),
    (Kind.SDXL, _has("conditioner.embedders.", f"{UNET}label_emb.")),
    (Kind.NEWER, _has(*(p + n for p in ("", UNET) for n in ("joint_blocks.", "double_blocks.")))),
    (Kind.SD2, lambda weights: _is_ldm(weights) and _is_sd2(weights)),
    (Kind.SD1_EDITING, _edits),
    (Kind.SD1, _is_ldm),
    (Kind.UNET, _has(FIRST, "down_blocks.0.resnets.", UNET)),
    (Kind.VAE, _has("decoder.conv_in.", f"{VAE}decoder.conv_in.")),
    (Kind.OPEN_CLIP, _has(f"{TEXT}model.", "transformer.resblocks.", "visual.transformer.")),
    (Kind.TEXT_ENCODER, _has(*(p + t + "embeddings.token_embedding." for p in ("", f"{TEXT}transformer.")
                               for t in ("", "text_model.")))),
    (Kind.TEXTUAL_INVERSION, _is_inversion),
)  # fmt: skip
