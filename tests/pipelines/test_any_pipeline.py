"""The same prompt embeddings go through stock diffusers pipelines, made of tiny random parts."""

import copy
import re
import runpy

import numpy as np
import pytest
import torch
from PIL import Image

import tiny
from adaface.pipelines.base import ddim
from adaface.pipelines.personalizer import Personalizer
from adaface.pipelines.quiet import quiet
from tiny import PROMPT

STEPS = 2
QUIET = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}


@pytest.fixture(scope="module")
def people(personalizer):
    """Prompt embeddings (1, T, D) of two people under one prompt."""
    rows = []
    for seed in (1, 2):
        one = personalizer.identity(id_embedding=tiny.unit_vector(seed))
        rows.append(personalizer.prompt_embeds(PROMPT, {"person": one.subject_embeds}).prompt_embeds)
    return rows


@pytest.fixture(scope="module")
def negative(personalizer):
    return personalizer.prompt_embeds("sepia", {}).prompt_embeds


@pytest.fixture(scope="module")
def parts(personalizer):
    """The tiny stack's models, for a stock pipeline that is given prompt embeddings."""
    pipe = personalizer.pipe
    return {"vae": pipe.vae, "unet": pipe.unet, "scheduler": ddim(pipe.scheduler), **QUIET}


@pytest.fixture(scope="module")
def four_channels():
    """Models with latents of 4 channels, as SD-1.5 has: what stock inpainting and AnimateDiff want."""
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel

    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=16, in_channels=4, out_channels=4, block_out_channels=(32, 64), layers_per_block=1,
        norm_num_groups=8, down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"), cross_attention_dim=tiny.WIDTH,
        attention_head_dim=4,
    )  # fmt: skip
    vae = AutoencoderKL(
        block_out_channels=(8, 8), latent_channels=4, norm_num_groups=4, sample_size=32,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
    )  # fmt: skip
    scheduler = DDIMScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, clip_sample=False, steps_offset=1
    )
    return {"vae": vae.eval(), "unet": unet.eval(), "scheduler": scheduler, **QUIET}


@pytest.fixture(scope="module")
def photo():
    """A start picture, 64 x 64."""
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))


def opened(kind, parts, **more):
    """A stock pipeline that has no text encoder at all."""
    with quiet():
        pipe = kind(**parts, text_encoder=None, tokenizer=None, **more)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def pixels(pipe, rows, negative, **more) -> np.ndarray:
    """What a stock pipeline draws of prompt embeddings, from seed 0."""
    guided = {"guidance_scale": 2.0, "negative_prompt_embeds": negative}
    generator = torch.Generator().manual_seed(0)
    made = pipe(
        prompt_embeds=rows, generator=generator, num_inference_steps=STEPS, **{**guided, **more}
    )  # fmt: skip
    frames = made.images if hasattr(made, "images") else made.frames[0]
    return np.stack([np.asarray(image, np.int16) for image in frames])


def assert_it_draws_the_person(pipe, people, negative, **more) -> np.ndarray:
    """Equal embeddings draw equal pictures, those of another person other ones."""
    one, again, other = (pixels(pipe, rows, negative, **more) for rows in (people[0], *people))
    assert (one == again).all()
    assert (one != other).any()
    return one


def test_text_to_image(parts, people, negative, personalizer):
    from diffusers import StableDiffusionPipeline

    pipe = opened(StableDiffusionPipeline, parts)
    drawn = assert_it_draws_the_person(pipe, people, negative)
    person = personalizer.identity(id_embedding=tiny.unit_vector(1))
    ours = personalizer.generate(
        PROMPT, person, num_images=1, steps=STEPS, guidance_scale=2.0, negative_prompt="sepia"
    )
    assert (np.asarray(ours.images[0]) == drawn[0]).all()


def test_image_to_image(parts, people, negative, personalizer, photo):
    from diffusers import StableDiffusionImg2ImgPipeline

    pipe = opened(StableDiffusionImg2ImgPipeline, parts)
    drawn = assert_it_draws_the_person(pipe, people, negative, image=photo, strength=0.5)
    person = personalizer.identity(id_embedding=tiny.unit_vector(1))
    ours = personalizer.generate(
        PROMPT, person, num_images=1, steps=STEPS, guidance_scale=2.0, negative_prompt="sepia",
        init_image=photo, strength=0.5,
    )  # fmt: skip
    assert (np.asarray(ours.images[0]) == drawn[0]).all()


def test_inpainting(four_channels, people, negative, photo):
    from diffusers import StableDiffusionInpaintPipeline

    pipe = opened(StableDiffusionInpaintPipeline, four_channels)
    mask = np.zeros((32, 32), np.uint8)
    mask[16:] = 255
    assert_it_draws_the_person(
        pipe, people, negative, image=photo.resize((32, 32)), mask_image=Image.fromarray(mask),
        height=32, width=32,
    )  # fmt: skip


def test_controlnet(parts, people, negative, photo):
    from diffusers import ControlNetModel, StableDiffusionControlNetPipeline

    pipe = opened(StableDiffusionControlNetPipeline, parts, controlnet=tiny.controlnet(parts["unet"]))
    assert isinstance(pipe.controlnet, ControlNetModel)
    drawn = assert_it_draws_the_person(pipe, people, negative, image=photo)
    assert (pixels(pipe, people[0], negative, image=photo.rotate(180)) != drawn).any()


def test_a_lora_that_diffusers_loads(parts, people, negative, personalizer):
    pytest.importorskip("peft", reason="diffusers loads LoRAs through peft only, and that is not installed")
    from diffusers import StableDiffusionPipeline

    pipe = opened(StableDiffusionPipeline, {**parts, "unet": copy.deepcopy(parts["unet"])})
    plain = pixels(pipe, people[0], negative)
    pipe.load_lora_weights(
        {f"unet.{name}.lora_{half}.weight": rows for name, halves in lora(pipe.unet).items()
         for half, rows in zip("AB", halves, strict=True)}
    )  # fmt: skip
    drawn = assert_it_draws_the_person(pipe, people, negative)
    assert (drawn != plain).any()
    assert (by_generate(personalizer, pipe.unet) == drawn[0]).all()
    pipe.unload_lora_weights()
    assert (pixels(pipe, people[0], negative) == plain).all()


def test_a_lora_that_is_merged_into_the_weights(parts, people, negative, personalizer):
    """What is left without peft: diffusers itself has no way to a LoRA then, so it is added by hand."""
    from diffusers import StableDiffusionPipeline

    unet = copy.deepcopy(parts["unet"])
    weights = unet.state_dict()
    for name, (down, up) in lora(unet).items():
        weights[f"{name}.weight"] += up @ down
    pipe = opened(StableDiffusionPipeline, {**parts, "unet": unet})
    merged = assert_it_draws_the_person(pipe, people, negative)
    assert (by_generate(personalizer, unet) == merged[0]).all()
    assert (merged != pixels(opened(StableDiffusionPipeline, parts), people[0], negative)).any()


def test_an_lcm_scheduler(parts, people, negative):
    from diffusers import LCMScheduler, StableDiffusionPipeline

    scheduler = LCMScheduler.from_config(parts["scheduler"].config)
    pipe = opened(StableDiffusionPipeline, {**parts, "scheduler": scheduler})
    assert_it_draws_the_person(pipe, people, None, guidance_scale=1.0)


def test_animatediff(four_channels, people, negative):
    from diffusers import AnimateDiffPipeline, MotionAdapter

    torch.manual_seed(1)
    adapter = MotionAdapter(
        block_out_channels=(32, 64), motion_layers_per_block=1, motion_norm_num_groups=8,
        motion_num_attention_heads=4, motion_max_seq_length=4,
    )  # fmt: skip
    named = {key: four_channels[key] for key in ("vae", "unet", "scheduler")}
    pipe = opened(AnimateDiffPipeline, named, motion_adapter=adapter)
    frames = assert_it_draws_the_person(pipe, people, negative, num_frames=3, height=32, width=32)
    assert frames.shape == (3, 32, 32, 3)


def by_generate(personalizer, unet) -> np.ndarray:
    """What `generate` draws of the first of the people with another UNet in the stack's pipeline."""
    from diffusers import StableDiffusionPipeline

    with quiet():
        pipe = StableDiffusionPipeline(
            **{**personalizer.pipe.components, "unet": unet}, requires_safety_checker=False
        )
    own = Personalizer(pipe, personalizer.encoder, personalizer.id_prompter, settings=personalizer.settings)
    person = personalizer.identity(id_embedding=tiny.unit_vector(1))
    made = own.generate(
        PROMPT, person, num_images=1, steps=STEPS, guidance_scale=2.0, negative_prompt="sepia"
    )
    return np.asarray(made.images[0])


def lora(unet, rank: int = 2):
    """A hand-made LoRA of the keys that read the prompt: name -> down (rank, in), up (out, rank)."""
    generator = torch.Generator().manual_seed(0)
    shapes = {
        name: module.weight.shape for name, module in unet.named_modules() if name.endswith("attn2.to_k")
    }
    return {
        name: (torch.randn(rank, into, generator=generator), torch.randn(out, rank, generator=generator))
        for name, (out, into) in shapes.items()
    }


def test_the_pages_example_runs(repo, tiny_stack, astronaut, tmp_path, monkeypatch):
    page = (repo / "docs" / "any-pipeline.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    monkeypatch.chdir(tmp_path)
    for name in ("alice", "scene"):
        Image.fromarray(astronaut).save(f"{name}.jpg")
    names: dict = {}
    with quiet():
        exec(code.replace('"mini"', repr(str(tiny_stack))), names)
    assert names["picture"].size == (64, 64)


def test_the_pages_picture_is_drawn_by_the_script_that_it_names(repo, tiny_stack, tmp_path, monkeypatch):
    pytest.importorskip("skimage")
    command = "scripts/any_pipeline_pictures.py"
    assert f"`python {command}`" in (repo / "docs" / "any-pipeline.md").read_text(encoding="utf-8")
    strip = tmp_path / "strip.png"
    monkeypatch.setattr("sys.argv", [command, "--stack", str(tiny_stack), "--out", str(strip)])
    runpy.run_path(str(repo / command), run_name="__main__")
    with Image.open(strip) as image:
        assert image.width > image.height / 2
