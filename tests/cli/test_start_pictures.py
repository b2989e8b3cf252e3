"""`adaface generate` with pictures to start from, on a stack of random tiny models."""

import json

import numpy as np
import pytest
from PIL import Image

import tiny
from tiny_cli import PROMPT, error, run


@pytest.fixture
def pictures(photo, here):
    """scene.png 64 x 64, mask.png (its right half white) and masks that are none; the photo me.png."""
    scene = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    mask = np.zeros((64, 64), np.uint8)
    mask[:, 32:] = 255
    Image.fromarray(scene).save(here / "scene.png")
    Image.fromarray(mask).save(here / "mask.png")
    Image.fromarray(mask * 0).save(here / "black.png")
    Image.fromarray(mask[:32]).save(here / "half.png")
    Image.fromarray(np.dstack([mask] * 4)).save(here / "clear.png")
    (here / "broken.png").write_bytes(b"version https://git-lfs.github.com/spec/v1")
    return scene, mask


@pytest.fixture
def controlnet(here, personalizer):
    tiny.controlnet(personalizer.pipe.unet).save_pretrained(here / "net")
    return "net"


def test_a_mask_keeps_the_pixels_of_the_start_picture(pictures, here):
    scene, mask = pictures
    command = ("generate", "me.png", "-p", PROMPT, "-n", 1, "--init-image", "scene.png", "--mask", "mask.png")
    report = json.loads(run(*command, "--json").stdout)
    with Image.open(here / report["pictures"][0]["file"]) as picture:
        drawn, record = np.asarray(picture), json.loads(picture.text["adaface"])
    assert (drawn[mask == 0] == scene[mask == 0]).all()
    assert (drawn[mask > 0] != scene[mask > 0]).any()
    assert record["sources"].keys() == {"init_image", "mask"} == report["sources"].keys()
    assert record["settings"]["strength"] == report["settings"]["strength"] == 1.0


def test_a_mask_whose_white_is_small_or_at_an_edge_is_no_black_one(pictures, here):
    wide = np.tile(pictures[0], (1, 2, 1))
    edge = np.zeros(wide.shape[:2], np.uint8)
    edge[30:33, :3] = 255
    Image.fromarray(wide).save(here / "wide.png")
    Image.fromarray(edge).save(here / "edge.png")
    size = ["--height", "64", "--width", "128", "--steps", "1", "-n", "1"]
    run("generate", "me.png", "-p", PROMPT, *size, "--init-image", "wide.png", "--mask", "edge.png")


@pytest.mark.parametrize("name", ["grid.png", "01-a-photo-seed0.png"])
def test_a_start_picture_is_not_replaced_by_what_is_drawn_from_it(pictures, here, no_models, name):
    (here / "out").mkdir()
    kept = (here / "scene.png").rename(here / "out" / name).read_bytes()
    given = ["me.png", "-p", "a photo", "-n", "1", "--init-image", f"out/{name}"]
    assert "lies in the folder for the pictures, where a new one may replace it" in error("generate", *given)
    assert (here / "out" / name).read_bytes() == kept


def test_a_start_picture_of_another_seed_may_lie_where_the_pictures_go(pictures, here):
    (here / "out").mkdir()
    kept = (here / "scene.png").rename(here / "out" / "01-a-photo-seed7.png").read_bytes()
    given = ["-n", "1", "--steps", "2", "--init-image", "out/01-a-photo-seed7.png"]
    run("generate", "me.png", "-p", PROMPT, *given)
    assert (here / "out" / "01-a-photo-seed7.png").read_bytes() == kept


def test_the_grid_shows_what_the_drawing_started_from(pictures, here):
    plain, started = ("-o", "a"), ("-o", "b", "--init-image", "scene.png", "--strength", 0.5)
    for more in (plain, started):
        run("generate", "me.png", "-p", PROMPT, "-n", 1, *more)
    heights = []
    for folder in "ab":
        with Image.open(here / folder / "grid.png") as grid:
            heights.append(grid.height)
    assert heights[1] > heights[0] + 200  # one more source below the photo


def test_a_control_image_leads_with_a_controlnet(pictures, controlnet, here):
    drawn = []
    for picture in ("scene.png", "mask.png"):
        command = ("generate", "me.png", "-p", PROMPT, "-n", 1, "--control-image", picture, "--json")
        report = json.loads(run(*command, "--controlnet", controlnet).stdout)
        with Image.open(here / report["pictures"][0]["file"]) as image:
            drawn.append(np.asarray(image))
        assert report["settings"]["control_scale"] == 1.0
    assert (drawn[0] != drawn[1]).any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--mask", "mask.png"], "mask without init_image"),
        (["--strength", "0.5"], "strength without init_image"),
        (["--control-image", "scene.png"], "control_image needs a ControlNet"),
        (["--control-scale", "1"], "control_scale without control_image"),
        (["--controlnet", "none"], "none: no such file or folder"),
        (["--controlnet", "hub:nobody"], "hub:nobody: not a repository of the hub"),
        (["--controlnet", "scene.png"], "scene.png: a file"),
        (["--init-image", "none.png"], "none.png: no such file"),
        (["--init-image", "broken.png"], "a Git LFS pointer"),
        (["--init-image", "scene.png", "--strength", "2"], "strength=2.0: give a number above 0"),
        (["--init-image", "scene.png", "--strength", "0.1"], "strength=0.1 of 4 steps is not one step"),
        (["--init-image", "scene.png", "--mask", "black.png"], "mask black.png: all black"),
        (["--init-image", "scene.png", "--mask", "clear.png"], "mask clear.png has transparent places"),
        (
            ["--init-image", "scene.png", "--mask", "half.png"],
            "mask half.png is 64x32, but the init image 64x64",
        ),
    ],
)
def test_a_mistake_is_told_before_a_model_is_opened(pictures, here, no_models, arguments, message):
    before = sorted(here.iterdir())
    assert message in error("generate", "me.png", "-p", PROMPT, "-n", "1", *arguments)
    assert sorted(here.iterdir()) == before


def test_a_controlnet_without_its_image_is_told(pictures, controlnet, no_models):
    assert "--controlnet without --control-image" in error(
        "generate", "me.png", "-p", PROMPT, "--controlnet", controlnet
    )
