"""What a user may wish of `adaface setup`, and what is refused before anything is fetched."""

import json
import shutil

import pytest

from adaface.checkpoints.ldm import SD15 as CONFIGS
from adaface.pipelines.personalizer import Personalizer
from adaface.setup.choosing import Wishes, make_plan
from adaface.setup.recipe import SD15
from tiny_cli import run

from .conftest import ARC2FACE, BASE, VAE

VAE_FILE = "diffusion_pytorch_model.safetensors"
QUICK = ("--without", "teacher", "--without", "safety_checker")


def error(folder, *arguments) -> str:
    """The message of a run that is refused; it wrote nothing."""
    done = run("setup", "sd15", "-o", folder, "-y", *arguments, code=1)
    assert not folder.exists()
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    return line


@pytest.mark.parametrize("role", ["base", "text_encoder", "vae", "id_prompter", "recognizer", "encoder"])
def test_a_role_that_is_needed_cannot_be_left_out(copies, tmp_path, role):
    message = error(tmp_path / "stack", "--without", role)
    assert (
        f"--without {role}: no stack works without it. To be left out are safety_checker, teacher" in message
    )
    assert f"--from {role}=PLACE" in message


def test_what_the_help_calls_optional_is_what_the_recipe_calls_so():
    assert {source.role for source in SD15 if source.optional} == {"teacher", "safety_checker"}


@pytest.mark.parametrize("role", ["base", "text_encoder", "vae", "id_prompter", "teacher", "safety_checker"])
def test_one_file_for_a_role_of_several_is_refused(copies, tmp_path, role):
    mine = shutil.copy(copies / VAE / VAE_FILE, tmp_path / "x.safetensors")
    for place in (mine, f"hub:{VAE}/{VAE_FILE}"):
        message = error(tmp_path / "stack", "--plan", "--from", f"{role}={place}")
        assert f"--from {role}={place}: one file, but this role is made of several" in message
        assert "config" in message or "model_index" in message
        assert "Give the folder that holds them" in message
        assert ("adaface generate --" in message) == (role in ("base", "text_encoder", "vae"))


def test_a_role_that_is_named_twice_is_refused(copies, tmp_path):
    twice = ("--from", f"vae=hub:{VAE}", "--from", f" vae = hub:{BASE}")
    assert f"vae is given twice, the other is hub:{VAE}. Keep one" in error(tmp_path / "stack", *twice)
    twice = ("--licence", "vae=mit", "--licence", "vae=gpl")
    assert "--licence vae=gpl: vae is given twice" in error(tmp_path / "stack", *twice)


def test_a_role_that_is_named_and_left_out_is_refused(copies, tmp_path):
    message = error(tmp_path / "stack", "--from", f"teacher=hub:{ARC2FACE}/arc2face", "--without", "teacher")
    assert "teacher: named by --from or --licence and left out by --without. Give one" in message


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--photo", "nothere.png"), "nothere.png: no such file"),
        (("--photo", "page.jpg"), "page.jpg"),
        (("--photo", "blank.png"), "blank.png: no face found"),
        (("--steps", "0"), "steps=0: give a whole number from 1"),
        (("--device", "cuda:9"), 'device "cuda:9": not usable here'),
        (("--dtype", "fp8"), "dtype=fp8: give one of"),
        (("--offload", "model", "--device", "cpu"), "offload=model: the models are on the CPU already"),
        (("--offload", "all", "--device", "cpu"), "offload=all: give model or sequential"),
    ],
)
def test_options_of_the_self_check_are_looked_at_before_anything_is_fetched(
    copies, tmp_path, monkeypatch, arguments, words
):
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    (tmp_path / "page.jpg").write_text("<!DOCTYPE html><html><body>Log in</body></html>")
    Image.new("RGB", (300, 300)).save("blank.png")
    assert words in error(tmp_path / "stack", *arguments)


@pytest.mark.parametrize(
    "content", [b"<!DOCTYPE html><html>Log in</html>", b"", b"version https://git-lfs.git"]
)
@pytest.mark.parametrize("role", ["recognizer", "encoder"])
def test_a_file_of_ones_own_that_is_no_weights_is_refused_at_the_plan(copies, tmp_path, role, content):
    mine = tmp_path / {"recognizer": "x.onnx", "encoder": "x.pt"}[role]
    mine.write_bytes(content)
    message = error(tmp_path / "stack", "--plan", "--from", f"{role}={mine}")
    assert f"{mine}: " in message
    assert f"expected here: weights, for the role {role}" in message


def test_a_recogniser_that_is_no_network_is_refused_before_anything_is_fetched(copies, tmp_path):
    mine = tmp_path / "x.onnx"
    mine.write_bytes(b"\x08\x08" + bytes(5000))
    assert f"{mine}: not an ONNX network" in error(tmp_path / "stack", "--from", f"recognizer={mine}")


def test_a_cut_off_file_of_ones_own_is_refused_before_anything_is_fetched(copies, tmp_path):
    mine = shutil.copytree(copies / VAE, tmp_path / "mine")
    (mine / VAE_FILE).write_bytes((copies / VAE / VAE_FILE).read_bytes()[:-100])
    assert f"{mine / VAE_FILE}: cut off" in error(tmp_path / "stack", "--from", f"vae={mine}")


def test_a_pointer_in_a_copy_of_a_repository_is_refused_with_its_name(served, tmp_path, monkeypatch):
    models = shutil.copytree(served, tmp_path / "models")
    monkeypatch.setenv("ADAFACE_MODELS", str(models))
    unet = models / BASE / "unet" / VAE_FILE
    unet.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    message = error(tmp_path / "stack")
    assert f"{unet}: a git-lfs pointer" in message
    assert "git lfs pull" in message


def test_weights_of_another_model_leave_no_stack(copies, tmp_path):
    """Whole files in the right places: only the shapes tell."""
    mine = shutil.copytree(copies / VAE, tmp_path / "mine")
    shutil.copy(copies / BASE / "unet" / VAE_FILE, mine / VAE_FILE)
    folder = tmp_path / "stack"
    done = run("setup", "sd15", "-o", folder, "-y", "--no-check", *QUICK, "--from", f"vae={mine}", code=1)
    assert "a UNet alone, with no VAE in it" in done.stderr
    assert not (folder / "stack.json").exists()


def test_weights_that_do_not_fit_their_config_leave_no_stack(copies, tmp_path):
    mine = shutil.copytree(copies / VAE, tmp_path / "mine")
    shutil.copy(CONFIGS / "vae" / "config.json", mine)
    folder = tmp_path / "stack"
    done = run("setup", "sd15", "-o", folder, "-y", "--no-check", *QUICK, "--from", f"vae={mine}", code=1)
    assert "does not fit vae/config.json in" in done.stderr
    assert not (folder / "stack.json").exists()


def test_assumptions_follow_what_was_wished(copies, tmp_path):
    usual = make_plan("sd15").assumptions
    assert any("holds the autoencoder that is elsewhere called" in line for line in usual)
    assert any("trained with DreamShaper 8's text encoder" in line for line in usual)
    assert any("trained with the recogniser that Arc2Face brings" in line for line in usual)
    assert any("newest of 2 by its name" in line for line in usual)

    mine = {role: tmp_path / role for role in ("vae", "text_encoder")}
    shutil.copytree(copies / VAE, mine["vae"])
    shutil.copytree(copies / "Lykon/dreamshaper-8/text_encoder", mine["text_encoder"])
    onnx = shutil.copy(copies / ARC2FACE / "arcface.onnx", tmp_path / "glintr100.onnx")
    chosen = {role: str(path) for role, path in {**mine, "recognizer": onnx}.items()}
    plan = make_plan("sd15", Wishes(chosen))
    text = "\n".join(plan.assumptions)
    for gone in ("elsewhere called", "DreamShaper", "that Arc2Face brings"):
        assert gone not in text
    for role in chosen:
        assert chosen[role] in text
        assert "you named" in plan.role(role).purpose
    assert "RGB crops" in text


def test_a_recogniser_of_ones_own_is_warned_of_and_marked(copies, tmp_path):
    onnx = shutil.copy(copies / ARC2FACE / "arcface.onnx", tmp_path / "glintr100.onnx")
    folder = tmp_path / "stack"
    wished = ("setup", "sd15", "-o", folder, "-y", "--no-check", *QUICK, "--from", f"recognizer={onnx}")
    plan = run(*wished, "--plan")
    assert f"Warning: recognizer: {onnx} takes the place" in plan.stderr
    assert f"trained with the recogniser of {onnx}" in plan.stdout
    done = run(*wished)
    assert f"Warning: recognizer: {onnx} takes the place" in done.stderr
    assert f"- the encoder and the ID prompter were trained with the recogniser of {onnx}" in done.stdout
    role = json.loads((folder / "stack.json").read_text())["roles"]["recognizer"]
    assert "is your word, and no check can tell" in role["purpose"]
    report = json.loads(run(*wished, "--json").stdout)
    assert report["warnings"]
    assert any(str(onnx) in line for line in report["assumptions"])


def test_the_usual_recogniser_is_not_warned_of(copies):
    assert make_plan("sd15").warnings == ()
    assert make_plan("sd15", Wishes({"recognizer": f"hub:{ARC2FACE}/arcface.onnx"})).warnings == ()


def test_a_licence_that_one_states_is_written_down_as_such_and_lets_commercial_use_pass(copies, tmp_path):
    """A recogniser of one's own with a licence that allows it; all else is known by the hub, or stated."""
    onnx = shutil.copy(copies / ARC2FACE / "arcface.onnx", tmp_path / "mine.onnx")
    folder = tmp_path / "stack"
    wished = ["setup", "sd15", "-o", folder, "-y", "--no-check", *QUICK, "--from", f"recognizer={onnx}"]
    others = ("base", "text_encoder", "vae", "id_prompter", "encoder")
    wished += [word for role in others for word in ("--licence", f"{role}=mit")]
    refused = run(*wished, "--commercial-safe", code=1)
    assert (
        "recognizer: your own copy; its licence is not known here (not known to allow it)" in refused.stderr
    )
    assert "InsightFace" not in refused.stderr
    assert "name it here: --licence ROLE=NAME" in refused.stderr
    assert "stack.json" not in refused.stderr
    run(*wished, "--commercial-safe", "--licence", "recognizer=apache-2.0")
    roles = json.loads((folder / "stack.json").read_text())["roles"]
    assert roles["recognizer"]["licence"] == "apache-2.0 (as you state)"
    assert roles["recognizer"]["options"]["licence"] == "apache-2.0 (as you state)"
    assert Personalizer.from_pretrained(folder, device="cpu", commercial_safe=True).commercial_safe


def test_arc2faces_recogniser_is_refused_for_commercial_use_unless_its_licence_is_stated(copies, tmp_path):
    known = "ArcFace networks of InsightFace: non-commercial research only"
    assert known in make_plan("sd15").role("recognizer").licence
    bought = make_plan("sd15", Wishes(licences={"recognizer": "mit"}))
    assert bought.role("recognizer").licence == "mit (as you state)"


def test_a_licence_without_a_name_is_refused(copies, tmp_path):
    message = error(tmp_path / "stack", "--licence", "recognizer")
    assert "--licence recognizer: write ROLE=NAME, such as recognizer=mit" in message
