"""The demo, the doctor, help, and how commands end and keep what they made."""

import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import typer
from PIL import Image

from adaface.cli import console
from adaface.cli.main import app
from adaface.cli.pictures import Album
from adaface.identity.files import Identity
from tiny_cli import PROMPT, error, run

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
    assert "config.json: missing. Copy the stack again" in report["problems"][0]
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
    result = run("generate", photo, "-p", PROMPT, "--json", code=130)
    assert "Stopped." in result.stderr
    assert json.loads(result.stdout) == {"error": {"type": "Stopped", "message": "Stopped."}}


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
