"""Is it the same thing? DINO's class tokens."""

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import ViTConfig, ViTModel

import tiny_scores as tiny
from adaface.errors import FormatError, MissingFileError, WrongModelError
from adaface.evaluation.scores.dino import MEAN, STD, DinoScores


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=32,
        patch_size=8,
        initializer_range=0.5,
    )
    return ViTModel(config, add_pooling_layer=False).eval()


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("vit")
    model.save_pretrained(folder)
    return folder


def noise(seed, size=32):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8))


def test_features_are_the_unit_class_tokens_of_the_stock_model(model, folder):
    image = noise(0)
    pixels = torch.from_numpy(np.asarray(image) / 255).permute(2, 0, 1).float()
    pixels = (pixels - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    with torch.no_grad():
        token = model(pixel_values=pixels[None]).last_hidden_state[0, 0].numpy()
    (row,) = DinoScores.from_pretrained(folder).embed([image])
    assert np.allclose(row, token / np.linalg.norm(token), atol=1e-5)


def test_the_score_is_the_mean_over_the_photos(tmp_path):
    class Plane(DinoScores):
        def __init__(self):
            self._photos = {}

        def embed(self, images):
            return tiny.FakeClip().embed_images(images).numpy()

    scorer = Plane()
    photos = [tiny.photo(tmp_path, name) for name in ("red", "blue")]
    scorer.begin(tiny.world(tiny.person("alice", photos), tiny.person("bob")))
    rows = scorer(
        [
            tiny.case(tiny.picture("yellow"), "alice"),
            tiny.case(tiny.picture("purple"), "alice"),
            tiny.case(tiny.picture("red"), "bob"),
            tiny.case(tiny.broken(), "alice"),
        ]
    )
    assert [row["dino"] for row in rows] == [pytest.approx(0.7), pytest.approx(-0.5), None, None]


def test_a_photo_itself_has_1_and_another_picture_less(folder, tmp_path):
    noise(0).save(tmp_path / "photo.png")
    scorer = DinoScores.from_pretrained(folder)
    assert scorer.begin(tiny.world(tiny.person("bag", [tmp_path / "photo.png"], broad_class="object"))) == []
    half = Image.blend(noise(0), noise(1), 0.5)
    rows = scorer([tiny.case(image, "bag") for image in (noise(0), half, noise(1))])
    same, near, far = (row["dino"] for row in rows)
    assert same == pytest.approx(1, abs=1e-5)
    assert same > near > far


def test_a_pickled_file_is_read_as_well_and_nothing_of_it_runs(model, folder, tmp_path):
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    safe, pickled = (DinoScores.from_pretrained(place) for place in (folder, tmp_path))
    assert np.array_equal(safe.embed([noise(3)]), pickled.embed([noise(3)]))


def test_a_folder_without_weights_is_told(folder, tmp_path):
    with pytest.raises(MissingFileError, match=r"no config\.json; give the folder of a ViTModel"):
        DinoScores.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    with pytest.raises(MissingFileError, match=r"neither model\.safetensors nor pytorch_model\.bin"):
        DinoScores.from_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"x")
    with pytest.raises(FormatError, match="not a readable ViTModel.*Copy the folder again"):
        DinoScores.from_pretrained(tmp_path)


def test_another_kind_of_model_is_told(tiny_stack):
    with pytest.raises(
        WrongModelError, match=r"its config\.json is of a clip, where a ViTModel was expected"
    ):
        DinoScores.from_pretrained(tiny_stack / "clip")


def test_weights_of_another_size_are_told(model, folder, tmp_path):
    from safetensors.torch import save_file

    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    rows = {k: v.clone() for k, v in model.state_dict().items() if "layer.1" not in k and "layers.1" not in k}
    save_file(rows, tmp_path / "model.safetensors")
    with pytest.raises(FormatError, match="weights are missing"):
        DinoScores.from_pretrained(tmp_path)
