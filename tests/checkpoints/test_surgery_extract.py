"""Models taken out of checkpoints, and put back."""

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from adaface.checkpoints.ldm import SD15
from adaface.checkpoints.surgery.common import ORIGIN
from adaface.checkpoints.surgery.extracting import extract
from adaface.checkpoints.surgery.folders import copy_rest
from adaface.checkpoints.surgery.swapping import swap
from adaface.errors import ConfigError, FormatError
from tiny_ldm import TEXT, UNET, VAE, assert_same, files, ldm_vae, metadata, models, opened, part


@pytest.mark.parametrize(("role", "prefix"), [("unet", UNET), ("vae", VAE), ("text_encoder", TEXT)])
def test_a_model_comes_out_as_a_file_without_its_prefix(role, prefix, ldm_file, tmp_path):
    out = extract(ldm_file, role, tmp_path / "out.safetensors").path
    keep = "text_model." if role == "text_encoder" else ""
    expected = {keep + k.removeprefix(prefix): v for k, v in part(load_file(ldm_file), prefix).items()}
    expected.pop("text_model.embeddings.position_ids", None)
    assert_same(load_file(out), expected)


@pytest.mark.parametrize("role", ["vae", "text_encoder"])
def test_what_was_taken_out_goes_back_in(role, ldm_file, other, tmp_path):
    alone = extract(other, role, tmp_path / "alone.safetensors").path
    a = swap(ldm_file, alone, tmp_path / "a.safetensors", role).path
    b = swap(ldm_file, other, tmp_path / "b.safetensors", role).path
    assert_same(load_file(a), load_file(b))


def test_a_whole_file_becomes_the_folder_it_was_made_of(ldm_file, base_folder, base_pipe, tmp_path):
    out = extract(ldm_file, "pipeline", tmp_path / "out", base_folder).path
    assert_same(models(opened(out)), models(base_pipe))
    assert files(out).keys() == files(base_folder).keys()


def test_the_shipped_configs_bring_no_words_of_their_own(tmp_path):
    copy_rest(SD15, tmp_path / "out", ["unet", "vae", "text_encoder"])
    names = {p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*") if p.is_file()}
    tokenizer = ("LICENSE", "merges.txt", "special_tokens_map.json", "tokenizer_config.json", "vocab.json")
    assert names == {
        "model_index.json", "scheduler/scheduler_config.json", "unet/config.json", "vae/config.json",
        "text_encoder/config.json", *(f"tokenizer/{name}" for name in tokenizer),
    }  # fmt: skip


def test_a_model_comes_out_of_a_folder_with_its_own_config(base_folder, base_pipe, tmp_path):
    from diffusers import AutoencoderKL

    vae = AutoencoderKL.from_pretrained(extract(base_folder, "vae", tmp_path / "vae").path)
    assert_same(vae.state_dict(), base_pipe.vae.state_dict())
    assert ldm_vae(vae).keys() == ldm_vae(base_pipe.vae).keys()


def test_a_model_of_other_sizes_needs_its_configs(ldm_file, tmp_path):
    with pytest.raises(FormatError, match="does not fit vae/config.json in"):
        extract(ldm_file, "vae", tmp_path / "vae")
    assert not (tmp_path / "vae").exists()


def test_a_pipeline_is_a_folder(ldm_file, base_folder, tmp_path):
    with pytest.raises(ConfigError, match="a pipeline is a folder"):
        extract(ldm_file, "pipeline", tmp_path / "x.safetensors", base_folder)


def test_an_unknown_role_names_the_known(ldm_file, tmp_path):
    with pytest.raises(ConfigError, match="'lora': not a model of a checkpoint. Choose from unet, vae"):
        extract(ldm_file, "lora", tmp_path / "x.safetensors")


def test_shards_are_read_as_one(base_folder, other_folder, ldm_file, other, tmp_path):
    place = other_folder / "vae"
    tensors = load_file(place / "diffusion_pytorch_model.safetensors")
    (place / "diffusion_pytorch_model.safetensors").unlink()
    halves = {"a.safetensors": list(tensors)[::2], "b.safetensors": list(tensors)[1::2]}
    for name, keys in halves.items():
        save_file({key: tensors[key] for key in keys}, place / name)
    index = {key: name for name, keys in halves.items() for key in keys}
    (place / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    out = swap(ldm_file, other_folder, tmp_path / "out.safetensors", "vae").path
    assert_same(part(load_file(out), VAE), part(load_file(other), VAE))
    told = json.loads(metadata(out)[ORIGIN])["inputs"]
    assert [Path(item["file"]).name for item in told] == [
        "tiny.safetensors",
        "a.safetensors",
        "b.safetensors",
    ]


@pytest.mark.parametrize(
    "index", ["{}", '{"weight_map": {}}', '{"weight_map": [1]}', '{"weight_map": {"a": 3}}']
)
def test_an_index_of_shards_that_names_none_is_told(index, base_folder, tmp_path):
    base = shutil.copytree(base_folder, tmp_path / "base")
    (base / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    (base / "unet" / "diffusion_pytorch_model.safetensors.index.json").write_text(index)
    with pytest.raises(FormatError, match=r"index.json: names no files of weights \(weight_map\)"):
        extract(base, "unet", tmp_path / "unet.safetensors")
