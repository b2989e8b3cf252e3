"""Options that name other models, devices, precision and memory, as the commands understand them."""

import json
import shutil
from pathlib import Path

import pytest

import tiny
from adaface.identity.files import Identity
from tiny_cli import PROMPT, error, run


@pytest.fixture
def person(personalizer, here):
    """A file of a person who does not exist."""
    return personalizer.identity(id_embedding=tiny.unit_vector(1), name="person").save(here / "p.safetensors")


def draw(person, *options) -> dict:
    done = run("generate", "--identity", person, "-p", PROMPT, "-n", 1, "--steps", 1, "--json", *options)
    return json.loads(done.stdout)


def test_a_base_of_ones_own_and_a_short_name_of_a_dtype(person, tiny_stack, here):
    base = shutil.copytree(tiny_stack / "base", here / "base")
    made = draw(person, "--base", base, "--dtype", "bf16", "--slicing", "--tiling", "--no-safety-checker")
    assert len(made["pictures"]) == 1


@pytest.mark.parametrize("flag", ["--base", "--vae", "--text-encoder", "--encoder", "--id-prompter"])
def test_a_path_that_is_not_there_is_told_before_a_model_is_opened(person, no_models, flag):
    told = error("generate", "--identity", person, "-p", PROMPT, flag, "no/where")
    assert "no/where: no such file or folder" in told
    assert "write hub:no/where" in told


@pytest.mark.parametrize(
    ("inside", "message"),
    [
        ("base/unet", "base/unet: a UNet alone; expected here: a Stable Diffusion 1.x checkpoint"),
        ("encoder", "encoder: an AdaFace encoder; expected here: a Stable Diffusion 1.x checkpoint"),
        ("", "neither model_index.json nor config.json in it; expected here: a diffusers folder"),
    ],
)
def test_another_folder_as_the_base_is_told_by_what_it_is(person, tiny_stack, no_models, inside, message):
    assert message in error("generate", "--identity", person, "-p", PROMPT, "--base", tiny_stack / inside)


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="this system has no /proc")
def test_a_folder_of_the_systems_own_is_refused_before_anything_is_drawn(person, no_models):
    assert "not writable" in error("generate", "--identity", person, "-p", PROMPT, "-o", "/proc/pictures")


def test_commercial_use_is_refused_by_the_licence_of_a_persons_file(person, no_models):
    bad = Identity.load(person)
    files = Identity(bad.name, bad.subject_embeds, None, {**bad.provenance, "licence": "research only"})
    files.save("bad.safetensors")
    told = error("generate", "--identity", "bad.safetensors", "-p", PROMPT, "--commercial-safe")
    assert "person: research only (forbids it)" in told


def test_commercial_use_of_the_mini_stack_is_refused(person):
    told = error("generate", "--identity", person, "-p", PROMPT, "--stack", "mini", "--commercial-safe")
    assert "base: research only" in told


def test_an_offload_on_the_cpu_is_told(person):
    told = error("generate", "--identity", person, "-p", PROMPT, "--device", "cpu", "--offload", "model")
    assert "offload=model: the models are on the CPU already. Leave it out" in told


def test_embed_takes_another_recogniser(photo):
    told = error("embed", photo, "--recognizer", "glintr100.onnx")
    assert "glintr100.onnx: no such file or folder" in told
