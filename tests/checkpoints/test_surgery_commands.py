"""`adaface checkpoint`: what users type, and what they read."""

import json

import pytest
from safetensors.torch import load_file

from adaface.checkpoints.surgery.averaging import average
from adaface.checkpoints.surgery.swapping import swap
from tiny_cli import error, run
from tiny_ldm import TEXT, assert_same, changed


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch, ldm_file):
    """A folder to work in, with two checkpoints."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.safetensors").write_bytes(ldm_file.read_bytes())
    changed(ldm_file, tmp_path / "b.safetensors", seed=1)
    return tmp_path


@pytest.mark.parametrize(("command", "role"), [("swap-text-encoder", "text_encoder"), ("swap-vae", "vae")])
def test_swapping_writes_what_the_function_writes(command, role):
    done = run("checkpoint", command, "a.safetensors", "b.safetensors", "-o", "c.safetensors")
    swap("a.safetensors", "b.safetensors", "d.safetensors", role)
    assert_same(load_file("c.safetensors"), load_file("d.safetensors"))
    assert done.stdout.startswith(f"c.safetensors: {len(load_file('c.safetensors'))} tensors, 0.0")


def test_averaging_takes_weights(here):
    run("checkpoint", "average", "a.safetensors", "b.safetensors", "-o", "c.safetensors", "--weights", "3,1")
    average(["a.safetensors", "b.safetensors"], "d.safetensors", [3, 1])
    assert_same(load_file("c.safetensors"), load_file("d.safetensors"))


def test_a_text_encoder_comes_out(here):
    run("checkpoint", "extract", "a.safetensors", "text-encoder", "-o", "t.safetensors")
    whole, name = load_file("a.safetensors"), "final_layer_norm.bias"
    assert load_file("t.safetensors")[f"text_model.{name}"].equal(whole[TEXT + name])


def test_a_pipeline_comes_out_as_a_folder(here, base_folder):
    run("checkpoint", "extract", "a.safetensors", "pipeline", "-o", "folder", "--config", base_folder)
    assert (here / "folder" / "unet" / "diffusion_pytorch_model.safetensors").is_file()


def test_json_says_what_was_written():
    done = run("checkpoint", "average", "a.safetensors", "b.safetensors", "-o", "c.safetensors", "--json")
    report = json.loads(done.stdout)
    assert report["path"] == "c.safetensors"
    assert report["tensors"] == len(load_file("c.safetensors"))
    assert sorted(report["left_out"]) == [
        "model_ema.decay",
        "model_ema.diffusion_modelinput_blocks00weight",
    ]


def test_a_result_that_is_there_is_replaced_only_if_asked_for():
    words = ("checkpoint", "swap-vae", "a.safetensors", "b.safetensors", "-o", "b.safetensors")
    assert "is there already. Choose another name, or say --overwrite" in error(*words)
    run(*words, "--overwrite")


def test_weights_that_are_no_numbers_are_told():
    words = ("checkpoint", "average", "a.safetensors", "b.safetensors", "-o", "c.safetensors", "--weights")
    assert "--weights 1;2: not numbers. Write them with commas, as 2,1,1" in error(*words, "1;2")


def test_a_missing_file_is_told():
    assert "none.safetensors: no such file. Check the path" in error(
        "checkpoint", "swap-vae", "a.safetensors", "none.safetensors", "-o", "c.safetensors"
    )


@pytest.mark.parametrize("command", ["swap-text-encoder", "swap-vae", "average", "extract"])
def test_help_shows_an_example(command):
    assert f"adaface checkpoint {command} " in " ".join(run("checkpoint", command, "--help").stdout.split())
