"""ID embedding -> ID prompt embeddings (numbers of the original: tests/golden)."""

import shutil

import pytest
import torch
from torch.testing import assert_close

from adaface.encoder.id_prompter import Arc2FacePrompter
from adaface.errors import ConfigError, MissingFileError, ShapeError
from adaface.text.clip import TextEncoder
from adaface.text.folder import save_text_encoder

CLOSE = {"rtol": 0, "atol": 1e-5}


@pytest.fixture
def prompter(model, tokenizer):
    return Arc2FacePrompter(model, tokenizer)


@pytest.fixture
def faces():
    return torch.randn(3, 32, generator=torch.Generator().manual_seed(0))


def test_the_face_stands_in_the_place_of_the_word_id(model, tokenizer, prompter, faces):
    text = TextEncoder(model)
    ids = tokenizer("photo of a id person", padding="max_length", return_tensors="pt")["input_ids"]
    rows = text.embed_tokens(ids).repeat(3, 1, 1).detach()
    rows[:, 4] = torch.nn.functional.pad(torch.nn.functional.normalize(faces, dim=-1), (0, 8))
    assert_close(prompter.context(faces), text(rows), **CLOSE)


def test_the_id_prompt_is_the_context_behind_photo_of_a(prompter, faces):
    assert_close(prompter(faces), prompter.context(faces)[:, 4:20], **CLOSE)


@pytest.mark.parametrize("k", [1, 4, 16, 73])
def test_any_number_of_id_vectors_that_fits(model, tokenizer, faces, k):
    prompter = Arc2FacePrompter(model, tokenizer, num_id_vectors=k)
    assert prompter(faces).shape == (3, k, 40)
    assert_close(prompter(faces), prompter.context(faces)[:, 4 : 4 + k], **CLOSE)


@pytest.mark.parametrize("d_id", [1, 17, 40])
def test_any_recogniser_no_wider_than_the_text(prompter, d_id):
    assert prompter(torch.ones(2, d_id)).shape == (2, 16, 40)


def test_the_length_of_the_id_embedding_does_not_matter(prompter, faces):
    assert_close(prompter(17 * faces), prompter(faces), **CLOSE)


@pytest.mark.parametrize("length", [1, 3, 21, 77])
def test_a_context_has_the_length_asked_for(prompter, faces, length):
    assert_close(prompter.context(faces, length), prompter.context(faces)[:, :length], **CLOSE)


def test_gradients_reach_the_text_model_and_the_face(prompter, faces):
    faces.requires_grad_()
    prompter(faces).square().sum().backward()
    assert faces.grad.abs().max() > 0
    assert all(p.grad is not None for n, p in prompter.named_parameters() if "layers.0.mlp" in n)


def test_the_text_model_is_used_not_copied(model, prompter):
    assert {id(p) for p in prompter.parameters()} == {id(p) for p in model.parameters()}


@pytest.mark.parametrize("names", [("text_encoder", "tokenizer"), ("encoder", "tokenizer"), (".", ".")])
def test_three_layouts_of_folders_are_read(model, golden, tmp_path, faces, prompter, names):
    save_text_encoder(model, tmp_path / names[0])
    shutil.copytree(golden / "text-encoder" / "tokenizer", tmp_path / names[1], dirs_exist_ok=True)
    assert_close(Arc2FacePrompter.from_pretrained(tmp_path)(faces), prompter(faces), rtol=0, atol=0)


def test_a_folder_without_a_text_model_is_an_error(tmp_path):
    with pytest.raises(MissingFileError, match=r"no text_encoder/config.json, encoder/config.json"):
        Arc2FacePrompter.from_pretrained(tmp_path)


def test_a_tokenizer_that_splits_the_template_is_refused(model, golden, tmp_path):
    folder = tmp_path / "tokenizer"
    shutil.copytree(golden / "text-encoder" / "tokenizer", folder)
    save_text_encoder(model, tmp_path / "text_encoder")
    merges = (folder / "merges.txt").read_text(encoding="utf-8").splitlines()
    kept = [line for line in merges if line.replace(" ", "") not in ("id</w>",)]
    assert len(kept) == len(merges) - 1
    (folder / "merges.txt").write_text("\n".join(kept) + "\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"'id' is not one known token of this tokenizer, but \[\d+, \d+\]"):
        Arc2FacePrompter.from_pretrained(tmp_path)


def test_more_id_vectors_than_places_are_refused(model, tokenizer):
    with pytest.raises(ConfigError, match="num_id_vectors=74: this text model has places for 1 to 73"):
        Arc2FacePrompter(model, tokenizer, num_id_vectors=74)


def test_a_recogniser_wider_than_the_text_is_refused(prompter):
    with pytest.raises(ShapeError, match=r"\(1, 41\): this prompter takes \(B, up to 40\)"):
        prompter(torch.zeros(1, 41))


@pytest.mark.parametrize("length", [0, 78])
def test_a_context_longer_than_the_text_is_refused(prompter, faces, length):
    with pytest.raises(ShapeError, match=f"{length} positions of a text length of 77"):
        prompter.context(faces, length)
