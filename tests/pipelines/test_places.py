"""Models named by the caller: a base as folder, file or repository, other encoders, licences, families."""

import json
import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from adaface.errors import (
    ConfigError,
    DamagedFileError,
    FormatError,
    HubError,
    LicenceError,
    MissingExtra,
    MissingFileError,
    StackError,
    WrongModelError,
    WrongRecognizerError,
)
from adaface.pipelines.devices import Memory
from adaface.pipelines.embedder import Embedder
from adaface.pipelines.manifest import Part
from adaface.pipelines.personalizer import Personalizer
from adaface.pipelines.recognition import check_recognizer, recognizer_file
from adaface.pipelines.stack import Stack, write_manifest
from tiny import PROMPT


@pytest.fixture
def copy(tiny_stack, tmp_path):
    """A copy of the tiny stack that a test may change."""
    return shutil.copytree(tiny_stack, tmp_path / "copy")


def edit(path, **values):
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def weights_of(module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in module.parameters()])


@pytest.fixture
def other(tiny_stack, tmp_path):
    """Another base of the same family: the tiny one with all weights halved."""
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(tiny_stack / "base", tmp_path / "other")
    for path in folder.rglob("*.safetensors"):
        save_file({k: v / 2 for k, v in load_file(path).items()}, path, metadata={"format": "pt"})
    return folder


def test_a_base_of_ones_own_is_opened_with_the_stacks_encoder(tiny_stack, other, personalizer):
    made = Personalizer.from_pretrained(tiny_stack, base=other, device="cpu")
    assert torch.equal(weights_of(made.pipe.unet), weights_of(personalizer.pipe.unet) / 2)
    assert torch.equal(weights_of(made.encoder), weights_of(personalizer.encoder))


@pytest.mark.parametrize(("role", "part"), [("text_encoder", "text_encoder"), ("vae", "vae")])
def test_a_part_of_its_own_takes_the_place_of_the_bases(tiny_stack, other, personalizer, role, part):
    made = Personalizer.from_pretrained(tiny_stack, device="cpu", **{role: other / part})
    for name in ("unet", "vae", "text_encoder"):
        factor = 0.5 if name == part else 1
        mine, theirs = getattr(made.pipe, name), getattr(personalizer.pipe, name)
        assert torch.equal(weights_of(mine), weights_of(theirs) * factor)


def test_a_base_brings_its_own_parts(tiny_stack):
    stack = Stack.load(tiny_stack).with_parts({"text_encoder": tiny_stack / "base" / "text_encoder"})
    assert "text_encoder" not in stack.with_parts({"base": tiny_stack / "base"}).roles


@pytest.mark.parametrize("role", ["base", "text_encoder", "vae", "encoder", "id_prompter", "recognizer"])
def test_a_path_that_is_not_there_is_never_asked_of_the_hub(tiny_stack, role, monkeypatch):
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", lambda *_, **__: pytest.fail("the hub was asked"))
    monkeypatch.setattr(
        "huggingface_hub.snapshot_download", lambda *_, **__: pytest.fail("the hub was asked")
    )
    with pytest.raises(MissingFileError, match=r"owner/name: no such file or folder.*write hub:owner/name"):
        Personalizer.from_pretrained(tiny_stack, device="cpu", **{role: "owner/name"})


def test_a_repository_that_is_not_here_is_told_offline(tiny_stack):
    with pytest.raises(HubError, match="hub:owner/name@v1: not on this machine, and the hub cannot be asked"):
        Personalizer.from_pretrained(tiny_stack, base="hub:owner/name@v1", device="cpu")


def test_a_copy_of_a_repository_in_the_folder_of_models_is_opened(tiny_stack, other, tmp_path, monkeypatch):
    monkeypatch.setenv("ADAFACE_MODELS", str(tmp_path / "models"))
    shutil.copytree(other, tmp_path / "models" / "owner" / "name")
    made = Personalizer.from_pretrained(tiny_stack, base="hub:owner/name", device="cpu")
    assert made.stack.part("base").hub == "owner/name"


def test_a_base_of_another_width_is_refused_before_its_weights_are_read(tiny_stack, other):
    edit(other / "unet" / "config.json", cross_attention_dim=768)
    (other / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(
        WrongModelError, match="reads text features 768 wide, but this encoder was trained for 128"
    ):
        Personalizer.from_pretrained(tiny_stack, base=other, device="cpu")


@pytest.mark.parametrize(
    ("index", "unet", "words"),
    [
        ({"text_encoder_2": ["transformers", "CLIPTextModelWithProjection"]}, {}, "Stable Diffusion XL"),
        ({}, {"cross_attention_dim": 1024, "use_linear_projection": True}, "Stable Diffusion 2.x"),
    ],
)
def test_a_base_of_another_family_is_named(tiny_stack, other, index, unet, words):
    edit(other / "model_index.json", **index)
    edit(other / "unet" / "config.json", **unet)
    with pytest.raises(WrongModelError, match=f"other: a {words}.*expected here: a Stable Diffusion 1.x"):
        Personalizer.from_pretrained(tiny_stack, base=other, device="cpu")


def test_a_recogniser_that_is_not_the_encoders_is_refused_when_the_stack_is_opened(copy):
    edit(copy / "encoder" / "config.json", recognizer="arcface-12345678")
    with pytest.raises(
        WrongRecognizerError, match=r'"arcface-12345678", but these are of "sface".*glintr100'
    ):
        Embedder.from_pretrained(copy, device="cpu", verify=False)


def test_recognisers_are_one_by_the_content_of_their_files():
    check_recognizer("arcface-12345678", "my-copy-12345678")
    with pytest.raises(WrongRecognizerError):
        check_recognizer("arcface-12345678", "arcface-12345679")


def test_a_folder_of_face_models_is_searched_for_arc2faces_file(tmp_path):
    inside = tmp_path / "antelopev2" / "antelopev2"
    inside.mkdir(parents=True)
    for name in ("glintr100.onnx", "scrfd_10g_bnkps.onnx"):
        (inside / name).touch()
    with pytest.raises(
        MissingFileError, match=r"holds antelopev2/antelopev2/glintr100.onnx, .*for Arc2Face: arcface.onnx"
    ):
        recognizer_file(tmp_path)
    (inside / "arcface.onnx").touch()
    assert recognizer_file(tmp_path) == inside / "arcface.onnx"


def test_a_checkpoint_of_the_authors_is_no_encoder_yet(tiny_stack, tmp_path):
    (tmp_path / "ada.pt").touch()
    with pytest.raises(FormatError, match=r"run: adaface convert .*ada.pt FOLDER"):
        Personalizer.from_pretrained(tiny_stack, encoder=tmp_path / "ada.pt")


def test_a_folder_of_the_same_name_that_is_no_stack_does_not_hide_one(tiny_stack, tmp_path, monkeypatch):
    monkeypatch.setenv("ADAFACE_MODELS", str(tmp_path / "models"))
    shutil.copytree(tiny_stack, tmp_path / "models" / "mine")
    (tmp_path / "here" / "mine").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    assert Stack.load("mine").folder == (tmp_path / "models" / "mine").resolve()


# --- licences


def test_the_mini_stack_is_refused_for_commercial_use():
    with pytest.raises(LicenceError, match=r"base: research only: see LICENSE-WEIGHTS \(forbids it\)"):
        Personalizer.from_pretrained("mini", commercial_safe=True)


def test_a_stack_of_free_weights_passes(tiny_stack):
    assert Embedder.from_pretrained(tiny_stack, device="cpu", commercial_safe=True)


@pytest.mark.parametrize(("licence", "passes"), [("MIT", True), ("research only", False), ("unknown", False)])
def test_an_encoder_of_ones_own_has_the_licence_that_its_folder_says(tiny_stack, tmp_path, licence, passes):
    own = shutil.copytree(tiny_stack / "encoder", tmp_path / "own")
    edit(own / "config.json", licence=licence)
    stack = Stack.load(tiny_stack).with_parts({"encoder": own})
    if passes:
        stack.require_commercial("encoder")
        return
    with pytest.raises(LicenceError, match=f"encoder: {licence}"):
        stack.require_commercial("encoder")


def test_a_base_whose_licence_nobody_knows_is_refused_for_commercial_use(tiny_stack, other):
    with pytest.raises(
        LicenceError, match=r"base: unknown \(not known to allow it\).*write it into the stack's"
    ):
        Personalizer.from_pretrained(tiny_stack, base=other, device="cpu", commercial_safe=True)


def test_a_part_of_the_hub_whose_licence_cannot_be_asked_for_is_refused_for_commercial_use(tiny_stack):
    stack = Stack.load(tiny_stack).with_parts({"vae": "hub:owner/vae"})
    with pytest.raises(LicenceError, match=r"vae: could not be asked for \(.*\) \(not known to allow it\)"):
        stack.require_commercial("vae")


def test_people_whose_files_forbid_commercial_use_are_not_drawn_for_it(personalizer, person):
    safe = Personalizer(
        personalizer.pipe, personalizer.encoder, personalizer.id_prompter, commercial_safe=True
    )
    research = replace(person, provenance={**person.provenance, "licence": "research only"})
    with pytest.raises(LicenceError, match=r"person: research only \(forbids it\)"):
        safe.generate(PROMPT, research)
    free = replace(person, provenance={**person.provenance, "licence": "MIT"})
    assert len(safe.generate(PROMPT, free, num_images=1, steps=1)) == 1


# --- the manifest


def test_separate_parts_and_parts_of_the_hub_are_written_and_read(copy):
    stack = Stack.load(copy)
    hub = Part("unet", hub="owner/name", revision="abc", licence="mit", origin="hub:owner/name@abc")
    roles = {**stack.roles, "vae": Part("base/vae", licence="MIT"), "teacher": hub}
    write_manifest(copy, name="tiny", roles=roles, settings={})
    again = Stack.load(copy)
    assert again.part("teacher").hub == "owner/name"
    assert again.part("teacher").revision == "abc"
    assert json.loads((copy / "stack.json").read_text())["version"] == 2
    assert not any(name.startswith("vae/") for name in again.part("base").files)
    assert "config.json" in again.part("vae").files


def test_a_part_of_the_hub_that_is_not_here_is_missing_not_fetched_by_a_check(copy):
    edited = json.loads((copy / "stack.json").read_text())
    entry = edited["roles"]["teacher"]
    edited["roles"]["teacher"] = {**entry, "hub": "owner/name", "revision": "abc"}
    edit(copy / "stack.json", roles=edited["roles"], version=2)
    assert {check.found for check in Stack.load(copy).check_files("teacher")} == {None}


def test_a_role_with_two_homes_is_refused(copy):
    edited = json.loads((copy / "stack.json").read_text())
    edited["roles"]["recognizer"]["hub"] = "owner/name"
    edit(copy / "stack.json", roles=edited["roles"])
    with pytest.raises(StackError, match='needs a "path", a "hub" or a "builtin"'):
        Stack.load(copy)


# --- how memory is saved


def test_slicing_and_tiling_draw_the_same_pictures(tiny_stack, personalizer, person):
    saving = Personalizer.from_pretrained(tiny_stack, device="cpu", slicing=True, tiling=True)
    assert saving.pipe.vae.use_slicing
    assert saving.pipe.vae.use_tiling
    first, second = (
        np.stack([np.asarray(i, np.int16) for i in p.generate(PROMPT, person, num_images=2, steps=1).images])
        for p in (saving, personalizer)
    )
    assert np.abs(first - second).max() <= 1


def test_an_offload_that_is_none_is_told(tiny_stack):
    with pytest.raises(ConfigError, match="offload=disk: give model or sequential"):
        Personalizer.from_pretrained(tiny_stack, offload="disk")
    with pytest.raises(ConfigError, match="offload=model: the models are on the CPU already"):
        Personalizer.from_pretrained(tiny_stack, device="cpu", offload="model")


@pytest.mark.parametrize(("name", "dtype"), [("bf16", torch.bfloat16), ("fp32", torch.float32)])
def test_a_dtype_has_a_short_name(tiny_stack, name, dtype):
    made = Personalizer.from_pretrained(tiny_stack, device="cpu", dtype=name)
    assert made.pipe.unet.dtype == made.pipe.text_encoder.dtype == dtype


def test_half_precision_on_mps_becomes_float32_and_is_told(caplog):
    from adaface.pipelines.devices import choose_dtype

    assert choose_dtype("fp16", torch.device("mps")) == torch.float32
    assert "black pictures on MPS" in caplog.text
    assert choose_dtype("bf16", torch.device("mps")) == torch.bfloat16
    assert choose_dtype(None, torch.device("cuda")) == torch.float16


def test_offloading_needs_a_package_and_names_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "accelerate", None)  # as if it were not installed
    with pytest.raises(MissingExtra, match=r"accelerate is not installed.*adaface\[offload\]"):
        Memory("model", device=torch.device("cuda"))


@pytest.mark.parametrize("kind", ["model", "sequential"])
def test_offloaded_models_visit_the_device_in_each_call(tiny_stack, kind, monkeypatch):
    """accelerate's part is diffusers' own; that it is asked for, with the device, is ours."""
    from adaface.pipelines.base import BaseParts, StableDiffusionPipeline, load_base, own_pipeline

    asked = []
    name = f"enable_{kind}_cpu_offload"
    monkeypatch.setattr(StableDiffusionPipeline, name, lambda self, device: asked.append(device))
    pipe = load_base(BaseParts(tiny_stack / "base"), torch.device("cpu"), torch.bfloat16)
    memory = Memory(kind, device=torch.device("cuda:1"))
    memory.settle(pipe)
    own_pipeline(pipe, memory=memory)
    assert asked == [torch.device("cuda:1")]
    assert memory.home == torch.device("cpu")
    assert pipe.text_encoder.dtype == torch.float32
    assert pipe.unet.dtype == torch.bfloat16


# --- one LDM file


@pytest.fixture
def tiny_sd15(base_folder, monkeypatch):
    """The shapes of the tiny stack in the place of SD-1.5's."""
    import adaface.checkpoints.ldm
    import adaface.pipelines.base

    for module in (adaface.checkpoints.ldm, adaface.pipelines.base):
        monkeypatch.setattr(module, "SD15", base_folder)


def test_a_base_may_be_one_ldm_file(tiny_stack, ldm_file, tiny_sd15, personalizer, person):
    made = Personalizer.from_pretrained(tiny_stack, base=ldm_file, device="cpu")
    first = made.generate(PROMPT, person, num_images=1, steps=1)
    second = personalizer.generate(PROMPT, person, num_images=1, steps=1)
    assert np.array_equal(np.asarray(first.images[0]), np.asarray(second.images[0]))


def test_a_file_of_sd15s_sizes_is_refused_for_an_encoder_of_others_before_it_is_read(tiny_stack, ldm_file):
    with pytest.raises(
        WrongModelError, match=r"features 768 wide, but this encoder was trained for 128.*adaface setup sd15"
    ):
        Personalizer.from_pretrained(tiny_stack, base=ldm_file, device="cpu")
    vae = tiny_stack / "base" / "vae" / "diffusion_pytorch_model.safetensors"
    with pytest.raises(WrongModelError, match="a VAE; expected here: a Stable Diffusion 1.x checkpoint"):
        Personalizer.from_pretrained(tiny_stack, base=vae, device="cpu")


def test_a_text_encoder_of_another_width_is_refused_before_its_weights_are_read(tiny_stack, other):
    edit(other / "text_encoder" / "config.json", hidden_size=1024)
    (other / "text_encoder" / "model.safetensors").unlink()
    with pytest.raises(
        WrongModelError,
        match="text encoder makes text features 1024 wide, but this encoder was trained for 128",
    ):
        Personalizer.from_pretrained(tiny_stack, text_encoder=other / "text_encoder", device="cpu")


@pytest.mark.parametrize("option", ["vae", "text_encoder"])
def test_a_damaged_part_is_told_by_its_own_name(tiny_stack, other, option):
    (weights,) = (other / option).glob("*.safetensors")
    weights.write_bytes(b"<!doctype html><title>404</title>")
    with pytest.raises(DamagedFileError, match=rf"other/{option}/{weights.name}: a web page"):
        Personalizer.from_pretrained(tiny_stack, device="cpu", **{option: other / option})


@pytest.mark.parametrize("option", ["vae", "text_encoder"])
def test_a_part_may_be_taken_from_a_whole_folder(tiny_stack, other, personalizer, option):
    made = Personalizer.from_pretrained(tiny_stack, device="cpu", **{option: other})
    assert torch.equal(
        weights_of(getattr(made.pipe, option)), weights_of(getattr(personalizer.pipe, option)) / 2
    )
    assert torch.equal(weights_of(made.pipe.unet), weights_of(personalizer.pipe.unet))


def test_a_vae_may_be_one_file_too(tiny_stack, ldm_file, tiny_sd15, personalizer):
    made = Personalizer.from_pretrained(tiny_stack, vae=ldm_file, device="cpu")
    assert torch.equal(weights_of(made.pipe.vae), weights_of(personalizer.pipe.vae))


def test_one_ldm_file_has_the_shipped_tokenizer(tiny_stack, ldm_file):
    from adaface.text.folder import load_tokenizer

    stack = Stack.load(tiny_stack).with_parts({"base": ldm_file})
    assert load_tokenizer(stack.tokenizer_folder()).model_max_length == 77


# --- the safety checker


def test_a_base_with_a_safety_checker_keeps_it_unless_it_is_switched_off(tiny_stack, tmp_path):
    from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
    from transformers import CLIPConfig, CLIPImageProcessor

    base = shutil.copytree(tiny_stack / "base", tmp_path / "guarded")
    vision = dict(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2,
                  image_size=8, patch_size=4)  # fmt: skip
    config = CLIPConfig(vision_config=vision, projection_dim=8)
    StableDiffusionSafetyChecker(config).save_pretrained(base / "safety_checker")
    CLIPImageProcessor().save_pretrained(base / "feature_extractor")
    edit(
        base / "model_index.json",
        safety_checker=["stable_diffusion", "StableDiffusionSafetyChecker"],
        feature_extractor=["transformers", "CLIPImageProcessor"],
        requires_safety_checker=True,
    )
    guarded = Personalizer.from_pretrained(tiny_stack, base=base, device="cpu")
    assert isinstance(guarded.pipe.safety_checker, StableDiffusionSafetyChecker)
    free = Personalizer.from_pretrained(tiny_stack, base=base, device="cpu", safety_checker=False)
    assert free.pipe.safety_checker is None
