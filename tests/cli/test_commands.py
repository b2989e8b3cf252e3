"""The commands, on a stack of random tiny models."""

import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from PIL import Image
from safetensors import safe_open
from typer.testing import CliRunner

from adaface.cli import console
from adaface.cli.main import app
from adaface.cli.pictures import Album
from adaface.identity.files import Identity

PROMPT = "a photo of <person> in the meadow"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch, tiny_stack):
    """An empty folder to work in, and the tiny stack as the default."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ADAFACE_STACK", str(tiny_stack))
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    return tmp_path


@pytest.fixture
def photo(here, astronaut):
    Image.fromarray(astronaut).save(here / "me.png")
    return "me.png"


def run(*arguments, code=0):
    """What a command prints, once it has ended with `code`."""
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == code, result.output
    return result


def error(*arguments) -> str:
    """The message of a command that fails: one line, and nothing was written beside what was there."""
    result = run(*arguments, code=1)
    assert not result.stdout
    lines = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert len(lines) == 1
    assert "Traceback" not in result.output
    return lines[0]


# --- generate


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


# --- demo, doctor, the command itself


def test_the_demo_measures_six_prompts_and_draws_the_grid(here):
    stdout = run("demo", "-o", "d").stdout
    summary = json.loads((here / "d" / "summary.json").read_text())
    assert summary.keys() == {"pictures", "seconds_cold", "seconds_per_picture"}
    assert len(summary["pictures"]) == 6
    for row in summary["pictures"]:
        assert row.keys() == {"prompt", "face_found", "similarity", "percentile", "first_choice"}
        assert isinstance(row["first_choice"], bool)
    assert sum(row["first_choice"] for row in summary["pictures"]) == int(
        stdout.split(" of 6 prompts ranked first")[0][-1]
    )
    assert len(list((here / "d").glob("0*.png"))) == 6
    assert (here / "d" / "grid.png").is_file()


def test_the_demos_prompts_are_the_stacks(tiny_stack, here):
    copy = shutil.copytree(tiny_stack, here / "copy")
    data = json.loads((copy / "stack.json").read_text())
    data["settings"]["demo_prompts"] = ["a photo of <person>", "a red cap"]
    (copy / "stack.json").write_text(json.dumps(data))
    summary = json.loads(run("demo", "--stack", copy, "--json").stdout)
    assert [row["prompt"] for row in summary["pictures"]] == [
        "a photo of <person>",
        "a photo of <person>, a red cap",
    ]


def test_doctor_lists_versions_files_hashes_and_licences():
    stdout = run("doctor").stdout
    for words in (
        "torch",
        "cpu",
        "unet/config.json",
        "SHA-256",
        "licence: Apache-2.0",
        "All is well",
    ):
        assert words in stdout
    report = json.loads(run("doctor", "--json").stdout)
    assert report["ok"]
    assert {"python", "packages", "devices", "stack", "problems"} <= report.keys()
    for role in report["stack"]["roles"]:
        assert role["purpose"]
        assert role["licence"]
        assert role["files"]


def test_doctor_names_what_is_damaged_and_ends_with_1(tiny_stack, here):
    copy = shutil.copytree(tiny_stack, here / "copy")
    (copy / "encoder" / "config.json").unlink()
    (copy / "strangers.safetensors").write_bytes((tiny_stack / "strangers.safetensors").read_bytes()[::-1])
    report = json.loads(run("doctor", "--stack", copy, "--json", code=1).stdout)
    assert not report["ok"]
    assert [problem.split(":")[0].split("/")[-1] for problem in report["problems"]] == [
        "config.json", "strangers.safetensors",
    ]  # fmt: skip
    assert "missing, or of another size" in report["problems"][0]
    assert "changed" in report["problems"][1]


def test_a_missing_stack_is_told_by_doctor_too():
    assert "no such stack" in error("doctor", "--stack", "nowhere")


def test_help_needs_no_torch_and_names_the_commands():
    code = (
        "import sys; from typer.testing import CliRunner; from adaface.cli.main import app\n"
        "result = CliRunner().invoke(app, ['--help']); print(result.output)\n"
        "assert not {'torch', 'diffusers', 'transformers', 'numpy', 'cv2', 'PIL'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for command in ("generate", "embed", "demo", "doctor"):
        assert command in done.stdout


@pytest.mark.parametrize("command", ["generate", "embed", "demo", "doctor"])
def test_each_commands_help_is_written_for_newcomers(command):
    stdout = run(command, "--help").stdout
    assert "Usage" in stdout
    assert "[]" not in stdout


def test_a_fresh_process_prints_its_own_words_only(photo):
    command = [sys.executable, "-m", "adaface", "generate", photo, "-p", PROMPT, "-n", "1", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["pictures"]
    assert done.stderr == ""


def test_the_version_is_told():
    assert run("--version").stdout.startswith("adaface ")


def test_stopping_ends_with_130(photo, monkeypatch):
    from adaface.pipelines.personalizer import Personalizer

    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(Personalizer, "generate", stop)
    assert "Stopped." in run("generate", photo, "-p", PROMPT, code=130).stderr


def test_embedding_opens_no_diffusion_model(photo, here):
    code = (
        "import sys; from typer.testing import CliRunner; from adaface.cli.main import app\n"
        "result = CliRunner().invoke(app, ['embed', 'me.png', '-o', 'a.safetensors']); print(result.output)\n"
        "assert result.exit_code == 0 and 'diffusers' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_demo_names_the_extra_that_it_needs(monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage.data", None)
    assert "Run: pip install 'adaface[demo]'" in error("demo")


# --- time, and what is kept


def test_the_cold_start_counts_from_the_process_to_the_first_pictures(photo):
    """The last words of a fresh process: its own count and the clock outside agree."""
    command = [sys.executable, "-m", "adaface", "generate", photo, "-p", PROMPT, "-n", "1", "--json"]
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    outside = time.perf_counter() - started
    report = json.loads(done.stdout)
    assert report["seconds_cold"] <= report["seconds"] <= outside
    assert report["seconds"] > 0.5 * outside  # the interpreter's end is not in it


@pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="only Linux tells a process's start")
def test_the_age_of_a_process_includes_what_was_before_the_first_line():
    code = "import time; time.sleep(0.5)\nfrom adaface.cli import console\nprint(console.since_start())"
    started = time.perf_counter()
    told = float(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
    assert 0.5 < told < time.perf_counter() - started


def test_without_a_told_start_the_cpu_seconds_count(monkeypatch):
    monkeypatch.setattr(console.Path, "read_text", lambda *_: "nonsense")
    assert console.process_age() == pytest.approx(time.process_time(), abs=0.1)


def test_the_first_pictures_time_is_not_that_of_all(here):
    album = Album(here, "tiny", 4, drawn=[10.0, 11.0, 13.0], sizes=[4, 4, 2])
    assert album.seconds(ready=6.0) == {"seconds_cold": 10.0, "seconds_per_picture": 0.5}
    album = Album(here, "tiny", 4, drawn=[10.0], sizes=[4])
    assert album.seconds(ready=6.0) == {"seconds_cold": 10.0, "seconds_per_picture": 1.0}


def test_what_is_drawn_when_one_stops_is_kept(photo, here, monkeypatch):
    from adaface.pipelines import drawing

    draw_batch, calls = drawing._draw_batch, []

    def stop_at_the_second(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return draw_batch(*arguments)

    monkeypatch.setattr(drawing, "_draw_batch", stop_at_the_second)
    result = run("generate", photo, "-p", PROMPT, "-p", "a man", "-n", 2, "--batch-size", 3, code=130)
    assert [path.name for path in sorted((here / "out").iterdir())] == [
        "01-a-photo-of-person-in-the-meadow-seed0.png",
        "01-a-photo-of-person-in-the-meadow-seed1.png",
        "02-a-man-person-seed0.png",
    ]
    assert "3 of 4 pictures are drawn and kept in out" in result.stderr


@pytest.fixture
def no_models(monkeypatch):
    """Opening a model ends the test."""
    from adaface.pipelines.personalizer import Personalizer

    monkeypatch.setattr(Personalizer, "from_pretrained", lambda *_, **__: pytest.fail("models were opened"))


def test_prompts_and_names_are_checked_before_models_are_opened(photo, no_models):
    run("embed", photo, "-o", "alice.safetensors")
    file = ("--identity", "alice.safetensors")
    assert "no subject <bob>" in error("generate", *file, "-p", "<alice> and <bob>")
    assert "<alice> twice" in error("generate", *file, *file, "-p", "<alice>")
    assert "<alice> twice" in error("generate", photo, "--name", "alice", *file, "-p", "<alice>")
    assert "names none of <me>, <alice>" in error("generate", photo, "--name", "me", *file, "-p", "a man")


def test_a_demo_that_cannot_be_measured_is_not_drawn(tiny_stack, here, no_models):
    copy = shutil.copytree(tiny_stack, here / "copy")
    (copy / "clip" / "config.json").unlink()
    assert "config.json: missing" in error("demo", "--stack", copy)
    data = json.loads((copy / "stack.json").read_text())
    del data["roles"]["clip"]
    (copy / "stack.json").write_text(json.dumps(data))
    assert 'has no role "clip"' in error("demo", "--stack", copy)


def test_a_demos_pictures_stay_when_measuring_fails(here, monkeypatch):
    from adaface.errors import FormatError
    from adaface.evaluation.text_match import ClipScorer

    def fail(*_, **__):
        raise FormatError("broken")

    monkeypatch.setattr(ClipScorer, "from_pretrained", fail)
    run("demo", "-o", "d", code=1)
    assert len(list((here / "d").glob("0*.png"))) == 6


# --- advice that can be followed


def test_advice_about_photos_names_options_that_are_there(photo, here):
    camera = pytest.importorskip("skimage.data").camera()[70:230, 140:300]
    Image.fromarray(camera).save(here / "man.png")
    assert "use them all with keep_all (--keep-all)" in error("embed", photo, "man.png")
    report = json.loads(run("embed", photo, "man.png", "--keep-all", "--json").stdout)
    assert report["photos_used"] == 2


def test_a_face_that_is_too_small_can_be_used_all_the_same(here, astronaut):
    Image.fromarray(astronaut).resize((64, 64)).save(here / "small.png")
    assert "(--min-face)" in error("generate", "small.png", "-p", PROMPT, "-n", 1)
    run("generate", "small.png", "-p", PROMPT, "-n", 1, "--steps", 1, "--min-face", 5)


def test_every_option_that_a_message_names_is_one_of_generate(repo):
    text = "".join(path.read_text(encoding="utf-8") for path in (repo / "src/adaface/face").glob("*.py"))
    named = set(re.findall(r"(?<=\W)--[a-z-]+", text))
    assert {"--keep-all", "--min-face", "--reference"} <= named
    options = {
        name for option in typer.main.get_command(app).commands["generate"].params for name in option.opts
    }
    assert named <= options


def test_a_person_of_another_recogniser_is_not_compared(photo, here):
    run("embed", photo, "-o", "alice.safetensors")
    alice = Identity.load("alice.safetensors")
    strange = {**alice.provenance, "recognizer": "glintr100-12345678"}
    Identity("alice", alice.subject_embeds, torch.ones(512), strange).save("alice.safetensors")
    command = ("generate", "--identity", "alice.safetensors", "-p", "<alice>", "-n", 1, "--steps", 1)
    report = json.loads(run(*command, "--json").stdout)
    assert report["pictures"][0]["people"]["alice"]["similarity"] is None
