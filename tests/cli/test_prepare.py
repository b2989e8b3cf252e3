"""`adaface prepare`: what it prints, how it ends, how it is stopped."""

import json
import os
import pickle
import signal
import subprocess
import sys
import time

import pytest
from PIL import Image
from skimage import data
from typer.testing import CliRunner

from adaface.cli.main import app
from adaface.cli.prepare import ADDRESS
from tiny_cli import error, run
from tiny_photos import tree


@pytest.fixture
def raw(tmp_path):
    """Two people of one photo each, and a file that is no picture."""
    woman, man = data.astronaut()[:320, 60:380], data.camera()[20:280, 100:360]
    for name, pixels in (("ann", woman), ("carl", man)):
        (tmp_path / "raw" / name).mkdir(parents=True)
        Image.fromarray(pixels).save(tmp_path / "raw" / name / "1.png")
    (tmp_path / "raw" / "ann" / "notes.jpg").write_text("hello")
    return tmp_path / "raw"


def test_it_prints_what_was_kept_and_where_to_look(raw, tmp_path):
    said = run("prepare", raw, tmp_path / "out", "--size", 64, "--workers", 1).stdout
    assert "2 of 3 photos kept, of 2 people" in said
    assert (
        "1  not_a_picture      The file is no picture that can be read here, whatever its name says." in said
    )
    assert f"Why of each photo, with pictures: {tmp_path / 'out' / 'report.html'}" in said
    assert f"Next: adaface train smoke --data {tmp_path / 'out'}" in said
    again = run("prepare", raw, tmp_path / "out", "--size", 64).stdout
    assert "finished before; nothing was left to do" in again


def test_it_prints_one_json_object(raw, tmp_path):
    out = tmp_path / "out"
    told = json.loads(run("prepare", raw, out, "--size", 64, "--parser", "none", "--json").stdout)
    assert (told["photos"], told["kept"], told["people"], told["fresh"]) == (3, 2, 2, True)
    assert told["rejected"] == {"not_a_picture": 1}
    assert told["report"] == str(out / "report.html")
    assert json.loads((out / "dataset.json").read_text())["index"]["sha256"] == told["hash"]


def test_a_threshold_that_nobody_measured_is_told(raw, tmp_path):
    """The network is SFace's; its file has the name of Arc2Face's, and no JSON beside it."""
    from adaface.face.recognize import SFACE_FILE, wheel_model

    file = tmp_path / "arcface.onnx"
    file.write_bytes(wheel_model(SFACE_FILE).read_bytes())
    out = tmp_path / "out"
    done = run("prepare", raw, out, "--size", 64, "--parser", "none", "--recognizer", file, "--json")
    assert "by its name, antelopev2's figure of the original is taken (similarity 0.65" in done.stderr
    assert "source assumed by its name" in (out / "report.html").read_text()
    settings = json.loads((out / "dataset.json").read_text())["settings"]
    assert settings["least_similarity"]["source"] == "assumed by its name"


def test_roots_can_be_named_by_options(raw, tmp_path):
    arguments = ["--data-roots", raw / "ann", "--mix-subject-roots", raw / "carl", "--size", 64, "--json"]
    told = json.loads(run("prepare", tmp_path / "out", *arguments).stdout)
    assert (told["kept"], told["people"]) == (2, 2)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["RAW"], "no folder of photos. Give at least one: adaface prepare PHOTOS OUT"),
        (["nowhere", "OUT"], "nowhere: no such folder"),
        (["RAW", "RAW/ann/out"], "lies inside of the photos' folder"),
        (["RAW", "OUT", "--size", "63"], "size=63: give 16 to 2048 pixels, a multiple of 8"),
        (["RAW", "OUT", "--crop", "round"], "crop='round': give one of align, square"),
        (["RAW", "OUT", "--image-type", "gif"], "image_type='gif': give one of jpg, webp, png"),
        (["RAW", "OUT", "--margin", "9"], "margin=9: give 0.5 (close) to 4 (wide)"),
        (["RAW", "OUT", "--min-face", "0"], "min_face_px=0: give 1 or more"),
        (["RAW", "OUT", "--min-quality", "2"], "min_quality=2: give a number from 0 to 1"),
        (["RAW", "OUT", "--same-person", "7"], "same_person=7: give a cosine between -1 and 1"),
        (["RAW", "OUT", "--parser", "best"], "--parser best: give mini, none, or the path of a BiSeNet"),
        (["RAW", "OUT", "--parser", "no.onnx"], "no.onnx: no such file"),
        (["RAW", "OUT", "--person-types", "no.json"], "no.json: no such file"),
        (["RAW", "OUT", "--workers", "0"], "workers=0: give 1 or more"),
    ],
)
def test_a_mistake_is_one_line(raw, tmp_path, arguments, words):
    places = {"RAW": str(raw), "OUT": str(tmp_path / "out"), "RAW/ann/out": str(raw / "ann" / "out")}
    before = tree(raw)
    assert words in error("prepare", *(places.get(a, a) for a in arguments))
    assert tree(raw) == before
    assert not (tmp_path / "out" / "dataset.json").exists()


def test_ray_takes_an_address_or_none(monkeypatch, raw, tmp_path):
    """Which address the cluster is asked for; the folders stay folders wherever --ray stands."""
    from adaface.cli import prepare as command

    asked = []
    monkeypatch.setattr(command, "_run", lambda request, given: asked.append((request.data_roots, given.ray)))
    out = str(tmp_path / "out")
    for arguments in (
        [raw, out], [raw, out, "--ray"], ["--ray", raw, out], [raw, out, "--ray", "auto"],
        ["--ray=10.0.0.1:6379", raw, out],
    ):  # fmt: skip
        run("prepare", *arguments)
    assert asked == [([raw], ray) for ray in (None, "local", "local", "auto", "10.0.0.1:6379")]
    assert not ADDRESS.fullmatch("photos/") and ADDRESS.fullmatch("ray://head:10001")


def test_latents_of_the_data_set_before_are_told(raw, tmp_path):
    out, small = tmp_path / "out", ["--size", 64, "--parser", "none"]
    run("prepare", raw, out, *small, "--latents", 1)
    assert "latents" not in run("prepare", raw, out, *small).stderr
    (raw / "carl" / "1.png").unlink()
    said = run("prepare", raw, out, *small, "--restart").stderr
    assert "latents.safetensors: of the data set that lay here before. Give --latents K" in said


def test_no_folder_at_all_is_told_as_typer_does():
    done = CliRunner().invoke(app, ["prepare"])
    assert done.exit_code == 2 and "Missing argument" in done.output


def test_the_recogniser_is_the_stacks_or_the_one_that_is_named(tmp_path):
    from adaface.cli.prepare import _analyzer
    from adaface.face.recognize import SFACE, SFACE_FILE, wheel_model
    from adaface.pipelines.stack import Stack

    assert _analyzer(None, "mini")().recognizer.name == "sface"
    stack = tmp_path / "stack"
    stack.mkdir()
    file = stack / "other.onnx"
    file.write_bytes(wheel_model(SFACE_FILE).read_bytes())
    assert _analyzer(str(file), "mini")().recognizer.name.startswith("other-")
    manifest = json.loads((Stack.load("mini").folder / "stack.json").read_text())
    spec = {"name": "mine", "mean": 0.0, "std": 1.0}
    manifest["roles"]["recognizer"] = {"path": file.name, "options": spec, "licence": SFACE.licence}
    (stack / "stack.json").write_text(json.dumps(manifest))
    opened = pickle.loads(pickle.dumps(_analyzer(None, str(stack))))().recognizer
    assert (opened.name, opened.spec.mean) == ("mine", 0.0)


def test_the_help_says_it_to_a_newcomer():
    said = " ".join(CliRunner().invoke(app, ["prepare", "--help"]).output.replace("│", " ").split())
    for words in ("photos/ holds a folder a person", "Nothing of yours is moved", "the same command goes on"):
        assert words in said


def test_nothing_is_begun_that_cannot_be_done(raw, tmp_path):
    pytest.importorskip("ray")
    dead = ["--ray", "127.0.0.1:1"]
    for arguments, words in (
        (["--workers", 0], "workers=0"),
        (dead, "--ray 127.0.0.1:1: no cluster answers"),
    ):
        assert words in error("prepare", raw, tmp_path / "out", "--parser", "none", *arguments)
        assert not (tmp_path / "out").exists()


def test_the_cores_are_those_that_the_process_may_use(monkeypatch):
    from adaface.data.executors.local import cores

    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {3, 5, 7}, raising=False)
    assert cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 9)
    assert cores() == 9


@pytest.mark.slow
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGKILL])
def test_a_command_that_was_stopped_goes_on(raw, tmp_path, stop):
    """Stopped while it looks at the photos, it ends by itself or not; the same command then does the rest."""
    for k in range(40):
        picture = Image.fromarray(data.astronaut()[:320, 60 : 380 + k])
        picture.save(raw / "ann" / f"x{k}.png")
    out = tmp_path / "out"
    command = [
        sys.executable,
        "-m",
        "adaface",
        "prepare",
        str(raw),
        str(out),
        "--size",
        "64",
        "--parser",
        "none",
    ]
    command += ["--workers", "2"]
    with subprocess.Popen(
        command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE
    ) as first:
        for _ in range(2000):
            if len(list((out / ".work").glob("0*"))) >= 1:
                break
            time.sleep(0.05)
        first.send_signal(stop)
        said = first.communicate(timeout=120)[1].decode()
    done = len(list((out / ".work").glob("0*")))
    assert 1 <= done < 6 and not (out / "dataset.json").exists()
    if stop == signal.SIGINT:
        assert first.returncode == 130 and "The same command goes on where it was" in said
    told = json.loads(subprocess.run([*command, "--json"], capture_output=True, check=True).stdout)
    assert told["fresh"] and told["photos"] == 43
    assert (out / "dataset.json").exists() and not (out / ".work").exists()
