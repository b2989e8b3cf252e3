"""Does a picture fit its words?"""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from adaface.errors import ConfigError, FormatError, MissingFileError
from adaface.evaluation.text_match import ClipScorer, first_choice, plain_words

TEXTS = ["a photo of a man", "sepia sky", "a red cap"]


@pytest.fixture(scope="module")
def scorer(tiny_stack):
    return ClipScorer.from_pretrained(tiny_stack / "clip")


def noise(seed: int, size=(64, 64)) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), dtype=np.uint8))


def test_scores_are_those_of_the_stock_model(scorer):
    image = noise(0, (32, 32))
    rows = scorer.tokenizer(TEXTS, padding="max_length", max_length=64, return_tensors="pt")
    pixels = torch.from_numpy(np.asarray(image) / 255).permute(2, 0, 1).float()
    pixels = (pixels - scorer.mean) / scorer.std
    with torch.no_grad():
        stock = scorer.model(input_ids=rows["input_ids"], pixel_values=pixels[None])
    expected = (stock.logits_per_image / scorer.model.logit_scale.exp()).detach().numpy()
    assert np.allclose(scorer([image], TEXTS), expected, atol=1e-6)


def test_scores_are_cosines_one_row_a_picture(scorer):
    scores = scorer([noise(0), noise(1, (100, 70))], TEXTS)
    assert scores.shape == (2, 3)
    assert scores.dtype == np.float32
    assert np.abs(scores).max() <= 1


def test_a_score_depends_on_its_own_picture_and_text_only(scorer):
    together, alone = scorer([noise(0), noise(1)], TEXTS), scorer([noise(1)], TEXTS[2:])
    assert np.allclose(together[1, 2], alone[0, 0], atol=1e-6)


def test_the_middle_of_a_wide_picture_is_scored(scorer):
    square = noise(0, (32, 32))
    wide = Image.new("RGB", (64, 32), "red")
    wide.paste(square, (16, 0))
    assert np.allclose(scorer([wide], TEXTS), scorer([square], TEXTS), atol=1e-6)


def test_a_pickled_file_is_read_as_well_and_nothing_of_it_runs(scorer, tiny_stack, tmp_path):
    folder = shutil.copytree(tiny_stack / "clip", tmp_path / "clip")
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    pickled = ClipScorer.from_pretrained(folder)
    assert np.array_equal(pickled([noise(0)], TEXTS), scorer([noise(0)], TEXTS))


def test_words_beyond_the_text_length_are_cut(scorer):
    assert scorer([noise(0)], ["red " * 200]).shape == (1, 1)


def test_nothing_to_compare_is_told(scorer):
    with pytest.raises(ConfigError, match="0 pictures and 3 texts"):
        scorer([], TEXTS)


def test_first_choice_is_the_own_text_on_top():
    scores = np.array([[0.3, 0.2], [0.9, 0.1], [0.1, 0.9]], np.float32)
    assert first_choice(scores, [0, 1, 1]) == [True, False, True]


def test_pixels_are_scaled_as_the_folder_says(tiny_stack, tmp_path):
    folder = shutil.copytree(tiny_stack / "clip", tmp_path / "clip")
    (folder / "preprocessor_config.json").write_text(
        json.dumps({"image_mean": [0.5] * 3, "image_std": [0.25] * 3})
    )
    scorer = ClipScorer.from_pretrained(folder)
    assert scorer.mean.flatten().tolist() == [0.5] * 3
    assert scorer.std.flatten().tolist() == [0.25] * 3


def test_a_folder_that_is_no_clip_model_is_told(tmp_path, tiny_stack):
    with pytest.raises(MissingFileError, match=r"no config\.json; give the folder of a CLIPModel"):
        ClipScorer.from_pretrained(tmp_path)
    folder = shutil.copytree(tiny_stack / "clip", tmp_path / "clip")
    (folder / "model.safetensors").write_bytes(b"x")
    with pytest.raises(FormatError, match="not a readable CLIPModel.*Copy the folder again"):
        ClipScorer.from_pretrained(folder)
    (folder / "preprocessor_config.json").write_text("[")
    shutil.copy(tiny_stack / "clip" / "model.safetensors", folder)
    with pytest.raises(FormatError, match="not a preprocessor's config.*Copy it again, or remove it"):
        ClipScorer.from_pretrained(folder)


@pytest.mark.parametrize(
    ("prompt", "plain"),
    [
        ("a photo of <person> in a meadow", "a photo of a person in a meadow"),
        ("a photo of a <person>", "a photo of a person"),
        ("a photo of a woman <alice> at sunset", "a photo of a woman at sunset"),
        ("a photo of a <alice> woman", "a photo of a woman"),
        ("<alice> and <bob>", "a person and a person"),
        ("a photo of a cap", "a photo of a cap"),
        ("A <person> in a meadow", "A person in a meadow"),
    ],
)
def test_a_prompt_in_plain_words_names_nobody(prompt, plain):
    assert plain_words(prompt) == plain


@pytest.mark.parametrize(
    ("prompt", "plain"),
    [
        ("a photo of <alice>", "a photo of an old woman"),
        ("the <alice> with a <bob>", "the old woman with a dog"),
        ("a dog <bob> and <carol>", "a dog and a person"),
    ],
)
def test_names_become_the_class_words_that_are_given(prompt, plain):
    assert plain_words(prompt, {"alice": "old woman", "bob": "dog"}) == plain
