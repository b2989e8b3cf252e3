"""Which model a file or folder is."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from adaface.checkpoints.kinds import Kind, expect, what_is
from adaface.errors import FormatError, MissingFileError, WrongModelError

U = "model.diffusion_model."
CONV = {U + "input_blocks.0.0.weight": (8, 4, 3, 3), U + "out.2.weight": (4, 8, 3, 3)}
CROSS = U + "input_blocks.1.1.proj_in.weight"
KINDS = {
    Kind.SD1: {**CONV, CROSS: (8, 8, 1, 1), "cond_stage_model.transformer.embeddings.x": (1,)},
    Kind.SD1_EDITING: {**CONV, U + "input_blocks.0.0.weight": (8, 9, 3, 3)},
    Kind.SD2: {**CONV, CROSS: (8, 8), "cond_stage_model.model.token_embedding.weight": (9, 8)},
    Kind.SDXL: {**CONV, "conditioner.embedders.0.transformer.text_model.x": (1,)},
    Kind.NEWER: {U + "double_blocks.0.img_attn.proj.weight": (2, 2)},
    Kind.UNET: {"down_blocks.0.resnets.0.conv1.weight": (2, 2, 3, 3)},
    Kind.VAE: {"decoder.conv_in.weight": (8, 4, 3, 3), "encoder.down.0.block.0.conv1.weight": (1,)},
    Kind.TEXT_ENCODER: {"text_model.embeddings.token_embedding.weight": (9, 8)},
    Kind.OPEN_CLIP: {"transformer.resblocks.0.ln_1.weight": (8,), "text_projection": (8, 8)},
    Kind.TEXTUAL_INVERSION: {"<alice>": (16, 8)},
    Kind.LORA: {"lora_unet_x.lora_down.weight": (4, 8), "lora_unet_x.lora_up.weight": (8, 4)},
    Kind.CONTROLNET: {"control_model.time_embed.0.weight": (8, 8)},
    Kind.MOTION: {"down_blocks.0.motion_modules.0.temporal_transformer.norm.weight": (8,)},
    Kind.OTHER: {"one.weight": (2, 2), "two.weight": (2, 2)},
}


def write(path, shapes):
    save_file({name: torch.zeros(shape) for name, shape in shapes.items()}, path)
    return path


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_file_is_known_by_names_and_shapes(kind, tmp_path):
    assert what_is(write(tmp_path / "x.safetensors", KINDS[kind])) is kind


def test_sd2_without_a_text_encoder_is_known_by_its_projections(tmp_path):
    assert what_is(write(tmp_path / "x.safetensors", {**CONV, CROSS: (8, 8)})) is Kind.SD2


def test_an_original_textual_inversion_is_known(tmp_path):
    torch.save({"string_to_token": {"*": 265}, "string_to_param": {"*": torch.ones(2, 8)}}, tmp_path / "w.pt")
    assert what_is(tmp_path / "w.pt") is Kind.TEXTUAL_INVERSION


def test_a_tiny_ldm_file_and_its_pickled_twin_are_sd1(ldm_file, tmp_path):
    torch.save({"state_dict": load_file(ldm_file)}, tmp_path / "tiny.ckpt")
    assert what_is(ldm_file) is what_is(tmp_path / "tiny.ckpt") is Kind.SD1


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        ("", Kind.SD1),
        ("unet", Kind.UNET),
        ("vae", Kind.VAE),
        ("text_encoder", Kind.TEXT_ENCODER),
        ("../encoder", Kind.ADAFACE_ENCODER),
    ],
)
def test_a_folder_is_known_by_its_configs(place, kind, base_folder):
    assert what_is(base_folder / place) is kind


def test_an_adaface_encoder_is_known_by_its_file_too(base_folder):
    assert what_is(base_folder / "../encoder/model.safetensors") is Kind.ADAFACE_ENCODER


def edited(base_folder, target, index=None, unet=None):
    """A copy of a diffusers folder's JSON files with other values."""
    shutil.copytree(base_folder, target, ignore=shutil.ignore_patterns("*.safetensors"))
    for path, values in ((target / "model_index.json", index), (target / "unet" / "config.json", unet)):
        path.write_text(json.dumps({**json.loads(path.read_text()), **(values or {})}))
    return target


@pytest.mark.parametrize(
    ("kind", "index", "unet"),
    [
        (Kind.SDXL, {"text_encoder_2": ["transformers", "CLIPTextModelWithProjection"]}, None),
        (Kind.SD2, None, {"cross_attention_dim": 1024}),
        (Kind.SD2, None, {"use_linear_projection": True}),
        (Kind.SD1_EDITING, None, {"in_channels": 33}),
        (Kind.NEWER, {"transformer": ["diffusers", "FluxTransformer2DModel"]}, None),
    ],
)
def test_a_diffusers_folder_of_another_family_is_known(kind, index, unet, base_folder, tmp_path):
    assert what_is(edited(base_folder, tmp_path / "x", index, unet)) is kind


@pytest.mark.parametrize("kind", [Kind.SDXL, Kind.SD2])
def test_another_family_is_refused_with_the_reason(kind, tmp_path):
    path = write(tmp_path / "big.safetensors", KINDS[kind])
    with pytest.raises(WrongModelError) as caught:
        expect(path, Kind.SD1)
    assert str(caught.value) == (
        f"{path}: {kind}; expected here: a Stable Diffusion 1.x checkpoint. "
        "AdaFace's vectors are words of Stable Diffusion 1.x's text encoder: take a 1.x checkpoint"
    )


def test_what_is_expected_goes_through(tmp_path):
    path = write(tmp_path / "x.safetensors", KINDS[Kind.VAE])
    assert expect(path, Kind.SD1, Kind.VAE) is Kind.VAE


def test_a_folder_without_configs_is_an_error(tmp_path):
    with pytest.raises(MissingFileError, match="neither model_index.json nor config.json in it"):
        what_is(tmp_path)


def test_a_config_that_is_no_json_is_an_error(tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(FormatError, match=r"config.json: not JSON that can be read"):
        what_is(tmp_path)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(FormatError, match=r"config.json: not a JSON object"):
        what_is(tmp_path)
