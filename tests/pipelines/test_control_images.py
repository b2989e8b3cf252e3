"""`generate` along a control image, on a stack of random tiny models."""

import json
import shutil

import numpy as np
import pytest
import torch

import tiny
from adaface.errors import (
    ConfigError,
    FormatError,
    LicenceError,
    MissingFileError,
    StackError,
    WrongModelError,
)
from adaface.pipelines.canvas.controlnet import check_controlnet, load_controlnet
from adaface.pipelines.manifest import Part
from adaface.pipelines.personalizer import Personalizer
from adaface.pipelines.stack import Stack, write_manifest
from compare import farthest
from tiny import MASK, PHOTO, PROMPT


@pytest.fixture(scope="module")
def controlled(personalizer, tmp_path_factory):
    """The tiny stack with a ControlNet, and the ControlNet's folder."""
    folder = tmp_path_factory.mktemp("controlnet")
    tiny.controlnet(personalizer.pipe.unet).save_pretrained(folder)
    own = Personalizer(
        personalizer.pipe, personalizer.encoder, personalizer.id_prompter,
        settings=personalizer.settings, controlnet=folder,
    )  # fmt: skip
    return own, folder


def test_a_control_image_leads_the_picture(controlled, person):
    own, _ = controlled
    one, other, off, plain = (
        own.generate(PROMPT, person, num_images=1, **given)
        for given in (
            {"control_image": PHOTO},
            {"control_image": 255 - PHOTO},
            {"control_image": PHOTO, "control_scale": 0},
            {},
        )
    )
    assert farthest(one, other) > 0
    assert farthest(off, plain) == 0
    assert one.settings.control_scale == 1.0


def test_start_picture_mask_and_control_image_go_together(controlled, person):
    own, _ = controlled
    given = {"init_image": PHOTO, "mask": MASK, "control_image": PHOTO, "num_images": 2}
    made = own.generate(PROMPT, person, **given)
    assert all((np.asarray(image)[MASK == 0] == PHOTO[MASK == 0]).all() for image in made.images)
    assert farthest(made, own.generate(PROMPT, person, **given, control_scale=0)) > 0
    assert made.sources.keys() == {"init_image", "mask", "control_image"}


def test_a_controlnet_is_opened_from_its_folder(tiny_stack, controlled, person):
    own, folder = controlled
    opened = Personalizer.from_pretrained(tiny_stack, device="cpu", verify=False, controlnet=folder)
    drawn = [one.generate(PROMPT, person, num_images=1, control_image=PHOTO) for one in (own, opened)]
    assert farthest(*drawn) == 0


def test_a_stack_may_have_a_controlnet_of_its_own(tiny_stack, controlled, person, tmp_path):
    copy = shutil.copytree(tiny_stack, tmp_path / "copy")
    shutil.copytree(controlled[1], copy / "controlnet")
    roles = {**Stack.load(copy).roles, "controlnet": Part("controlnet", licence="MIT")}
    settings = json.loads((copy / "stack.json").read_text())["settings"]
    write_manifest(copy, name="tiny", roles=roles, settings=settings)
    opened = Personalizer.from_pretrained(copy, device="cpu")
    drawn = [
        one.generate(PROMPT, person, num_images=1, control_image=PHOTO) for one in (controlled[0], opened)
    ]
    assert farthest(*drawn) == 0


def test_a_named_controlnet_is_a_part_like_the_others(tiny_stack, controlled):
    """So its licence counts, and a path that is not there is told."""
    own, folder = controlled
    with pytest.raises(LicenceError, match="controlnet"):
        Personalizer.from_pretrained(
            tiny_stack, device="cpu", verify=False, controlnet=folder, commercial_safe=True
        )
    with pytest.raises(MissingFileError, match="none: no such"):
        Personalizer.from_pretrained(tiny_stack, device="cpu", verify=False, controlnet=folder / "none")
    ready = Personalizer.from_pretrained(tiny_stack, device="cpu", verify=False, controlnet=own.controlnet)
    assert ready.controlnet is own.controlnet


def test_a_controlnet_for_another_base_is_refused(personalizer, person):
    from diffusers import UNet2DConditionModel

    other = UNet2DConditionModel(
        sample_size=8, in_channels=4, out_channels=4, block_out_channels=(32,), layers_per_block=1,
        norm_num_groups=8, down_block_types=("CrossAttnDownBlock2D",), up_block_types=("CrossAttnUpBlock2D",),
        cross_attention_dim=32, attention_head_dim=4,
    )  # fmt: skip
    own = Personalizer(
        personalizer.pipe, personalizer.encoder, personalizer.id_prompter, controlnet=tiny.controlnet(other)
    )
    with pytest.raises(
        StackError, match="another kind of base model: its in_channels is 4, the base's UNet has 16"
    ):
        own.generate(PROMPT, person, control_image=PHOTO)


def test_a_control_scale_out_of_range_is_told(controlled, person):
    with pytest.raises(ConfigError, match="control_scale=3: give a number from 0"):
        controlled[0].generate(PROMPT, person, control_image=PHOTO, control_scale=3)


def test_a_controlnet_that_is_none_is_told(tmp_path, tiny_stack, controlled):
    with pytest.raises(MissingFileError, match="none: no such folder. --controlnet takes a diffusers folder"):
        check_controlnet(tmp_path / "none")
    (tmp_path / "net.pth").write_bytes(b"x")
    with pytest.raises(FormatError, match="net.pth: a file.*from_single_file"):
        check_controlnet(tmp_path / "net.pth")
    with pytest.raises(MissingFileError, match="neither model_index.json nor config.json in it"):
        check_controlnet(tmp_path)
    with pytest.raises(WrongModelError, match="unet: a UNet alone; expected here: a ControlNet"):
        check_controlnet(tiny_stack / "base" / "unet")
    (tmp_path / "config.json").write_text('{"_class_name": "ControlNetModel"}')
    with pytest.raises(MissingFileError, match="diffusion_pytorch_model.safetensors: no such file"):
        check_controlnet(tmp_path)


def test_a_controlnet_of_half_precision_files_alone_is_opened(tmp_path, controlled):
    own, _ = controlled
    own.controlnet.save_pretrained(tmp_path, variant="fp16")
    assert [file.name for file in tmp_path.glob("*.safetensors")] == [
        "diffusion_pytorch_model.fp16.safetensors"
    ]
    opened = load_controlnet(tmp_path, torch.device("cpu"), torch.float32)
    assert all(map(torch.equal, opened.parameters(), own.controlnet.parameters()))


def test_a_controlnet_whose_weights_are_broken_is_told(tmp_path, controlled, personalizer, person):
    broken = shutil.copytree(controlled[1], tmp_path / "broken")
    (broken / "diffusion_pytorch_model.safetensors").write_bytes(
        b"version https://git-lfs.github.com/spec/v1"
    )
    own = Personalizer(personalizer.pipe, personalizer.encoder, personalizer.id_prompter, controlnet=broken)
    with pytest.raises(FormatError, match="broken: diffusers cannot open this ControlNet .*Copy it again"):
        own.generate(PROMPT, person, control_image=PHOTO)
