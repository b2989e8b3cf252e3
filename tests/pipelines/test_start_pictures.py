"""`generate` from a start picture, under a mask, along a control image, on a stack of random tiny models."""

import hashlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image

from adaface.errors import (
    ConfigError,
    ImageError,
    MissingFileError,
)
from adaface.pipelines import drawing
from adaface.pipelines.canvas.pictures import open_canvas
from adaface.pipelines.guidance import linear_guidance
from adaface.pipelines.personalizer import Personalizer
from compare import farthest, pixels
from tiny import MASK, PHOTO, PROMPT

WIDE = np.tile(PHOTO, (1, 2, 1))
EDGE = np.zeros((64, 128), np.uint8)
EDGE[:, :20] = 255


@pytest.fixture
def draw(personalizer, person):
    def made(**options):
        return personalizer.generate(PROMPT, person, **{"num_images": 1, **options})

    return made


# --- a start picture


def test_the_start_picture_counts_and_at_full_strength_nothing_of_it_is_left(draw):
    """The tiny stack's noise schedule ends in noise alone, as the mini stack's does."""
    some, full = ([draw(init_image=image, strength=s) for image in (PHOTO, 255 - PHOTO)] for s in (0.5, 1.0))
    assert farthest(*some) > 0
    assert farthest(*full) == 0


def test_with_the_shipped_stack_less_strength_stays_nearer_to_the_start_picture(astronaut):
    try:
        mini = Personalizer.from_pretrained("mini", device="cpu", verify=False)
    except MissingFileError:
        pytest.skip("no mini stack in this checkout")
    start = Image.fromarray(astronaut[:256, 96:352]).resize((64, 64), Image.Resampling.LANCZOS)
    person = mini.identity(astronaut)
    far = [
        np.abs(
            pixels(
                mini.generate(PROMPT, person, num_images=1, init_image=start, strength=strength, steps=10)
            )[0]
            - np.asarray(start, np.int16)
        ).mean()
        for strength in (0.1, 0.9)
    ]
    assert far[0] < 0.75 * far[1]


def test_steps_are_told_as_they_are_done(draw):
    told = []
    draw(
        init_image=PHOTO, strength=0.5, steps=6, num_images=2, batch_size=1, on_step=lambda *a: told.append(a)
    )
    assert told == [(k, 6) for k in range(1, 7)]


def test_guidance_goes_from_first_to_last_over_the_steps_that_are_done(personalizer, person, monkeypatch):
    scales = []

    def watched(scale, on_step=None):
        after = linear_guidance(scale, on_step)

        def callback(pipe, *given):
            scales.append(pipe._guidance_scale)
            return after(pipe, *given)

        return callback

    monkeypatch.setattr(drawing, "linear_guidance", watched)
    personalizer.generate(
        PROMPT, person, num_images=1, init_image=PHOTO, strength=0.5, steps=6, guidance_scale=(5, 3)
    )
    assert scales == [5, 4, 3]


def test_the_usual_strength_is_that_of_the_original_and_all_of_it_under_a_mask(draw):
    assert draw(init_image=PHOTO).settings.strength == 0.8
    assert draw(init_image=PHOTO, mask=MASK, steps=1).settings.strength == 1.0
    assert draw(steps=1).settings.strength is None


def test_neither_the_batch_size_nor_the_thread_changes_a_picture(draw):
    options = {"init_image": PHOTO, "mask": MASK, "strength": 0.8, "num_images": 3}
    alone, together = draw(**options, batch_size=1), draw(**options, batch_size=3)
    assert farthest(alone, together) <= 1
    with ThreadPoolExecutor(3) as pool:
        masked, plain, started = (
            pool.submit(draw, **given) for given in (options, {}, {"init_image": PHOTO, "strength": 0.8})
        )
    assert farthest(masked.result(), draw(**options)) == 0
    assert farthest(plain.result(), draw()) == 0
    assert farthest(started.result(), draw(init_image=PHOTO, strength=0.8)) == 0


def test_picture_k_has_the_seed_plus_k(draw):
    many, third = draw(init_image=PHOTO, num_images=3, seed=5), draw(init_image=PHOTO, seed=7)
    assert np.abs(pixels(many)[2] - pixels(third)[0]).max() <= 1


def test_a_picture_of_another_shape_is_cut_in_the_middle_and_that_is_told(draw):
    wide = np.zeros((64, 128, 3), np.uint8)
    wide[:, 32:96] = PHOTO
    made = draw(init_image=wide, strength=0.5)
    assert made.notes == (
        "init_image: 128x64 cut in the middle to the shape of 64x64. Give height and width of its own shape "
        "to keep it whole",
    )
    assert farthest(made, draw(init_image=PHOTO, strength=0.5)) <= 1


def test_height_and_width_are_those_of_the_start_picture_if_asked_for(draw):
    wide = np.zeros((64, 128, 3), np.uint8)
    made = draw(init_image=wide, strength=0.5, height=64, width=128)
    assert made.images[0].size == (128, 64)
    assert made.notes == ()


def test_transparent_places_of_a_start_picture_are_laid_on_grey_and_that_is_told(draw):
    clear = np.dstack([PHOTO, MASK])
    made = draw(init_image=clear, strength=0.5)
    assert made.notes == (
        "init_image: its transparent places are laid on grey. Lay them on the colour that you mean",
    )
    assert draw(init_image=np.dstack([PHOTO, MASK * 0 + 255]), strength=0.5).notes == ()


def test_a_mask_with_a_full_alpha_channel_is_a_mask(draw):
    full = np.dstack([MASK, MASK, MASK, MASK * 0 + 255])
    assert farthest(draw(init_image=PHOTO, mask=full), draw(init_image=PHOTO, mask=MASK)) == 0


def test_white_near_an_edge_counts_if_nothing_is_cut_off(draw):
    made = draw(init_image=WIDE, mask=EDGE, height=64, width=128)
    assert (pixels(made)[0][:, 20:] == WIDE[:, 20:]).all()
    assert (pixels(made)[0][:, :20] != WIDE[:, :20]).any()


def test_the_records_name_the_sources_by_their_pixels(draw):
    made = draw(init_image=PHOTO, strength=0.5, steps=2)
    record = next(made.records())
    assert record["sources"] == {"init_image": hashlib.sha256(PHOTO.tobytes()).hexdigest()}
    assert record["settings"]["strength"] == 0.5
    assert "sources" not in next(draw(steps=1).records())


# --- a mask


def test_pixels_outside_the_mask_stay_bit_by_bit_and_the_others_change(draw):
    made = pixels(draw(init_image=PHOTO, mask=MASK))[0]
    assert (made[MASK == 0] == PHOTO[MASK == 0]).all()
    assert (made[MASK > 0] != PHOTO[MASK > 0]).mean() > 0.5


def test_what_is_drawn_knows_what_stays(draw):
    """The kept half reaches the other one through the latents: with another half, another drawing."""
    other = PHOTO.copy()
    other[:, :40] = 255 - other[:, :40]
    a, b = (pixels(draw(init_image=image, mask=MASK))[0][MASK > 0] for image in (PHOTO, other))
    assert (a != b).any()


def test_grey_of_a_mask_mixes_and_nearly_black_counts_as_black(draw):
    grey, dusty = np.where(MASK > 0, 128, 0).astype(np.uint8), np.maximum(MASK, 7)
    full, half, dust = (pixels(draw(init_image=PHOTO, mask=mask))[0] for mask in (MASK, grey, dusty))
    assert (dust == full).all()
    mixed = (full * (128 / 255) + PHOTO * (127 / 255))[MASK > 0]
    assert np.abs(half[MASK > 0] - mixed).max() <= 1


def test_a_whole_mask_is_a_start_picture_alone(draw):
    white = np.full((64, 64), 255, np.uint8)
    given = {"init_image": PHOTO, "strength": 0.8}
    assert farthest(draw(**given, mask=white), draw(**given)) == 0


def test_a_mask_may_have_another_size_but_not_another_shape(draw):
    large = np.asarray(Image.fromarray(MASK).resize((256, 256), Image.Resampling.NEAREST))
    a, b = (draw(init_image=PHOTO, mask=mask) for mask in (MASK, large))
    assert farthest(a, b) == 0
    with pytest.raises(
        ConfigError, match="mask mask is 64x32, but the init image 64x64.*Give both in one shape"
    ):
        draw(init_image=PHOTO, mask=MASK[:32])


def raising(error):
    def fail(*_):
        raise error

    return fail


@pytest.mark.parametrize(
    "fail",
    [
        lambda *_: torch.empty(2**47),  # more than any machine has
        raising(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")),
        raising(RuntimeError("MPS backend out of memory (MPS allocated: 9.07 GB)")),
    ],
)
def test_too_little_memory_is_told_on_any_device(fail, draw, monkeypatch):
    monkeypatch.setattr(drawing, "encode", fail)
    with pytest.raises(ConfigError, match="not enough memory for 1 pictures.*Give a smaller batch size"):
        draw(init_image=PHOTO, mask=MASK)


def test_another_failure_of_torch_is_not_taken_for_too_little_memory(draw, monkeypatch):
    monkeypatch.setattr(drawing, "encode", raising(RuntimeError("sizes do not match")))
    with pytest.raises(RuntimeError, match="sizes do not match"):
        draw(init_image=PHOTO, mask=MASK)


def test_what_a_safety_checker_blacks_out_stays_black(personalizer, person, monkeypatch):
    from diffusers import StableDiffusionImg2ImgPipeline

    def black(self, image, *_):
        return torch.zeros_like(image), [True] * len(image)

    monkeypatch.setattr(StableDiffusionImg2ImgPipeline, "run_safety_checker", black)
    made = personalizer.generate(PROMPT, person, num_images=1, init_image=PHOTO, mask=MASK)
    assert not pixels(made).any()
    assert "picture 1 was blacked out by the base model's safety checker" in made.notes


def test_the_noise_of_the_kept_places_is_the_pipelines_own(personalizer):
    """Before the first step, the kept latents lie on the way that they are held to afterwards."""
    from adaface.pipelines.canvas.masking import encode, noise_of

    latents = encode(personalizer.pipe, PHOTO)
    generator = torch.Generator().manual_seed(3)
    with torch.inference_mode():
        image = torch.from_numpy(PHOTO).permute(2, 0, 1)[None] / 127.5 - 1
        personalizer.pipe.vae.encode(image).latent_dist.sample(generator)
    drawn = torch.randn(latents.shape, generator=generator)
    assert torch.equal(noise_of([3], latents), drawn)


# --- mistakes


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mask": MASK}, "mask without init_image: there is no picture to start from"),
        ({"strength": 0.5}, "strength without init_image"),
        ({"control_scale": 1}, "control_scale without control_image"),
        ({"control_image": PHOTO}, "control_image needs a ControlNet.*--controlnet PATH.*role .controlnet"),
        ({"init_image": PHOTO, "strength": 0}, "strength=0: give a number above 0"),
        ({"init_image": PHOTO, "strength": 1.1}, "strength=1.1"),
        ({"init_image": PHOTO, "strength": float("nan")}, "strength=nan"),
        ({"init_image": PHOTO, "strength": 0.2, "steps": 4}, "strength=0.2 of 4 steps is not one.*5 steps"),
        ({"init_image": PHOTO, "mask": MASK * 0}, "mask mask: all black.*White is drawn anew"),
        ({"init_image": PHOTO, "mask": np.dstack([MASK] * 4)}, "mask has transparent places.*Save it with"),
        ({"init_image": WIDE, "mask": EDGE}, "no white is left of it at 64x64.*or near an edge"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_told(draw, options, message):
    with pytest.raises(ConfigError, match=message):
        draw(**options)


def test_a_start_picture_that_cannot_be_read_is_told(draw, tmp_path):
    with pytest.raises(MissingFileError, match="none.png: no such file"):
        draw(init_image=tmp_path / "none.png")
    (tmp_path / "x.png").write_bytes(b"hello")
    with pytest.raises(ImageError, match="not a picture"):
        draw(init_image=PHOTO, mask=tmp_path / "x.png")


def test_a_base_for_inpainting_is_told_apart(personalizer, person, monkeypatch):
    """Its UNet takes latents, mask and masked latents at once, 9 channels."""
    import copy

    pipe = copy.copy(personalizer.pipe)
    unet = copy.copy(pipe.unet)
    unet._internal_dict = type(unet.config)({**unet.config, "in_channels": 9})
    monkeypatch.setattr(pipe, "unet", unet)
    own = Personalizer(pipe, personalizer.encoder, personalizer.id_prompter)
    with pytest.raises(
        ConfigError, match="takes 9 channels, its autoencoder makes 16: a base for inpainting"
    ):
        own.generate(PROMPT, person, num_images=1)


def test_a_large_picture_is_read_from_a_file_as_from_memory(tmp_path):
    Image.fromarray(PHOTO).resize((640, 640)).save(tmp_path / "a.png")
    a = open_canvas((64, 64), tmp_path / "a.png")
    b = open_canvas((64, 64), Image.open(tmp_path / "a.png"))
    assert (a.init == b.init).all()
    assert a.init.shape == (64, 64, 3)
