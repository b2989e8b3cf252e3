"""Text encoders and tokenizers as folders."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModel

from adaface.errors import FormatError, MissingFileError
from adaface.text.clip import text_parts
from adaface.text.folder import load_text_encoder, load_tokenizer, save_text_encoder


def same_weights(a, b):
    first, second = text_parts(a).state_dict(), text_parts(b).state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_a_saved_text_encoder_comes_back(model, tmp_path):
    save_text_encoder(model, tmp_path)
    assert same_weights(load_text_encoder(tmp_path), model)


def test_saved_keys_carry_the_prefix_that_every_version_reads(model, tmp_path):
    save_text_encoder(model, tmp_path)
    assert all(key.startswith("text_model.") for key in load_file(tmp_path / "model.safetensors"))


def test_stock_transformers_opens_what_we_save(model, tmp_path):
    save_text_encoder(model, tmp_path)
    assert same_weights(CLIPTextModel.from_pretrained(tmp_path), model)


def test_keys_without_the_prefix_are_read_too(model, tmp_path):
    save_text_encoder(model, tmp_path)
    path = tmp_path / "model.safetensors"
    save_file({key.removeprefix("text_model."): value for key, value in load_file(path).items()}, path)
    assert same_weights(load_text_encoder(tmp_path), model)


def test_half_weights_are_loaded_as_what_is_asked_for(model, tmp_path):
    save_text_encoder(model.half(), tmp_path)
    assert load_text_encoder(tmp_path).dtype == torch.float32
    assert load_text_encoder(tmp_path, torch.float16).dtype == torch.float16


def test_an_old_buffer_of_position_ids_is_passed_over(model, tmp_path):
    save_text_encoder(model, tmp_path)
    path = tmp_path / "model.safetensors"
    save_file({**load_file(path), "text_model.embeddings.position_ids": torch.arange(77)[None]}, path)
    assert same_weights(load_text_encoder(tmp_path), model)


def test_a_missing_tensor_is_an_error_and_no_random_weight(model, tmp_path):
    save_text_encoder(model, tmp_path)
    path = tmp_path / "model.safetensors"
    tensors = load_file(path)
    del tensors["text_model.final_layer_norm.weight"]
    save_file({**tensors, "surplus": torch.zeros(1)}, path)
    with pytest.raises(FormatError, match=r"1 tensors missing \['final_layer_norm.weight'\], 1 not known"):
        load_text_encoder(tmp_path)


def test_weights_of_another_size_than_the_config_are_an_error(model, tmp_path):
    save_text_encoder(model, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "intermediate_size": 81}))
    with pytest.raises(FormatError, match=r"its config.json asks for \(81"):
        load_text_encoder(tmp_path)


def test_a_cut_off_file_is_an_error(model, tmp_path):
    save_text_encoder(model, tmp_path)
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(FormatError, match=r"model.safetensors: cut off \(\d+ of \d+ bytes\)"):
        load_text_encoder(tmp_path)


def test_a_config_that_is_none_is_an_error(model, tmp_path):
    save_text_encoder(model, tmp_path)
    (tmp_path / "config.json").write_text("hello")
    with pytest.raises(FormatError, match="not a CLIP text model's config"):
        load_text_encoder(tmp_path)


def test_a_folder_of_pickled_weights_says_that_they_are_not_read(model, tmp_path):
    save_text_encoder(model, tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(MissingFileError, match="safetensors alone. Convert pickled ones first"):
        load_text_encoder(tmp_path)


def test_an_empty_folder_says_what_belongs_there(tmp_path):
    with pytest.raises(MissingFileError, match=r"config.json and model.safetensors"):
        load_text_encoder(tmp_path)
    with pytest.raises(MissingFileError, match=r"vocab.json, merges.txt and tokenizer_config.json"):
        load_tokenizer(tmp_path)


def test_a_tokenizer_reads_words_as_single_tokens(tokenizer):
    assert tokenizer("photo of a person")["input_ids"] == [606, 576, 530, 320, 591, 607]


def test_a_tokenizer_without_a_length_is_an_error(golden, tmp_path):
    shutil.copytree(golden / "text-encoder" / "tokenizer", tmp_path, dirs_exist_ok=True)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    del config["model_max_length"]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(FormatError, match="no model_max_length"):
        load_tokenizer(tmp_path)


def test_a_loaded_text_encoder_runs_the_stock_way_and_learns(model, tmp_path):
    save_text_encoder(model, tmp_path)
    loaded = load_text_encoder(tmp_path)
    ids = torch.tensor([[606, 576, 530, 607]])
    assert torch.equal(loaded(ids).last_hidden_state, model(ids).last_hidden_state)
    assert all(p.requires_grad and p.device.type == "cpu" for p in loaded.parameters())
