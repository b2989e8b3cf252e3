"""The commands, on a stack of random tiny models."""

import json

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open

from tiny_cli import PROMPT, error, run

# --- generate

LONG = "x" * 300  # longer than a file name may be


def test_generate_writes_a_png_a_picture_and_the_grid(photo, here):
    result = run(
        "generate", photo, "-p", PROMPT, "-p", "a pencil sketch of <person>", "-n", 2, "--seed", 5, "-o", "o"
    )
    assert sorted(path.name for path in (here / "o").iterdir()) == [
        "01-a-photo-of-person-in-the-meadow-seed5.png",
        "01-a-photo-of-person-in-the-meadow-seed6.png",
        "02-a-pencil-sketch-of-person-seed5.png",
        "02-a-pencil-sketch-of-person-seed6.png",
        "grid.png",
    ]
    assert "similarity" in result.stdout
    assert "First picture after" in result.stdout
    assert "Settings: steps 4, guidance_scale [3.0, 1.0]" in result.stdout


def test_a_png_holds_what_is_needed_to_draw_it_again(photo, here):
    run("generate", photo, "-p", PROMPT, "-n", 1, "--steps", 2, "--guidance", 2, 1, "--layer-weights", 1, 2)
    text = Image.open(next((here / "out").glob("01-*.png"))).text["adaface"]
    record = json.loads(text)
    assert (record["prompt"], record["seed"], record["stack"]) == (PROMPT, 0, "tiny")
    assert record["settings"]["steps"] == 2
    assert record["settings"]["guidance_scale"] == [2, 1]
    assert record["settings"]["layer_weights"] == [1, 2]
    assert str(here) not in text


def test_json_is_one_object_and_nothing_else(photo):
    report = json.loads(run("generate", photo, "-p", PROMPT, "-n", 1, "--json").stdout)
    assert report["pictures"][0]["people"]["person"].keys() == {"face_found", "similarity", "percentile"}
    assert {"grid", "settings", "notes", "seconds_cold", "seconds_per_picture"} <= report.keys()


def test_prompts_come_from_a_file_too(photo, here):
    (here / "p.txt").write_text("﻿# styles\n\na pencil sketch of <person>\n  a sepia photo of <person>\n")
    report = json.loads(
        run("generate", photo, "-p", PROMPT, "--prompt-file", "p.txt", "-n", 1, "--json").stdout
    )
    assert [p["prompt"] for p in report["pictures"]] == [
        PROMPT, "a pencil sketch of <person>", "a sepia photo of <person>",
    ]  # fmt: skip


def test_the_negative_prompt_can_be_given_and_switched_off(photo):
    given = json.loads(
        run("generate", photo, "-p", PROMPT, "-n", 1, "--negative-prompt", "red", "--json").stdout
    )
    off = json.loads(run("generate", photo, "-p", PROMPT, "-n", 1, "--no-negative-prompt", "--json").stdout)
    assert (given["settings"]["negative_prompt"], off["settings"]["negative_prompt"]) == ("red", None)


def test_a_turned_photo_stands_upright_in_the_grid(here, astronaut):
    exif = Image.Exif()
    exif[274] = 6  # turn right by 90 degrees to see it upright
    Image.fromarray(astronaut).rotate(90).save(here / "turned.png", exif=exif)
    Image.fromarray(astronaut).save(here / "upright.png")
    grids = []
    for name in ("turned", "upright"):
        run("generate", f"{name}.png", "-p", PROMPT, "-n", 1, "--steps", 1, "-o", name)
        grids.append(np.asarray(Image.open(here / name / "grid.png"), np.int16)[28:284, 28:284])
    assert np.abs(grids[0] - grids[1]).max() <= 2


def test_what_the_stack_did_to_a_prompt_is_told(photo):
    result = run("generate", photo, "-p", "a man", "-n", 1)
    assert "Note: prompt 'a man': <person> put behind 'man'" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--guidance", "nan", "1"], "guidance_scale=(nan, 1.0): give two numbers"),
        (["--steps", "-1"], "steps=-1: give a whole number"),
        (["-n", "0"], "num_images=0: give a whole number"),
        (["--seed", "-1"], "seed=-1: give a whole number"),
        (["--id-scale", "inf"], "id_scale=inf"),
        (["--layer-weights", "0", "0"], "layer_weights=(0.0, 0.0)"),
        (["--width", "65"], "width=65: give a multiple of 8"),
        (["--negative-prompt", "x", "--no-negative-prompt"], "contradict each other"),
        (["--name", "two words"], "name 'two words'"),
        (["--device", "tpu"], 'device "tpu": not usable here'),
        (["--stack", "nowhere"], "nowhere: no such stack"),
        (["--prompt", " "], "--prompt is empty"),
        (["--prompt", "<bob>"], "no subject <bob>"),
        (["--prompt-file", "none.txt"], "none.txt: no such file"),
        (["--prompt-file", "empty.txt"], "empty.txt: no prompt in it"),
        (["--prompt-file", "me.png"], "me.png: not readable as text"),
        (["--prompt-file", "."], ".: no such file"),
        (["--prompt-file", LONG], "cannot be reached (File name too long)"),
        (["-o", LONG], "cannot be reached (File name too long)"),
        (["--stack", LONG], "cannot be reached (File name too long)"),
        (["--base", LONG], "cannot be reached (File name too long)"),
        (["--identity", LONG], "cannot be reached (File name too long)"),
        (["--identity", "."], ".: a folder. Name one file of `adaface embed` in it"),
        (["-o", "me.png"], "a file, not a folder"),
        (["-o", "me.png/deeper"], "a file, not a folder"),
        (["--identity", "none.safetensors"], "none.safetensors: no such file"),
        (["--identity", "empty.txt"], "empty.txt: not a whole safetensors file"),
        (["--face-index", "7"], "no face number 7"),
    ],
)
def test_a_mistake_is_told_in_one_line_and_leaves_nothing(photo, here, arguments, message):
    (here / "empty.txt").write_text("\n# nothing\n")
    before = sorted(here.iterdir())
    given = [] if "--prompt-file" in arguments else ["-p", PROMPT]
    assert message in error("generate", photo, *given, "-n", "1", *arguments)
    assert sorted(here.iterdir()) == before


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no such file"), (b"hello", "not a picture"), (b"", "empty"), ("grey", "no face")],
)
def test_a_photo_that_cannot_be_used_is_told(here, content, message):
    if content == "grey":
        Image.new("RGB", (200, 200), "grey").save(here / "x.png")
    elif content is not None:
        (here / "x.png").write_bytes(content)
    assert message in error("generate", "x.png", "-p", PROMPT)
    assert not (here / "out").exists()


def test_an_empty_name_is_not_the_folder_one_is_in(photo):
    assert "an empty name for a picture or folder. Give its path" in error("generate", "", "-p", PROMPT)


def test_an_unreachable_file_is_json_too_if_asked():
    result = run("generate", "-p", PROMPT, "--identity", LONG, "--json", code=1)
    assert "File name too long" in json.loads(result.stdout)["error"]["message"]


def test_nobody_and_nothing_to_draw_is_told(photo):
    assert "nobody to draw. Give a photo, or --identity FILE" in error("generate", "-p", PROMPT)
    assert "no prompt. Give one: --prompt" in error("generate", photo)


def test_an_error_is_json_too_if_asked():
    result = run("generate", "-p", PROMPT, "--json", code=1)
    assert json.loads(result.stdout)["error"]["type"] == "ConfigError"


@pytest.mark.parametrize(
    "arguments", [["generate", "--bogus"], ["generate", "--steps", "many"], ["nonsense"]]
)
def test_wrong_usage_ends_with_2(arguments):
    run(*arguments, code=2)


def test_a_full_disk_leaves_no_half_picture(photo, here, monkeypatch):
    saved = []

    def full(self, path, *_, **__):
        path.write_bytes(b"half")
        saved.append(path)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    assert "not written (No space left on device)" in error("generate", photo, "-p", PROMPT, "-n", 1)
    assert saved
    assert list((here / "out").iterdir()) == []


# --- embed


def test_embed_writes_one_tensor_under_the_files_name(photo, here):
    assert "alice.safetensors: <alice>, 16 rows of 128, from 1 photo(s)" in run(
        "embed", photo, "-o", "alice.safetensors"
    ).stdout  # fmt: skip
    with safe_open(here / "alice.safetensors", "np") as file:
        assert list(file.keys()) == ["<alice>"]
        rows = file.get_tensor("<alice>")
    assert (rows.shape, rows.dtype) == ((16, 128), np.float32)


def test_people_of_files_and_photos_stand_in_one_prompt(photo):
    run("embed", photo, "-o", "alice.safetensors")
    run("embed", photo, "-o", "x.safetensors", "--name", "bob")
    text = "<alice> and <bob> and <me>"
    files = ("--identity", "alice.safetensors", "--identity", "x.safetensors")
    report = json.loads(run("generate", photo, "--name", "me", *files, "-p", text, "-n", 1, "--json").stdout)
    assert report["pictures"][0]["people"].keys() == {"me", "alice", "bob"}
    assert "similarity to alice" in run("generate", *files, "-p", "<alice> and <bob>", "-n", 1).stdout


def test_a_file_draws_what_its_photo_draws(photo, here):
    run("embed", photo, "-o", "person.safetensors")
    run("generate", photo, "-p", PROMPT, "-n", 1, "-o", "a")
    run("generate", "--identity", "person.safetensors", "-p", PROMPT, "-n", 1, "-o", "b")
    name = "01-a-photo-of-person-in-the-meadow-seed0.png"
    assert Image.open(here / "a" / name).tobytes() == Image.open(here / "b" / name).tobytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["me.png", "-o", "alice.bin"], "give -o a file name that ends with .safetensors"),
        (["-o", "alice.safetensors"], "no photo. Give at least one"),
        (["me.png", "-o", "a(b).safetensors"], "name 'a(b)'"),
        (["me.png", "-o", "me.png/alice.safetensors"], "a file, not a folder"),
        (["none.png", "-o", "alice.safetensors"], "none.png: no such file"),
    ],
)
def test_embed_tells_mistakes_and_leaves_nothing(photo, here, arguments, message):
    assert message in error("embed", *arguments)
    assert [path.name for path in here.iterdir()] == ["me.png"]


def test_embed_prints_json_if_asked(photo):
    report = json.loads(run("embed", photo, photo, "-o", "alice.safetensors", "--json").stdout)
    assert (report["name"], report["rows"], report["width"], report["photos_used"]) == ("<alice>", 16, 128, 1)
    assert "same picture" in report["photos_left_out"][0]["reason"]
