"""Face packs as a prepared data set: whose photos, how they are cut, and what goes with them."""

import json

import pytest
import torch
from torch.testing import assert_close
from typer.testing import CliRunner

from adaface.cli.main import app
from adaface.data.dataset import FaceDataset
from adaface.data.latents import LatentCache
from adaface.errors import ConfigError, MissingFileError, WrongRecognizerError
from adaface.mini.dataset import write_dataset, write_latents
from adaface.mini.world.data import HELD_OUT, TRAIN, load_full
from adaface.mini.world.facts import CLASS_WORDS
from adaface.pipelines.stack import Stack


@pytest.fixture(scope="module")
def stack():
    return Stack.load("mini")


@pytest.fixture(scope="module")
def faces(drawn_data, stack, tmp_path_factory):
    folder = tmp_path_factory.mktemp("faces")
    write_dataset(drawn_data, folder, stack)
    return FaceDataset(folder)


def ids(split, drawn_data):
    return {tuple(row) for row in load_full(drawn_data, split=split).ids.tolist()}


def test_every_photo_to_train_on_is_there_once_and_nobody_else(faces, drawn_data):
    written = [tuple(row) for row in faces.id_embeddings.tolist()]
    assert len(written) == len(set(written))
    assert set(written) == ids(TRAIN, drawn_data)
    assert not set(written) & ids(HELD_OUT, drawn_data)


def test_photos_of_one_person_have_one_name_that_is_no_name(faces, drawn_data):
    pack = load_full(drawn_data, split=TRAIN)
    for number, name in enumerate(faces.people):
        assert name.isdigit()
        rows = faces.rows_of(number)
        theirs = pack.ids[pack.person == int(name)]
        assert {tuple(faces.id_embeddings[row].tolist()) for row in rows} == {
            tuple(row) for row in theirs.tolist()
        }


def test_the_centre_of_a_crop_is_kept_with_its_landmarks_and_id(faces, drawn_data):
    pack = load_full(drawn_data, split=TRAIN)
    sample = faces[3]
    row = int((pack.ids - sample.id_embedding).abs().sum(1).argmin())
    assert torch.equal(sample.image, pack.images[row][:, 8:72, 8:72])
    assert_close(sample.landmarks, pack.landmarks[row] - 8)
    assert faces.image_size == 64 and faces.recognizer == "sface"


def test_the_whole_crop_is_kept_where_that_is_asked_for(drawn_data, stack, tmp_path):
    write_dataset(drawn_data, tmp_path, stack, size=80)
    whole = FaceDataset(tmp_path)
    pack = load_full(drawn_data, split=TRAIN)
    row = int((pack.ids - whole[0].id_embedding).abs().sum(1).argmin())
    assert torch.equal(whole[0].image, pack.images[row])


def test_masks_are_the_segmenters_and_of_zero_and_one(faces, stack):
    from adaface.mini.measuring import load_segmenter

    segmenter = load_segmenter(stack.path("world") / "segmenter.safetensors")
    shares = []
    for sample in (faces[0], faces[5]):
        assert sample.has_mask and set(sample.mask.unique().tolist()) <= {0, 1}
        # of the cut picture; the data set's was made with the 8 pixels around it in view
        person = segmenter.person(sample.image[None].float() / 255)[0] >= 0.5
        shares.append(float((person == sample.mask.bool()).float().mean()))
    assert min(shares) > 0.8


def test_class_words_are_those_of_the_stacks_classifier(faces, stack):
    from adaface.mini.measuring import load_class_words

    net = load_class_words(stack.path("world") / "class_words.safetensors", faces.id_width)
    words = net.class_words(torch.from_numpy(faces.id_embeddings.copy()))
    assert [faces.class_word(row) for row in range(len(faces))] == [CLASS_WORDS[int(w)] for w in words]


def test_cached_latents_are_of_whole_photos(faces, stack):
    write_latents(faces.folder, stack, count=2, device="cpu")
    cache = LatentCache(faces)
    coins = [cache[row, k].augment for row in range(len(faces)) for k in range(2)]
    assert {coin.scale for coin in coins} == {1.0} and {coin.flip for coin in coins} == {True, False}
    assert all(cache[row, 0].valid.all() for row in range(len(faces)))


def test_a_split_that_is_held_out_cannot_be_written(drawn_data, stack, tmp_path):
    with pytest.raises(ConfigError, match='split="held_out": give one of train, validation'):
        write_dataset(drawn_data, tmp_path, stack, split="held_out")


@pytest.mark.parametrize("size", [14, 63, 82])
def test_a_size_that_cannot_be_cut_says_which_can(size, drawn_data, stack, tmp_path):
    with pytest.raises(ConfigError, match=f"size={size}: give an even number of pixels from 16 to 80"):
        write_dataset(drawn_data, tmp_path, stack, size=size)


def test_packs_that_are_not_there_are_named(stack, tmp_path):
    with pytest.raises(MissingFileError, match="lfw_64.npz"):
        write_dataset(tmp_path, tmp_path / "out", stack)


def test_a_stack_with_another_recogniser_is_refused(drawn_data, stack, tmp_path, monkeypatch):
    monkeypatch.setattr("adaface.mini.dataset.recognizer_name", lambda stack: "arcface")
    with pytest.raises(WrongRecognizerError, match='"sface".*"arcface".*Give a stack with sface'):
        write_dataset(drawn_data, tmp_path, stack)


def test_the_command_writes_photos_and_latents_and_says_how_many(drawn_data, tmp_path):
    out = tmp_path / "faces"
    told = CliRunner().invoke(
        app, ["mini", "dataset", "--data", str(drawn_data), "-o", str(out), "--latents", "1", "--json"]
    )
    assert told.exit_code == 0, told.output
    result = json.loads(told.stdout)
    dataset = FaceDataset(out)
    assert (result["rows"], result["hash"]) == (len(dataset), dataset.hash)
    assert LatentCache(dataset).count == 1


def test_validation_people_are_written_by_themselves(drawn_data, tmp_path):
    out = tmp_path / "valid"
    told = CliRunner().invoke(
        app,
        ["mini", "dataset", "--data", str(drawn_data), "-o", str(out), "--latents", "0", "--validation"],
    )
    assert told.exit_code == 0, told.output
    assert "photos of" in told.output
    written = {tuple(row) for row in FaceDataset(out).id_embeddings.tolist()}
    assert written and not written & ids(TRAIN, drawn_data) and not LatentCache.there(FaceDataset(out))


def kept(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_what_else_is_in_the_folder_is_not_written_over(drawn_data, stack, tmp_path):
    card = {"kind": "of prepare", "settings": {"size": 64}}
    (tmp_path / "dataset.json").write_text(json.dumps(card))
    before = kept(tmp_path)
    with pytest.raises(ConfigError, match="holds another data set; nothing was changed. Choose a new"):
        write_dataset(drawn_data, tmp_path, stack)
    assert kept(tmp_path) == before
    (tmp_path / "dataset.json").unlink()
    (tmp_path / "me.jpg").write_bytes(b"photo")
    with pytest.raises(ConfigError, match="not empty; nothing was changed"):
        write_dataset(drawn_data, tmp_path, stack)
    assert kept(tmp_path) == {"me.jpg": b"photo"}
    with pytest.raises(ConfigError, match="a file, not a folder"):
        write_dataset(drawn_data, tmp_path / "me.jpg", stack)


def test_the_same_data_set_is_made_anew(drawn_data, stack, tmp_path):
    first = write_dataset(drawn_data, tmp_path, stack, split="validation")
    assert write_dataset(drawn_data, tmp_path, stack, split="validation") == first
    with pytest.raises(ConfigError, match="holds another data set"):
        write_dataset(drawn_data, tmp_path, stack, split="train")
