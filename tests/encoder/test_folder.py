"""An encoder as a folder, and its config."""

import dataclasses
import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from adaface.encoder.config import AdaFaceEncoderConfig
from adaface.encoder.fingerprint import text_encoder_fingerprint
from adaface.encoder.inverse import AdaFaceEncoder
from adaface.errors import ConfigError, FormatError, MissingFileError, WriteError


@pytest.fixture
def encoder(model, tokenizer):
    start = AdaFaceEncoder.from_text_encoder(model, tokenizer, recognizer="sface", licence="research only")
    return start.expand_attention((4, 2, 1), 0.1, torch.Generator().manual_seed(0)).eval()


@pytest.fixture
def id_prompt():
    return torch.randn(1, 16, 40, generator=torch.Generator().manual_seed(0))


def change(folder, **entries):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))


def test_a_saved_encoder_comes_back_bit_for_bit(encoder, id_prompt, tmp_path):
    encoder.save_pretrained(tmp_path)
    loaded = AdaFaceEncoder.from_pretrained(tmp_path)
    assert torch.equal(loaded(id_prompt, id_scale=1.5), encoder(id_prompt, id_scale=1.5))
    assert loaded.config == encoder.config
    assert not loaded.training


def test_saving_what_was_loaded_gives_equal_bytes(encoder, tmp_path):
    encoder.save_pretrained(tmp_path / "a")
    AdaFaceEncoder.from_pretrained(tmp_path / "a").save_pretrained(tmp_path / "b")
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_the_folder_holds_two_files_and_says_where_it_comes_from(encoder, tmp_path):
    encoder.save_pretrained(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["kind"] == "adaface-encoder"
    assert config["multipliers"] == [4, 2, 1]
    assert (config["recognizer"], config["licence"], config["id_scale"]) == ("sface", "research only", 1.0)
    assert config["tokens"][","] == 267
    assert config["base_text_encoder"].startswith("sha256:")


def test_pads_are_stored_and_not_made_again(encoder, id_prompt, tmp_path):
    with torch.no_grad():
        encoder.pad_embeddings.fill_(0.5)
    encoder.save_pretrained(tmp_path)
    assert (AdaFaceEncoder.from_pretrained(tmp_path)(id_prompt, 0.0) == 0.5).all()


def test_half_precision_halves_the_file_and_loads_as_float32(encoder, tmp_path):
    encoder.save_pretrained(tmp_path / "full")
    encoder.save_pretrained(tmp_path / "half", dtype=torch.float16)
    full, half = ((tmp_path / n / "model.safetensors").stat().st_size for n in ("full", "half"))
    assert half < 0.55 * full
    assert AdaFaceEncoder.from_pretrained(tmp_path / "half").prefix.dtype == torch.float32
    assert encoder.prefix.dtype == torch.float32


def test_a_fingerprint_outlives_saving_loading_and_the_loaded_type(encoder, tmp_path):
    encoder.save_pretrained(tmp_path, dtype=torch.float16)
    full, half = (AdaFaceEncoder.from_pretrained(tmp_path, dtype) for dtype in (torch.float32, torch.float16))
    assert full.fingerprint() == half.fingerprint()
    assert full.fingerprint().startswith("sha256:")
    assert len(full.fingerprint()) == len("sha256:") + 64


def test_a_fingerprint_changes_with_any_weight(encoder):
    before = encoder.fingerprint()
    with torch.no_grad():
        encoder.pad_embeddings[0, 0] += 1e-3
    assert encoder.fingerprint() != before


def test_a_fingerprint_is_the_same_on_every_machine_and_version(model):
    known = "sha256:ab7192d80d59cdbfa33b3286756abf6c1388337dd7faf41e0d55eb8ffee0780a"
    assert text_encoder_fingerprint(model) == known
    assert text_encoder_fingerprint(model.double()) == known


def test_a_missing_folder_says_what_belongs_there(tmp_path):
    with pytest.raises(MissingFileError, match=r"config.json: no such file; an encoder's folder holds"):
        AdaFaceEncoder.from_pretrained(tmp_path / "nowhere")


def test_weights_that_are_not_there_are_an_error(encoder, tmp_path):
    encoder.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(MissingFileError, match=r"model.safetensors: no such file"):
        AdaFaceEncoder.from_pretrained(tmp_path)


def test_another_kind_of_folder_is_refused(encoder, tmp_path):
    encoder.save_pretrained(tmp_path)
    change(tmp_path, kind="unet")
    with pytest.raises(FormatError, match="not the config of an AdaFace encoder"):
        AdaFaceEncoder.from_pretrained(tmp_path)


def test_a_later_format_is_refused(encoder, tmp_path):
    encoder.save_pretrained(tmp_path)
    change(tmp_path, format=2)
    with pytest.raises(FormatError, match="format 2, this version reads 1"):
        AdaFaceEncoder.from_pretrained(tmp_path)


def test_an_unknown_entry_names_the_nearest_known(encoder, tmp_path):
    encoder.save_pretrained(tmp_path)
    change(tmp_path, recogniser="sface")
    with pytest.raises(FormatError, match="unknown entry 'recogniser'; known near it: recognizer"):
        AdaFaceEncoder.from_pretrained(tmp_path)


def test_a_config_that_contradicts_itself_is_refused(encoder, tmp_path):
    encoder.save_pretrained(tmp_path)
    change(tmp_path, heads=7)
    with pytest.raises(FormatError, match="width=40, heads=7"):
        AdaFaceEncoder.from_pretrained(tmp_path)


def test_a_config_with_a_wrong_type_is_refused(encoder, tmp_path):
    encoder.save_pretrained(tmp_path)
    change(tmp_path, layers="many")
    with pytest.raises(FormatError, match=r"config\.json"):
        AdaFaceEncoder.from_pretrained(tmp_path)


def test_a_config_that_is_no_json_is_refused(encoder, tmp_path):
    encoder.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(FormatError, match="not JSON"):
        AdaFaceEncoder.from_pretrained(tmp_path)


def test_weights_of_other_multipliers_are_refused(encoder, tmp_path):
    encoder.save_pretrained(tmp_path)
    change(tmp_path, multipliers=[4, 4, 1])
    with pytest.raises(FormatError, match=r"k_proj.* is \(80.*its config.json asks for \(160"):
        AdaFaceEncoder.from_pretrained(tmp_path)


def test_a_missing_weight_is_refused(encoder, tmp_path):
    encoder.save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    save_file({k: v for k, v in load_file(path).items() if k != "pad_embeddings"}, path)
    with pytest.raises(FormatError, match=r"1 tensors missing \['pad_embeddings'\]"):
        AdaFaceEncoder.from_pretrained(tmp_path)


def test_a_place_that_cannot_be_written_is_an_error(encoder, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match="not written"):
        encoder.save_pretrained(tmp_path / "file" / "folder")


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"width": 0}, "width=0: give 1 or more"),
        ({"hidden_act": "swish"}, "hidden_act='swish'"),
        ({"mixed_layers": 4}, "mixed_layers=4: the encoder has 3 layers"),
        ({"multipliers": (1, 2)}, r"multipliers=\[1, 2\]: give one number >= 1 for each of 3 layers"),
    ],
)
def test_a_config_checks_itself(entries, message):
    sizes = {"width": 12, "layers": 3, "heads": 3, "mlp_width": 20}
    with pytest.raises(ConfigError, match=message):
        AdaFaceEncoderConfig(**{**sizes, **entries})


def test_a_config_cannot_be_changed(encoder):
    with pytest.raises(dataclasses.FrozenInstanceError):
        encoder.config.width = 3
