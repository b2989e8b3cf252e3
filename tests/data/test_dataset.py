"""Reading a data set: any row in any order, from threads and processes; whatever is damaged is named."""

import json
import pickle
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from adaface.data.dataset import FaceDataset
from adaface.data.layout import ShardReader
from adaface.data.shards import ShardWriter
from adaface.errors import DatasetError, MissingFileError
from tiny_data import FACE_POINTS, encoded, tiny_entries, write_tiny_data


@pytest.fixture
def folder(tmp_path):
    return write_tiny_data(tmp_path / "data", mixed=1)


def one_picture(folder, **change):
    """A data set of one picture, changed."""
    with ShardWriter(folder, image_size=64, recognizer="sface") as out:
        out.add(replace(next(iter(tiny_entries(1, 1))), **change))
    return FaceDataset(folder)


def flip_byte(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 0xFF
    path.write_bytes(data)


def place_in_index(folder, column):
    """Where a column's bytes begin in the index."""
    data = (folder / "index.safetensors").read_bytes()
    begin = 8 + int.from_bytes(data[:8], "little")
    return begin + json.loads(data[8:begin])[column]["data_offsets"][0]


def test_a_sample_is_what_was_written(folder):
    dataset, entries = FaceDataset(folder), list(tiny_entries(mixed=1))
    sample, entry = dataset[4], entries[4]
    assert (sample.key, sample.class_word, dataset.people[sample.person]) == (
        "person1-1",
        "woman",
        "Person 1",
    )
    assert (sample.image.shape, sample.image.dtype) == ((3, 64, 64), torch.uint8)
    assert sample.mask.shape == (1, 64, 64) and sample.mask.unique().tolist() == [0, 1] and sample.has_mask
    assert torch.equal(sample.id_embedding, torch.from_numpy(entry.id_embedding))
    assert torch.equal(sample.landmarks, torch.from_numpy(FACE_POINTS * np.float32(64)))
    assert sample.valid.min() == 1


def test_the_data_set_tells_what_it_holds(folder):
    dataset = FaceDataset(folder)
    assert (len(dataset), dataset.image_size, dataset.id_width, dataset.recognizer) == (12, 64, 128, "sface")
    assert list(dataset.people) == [f"Person {k}" for k in range(4)]
    assert [dataset.rows_of(p).tolist() for p in (0, 3)] == [[0, 1, 2], [9, 10, 11]]
    assert dataset.person_of.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert [dataset.is_mixed(p) for p in range(4)] == [False, False, False, True]
    assert (dataset.class_words, dataset.class_word(7)) == (("person", "woman", "young man"), "young man")
    assert (dataset.key(7), dataset.keys[7]) == ("person2-1", "person2-1")
    assert dataset.facts(7)["source"] == "Person 2/1.jpg" and dataset.settings == {"drawn": True}
    assert dataset.id_embeddings.shape == (12, 128) and dataset.qualities[1] == pytest.approx(0.51)


def test_the_hash_names_the_data(folder, tmp_path):
    same = FaceDataset(write_tiny_data(tmp_path / "same", mixed=1))
    other = FaceDataset(write_tiny_data(tmp_path / "other", seed=1))
    assert FaceDataset(folder).hash == same.hash != other.hash


def test_no_mask_reads_as_all_ones(tmp_path):
    sample = FaceDataset(write_tiny_data(tmp_path, masks=False))[0]
    assert not sample.has_mask and sample.mask.min() == 1


@pytest.mark.parametrize("around", [1, -1])
def test_beyond_the_photo_is_not_valid(tmp_path, around):
    corners = np.array([[10, 5], [80, 5], [80, 40], [10, 40]], np.float32)[::around]
    valid = one_picture(tmp_path, photo_corners=corners)[0].valid[0]
    expected = torch.zeros(64, 64, dtype=torch.uint8)
    expected[5:41, 10:] = 1
    assert torch.equal(valid, expected)


def test_rows_count_from_the_end_too_and_no_further(folder):
    dataset = FaceDataset(folder)
    assert dataset[-1].key == dataset[11].key
    for row in (12, -13):
        with pytest.raises(IndexError, match=f"row {row} of 12"):
            dataset[row]
    with pytest.raises(IndexError, match="person 4 of 4"):
        dataset.rows_of(4)


def test_a_data_set_goes_to_another_process_as_its_path(folder):
    dataset = FaceDataset(folder)
    dataset[0]
    data = pickle.dumps(dataset)
    assert len(data) < 500 and torch.equal(pickle.loads(data)[3].image, dataset[3].image)


def test_threads_may_read_at_once_with_few_files_open(folder):
    dataset = FaceDataset(folder)
    wanted = [dataset[row].image for row in range(12)]
    dataset._files = ShardReader(folder, [f"shard-{k:06d}.tar" for k in range(3)], open_files=1)
    rows = [row for _ in range(20) for row in (0, 5, 10, 11, 6, 1)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda row: dataset[row].image, rows))
    assert all(torch.equal(image, wanted[row]) for row, image in zip(rows, found, strict=True))


def test_a_folder_without_a_data_set_is_told_with_the_command(tmp_path):
    with pytest.raises(
        MissingFileError, match=r"no prepared data set \(dataset.json is not there\). Make one: adaface"
    ):
        FaceDataset(tmp_path)


def test_a_folder_of_photos_is_what_the_command_would_prepare(tmp_path):
    (tmp_path / "alice").mkdir()
    with pytest.raises(
        MissingFileError, match=rf"Make one: adaface prepare {re.escape(str(tmp_path))} FACES$"
    ):
        FaceDataset(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda card: card.update(kind="stack"),
            "not a data set's card. Give the folder that adaface prepare wrote",
        ),
        (lambda card: card.update(version=2), "version 2, and this adaface reads 1. Update it"),
        (lambda card: card.pop("id_width"), "id_width lacks, or is no such thing. Copy the data set again"),
        (lambda card: card.update(rows="12"), "rows lacks, or is no such thing"),
        (
            lambda card: card["index"].update(file="../index.safetensors"),
            "a file of it lacks, or is no such thing",
        ),
        (lambda card: card["shards"].append("shard"), "a file of it lacks, or is no such thing"),
        (lambda card: card.update(rows=13), r"column \w+ is \(12,.*\), and dataset.json says \(13,"),
    ],
)
def test_a_card_that_does_not_fit_is_told(folder, change, message):
    card = json.loads((folder / "dataset.json").read_text())
    change(card)
    (folder / "dataset.json").write_text(json.dumps(card))
    with pytest.raises(DatasetError, match=message):
        FaceDataset(folder)


def test_a_card_that_is_cut_off_is_told(folder):
    text = (folder / "dataset.json").read_text()
    (folder / "dataset.json").write_text(text[: len(text) // 2])
    with pytest.raises(DatasetError, match=r"dataset.json: not JSON \(.*Copy the data set again"):
        FaceDataset(folder)


@pytest.mark.parametrize("name", ["index.safetensors", "shard-000001.tar"])
def test_a_file_that_is_gone_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(MissingFileError, match=f"{name}: no such file. Copy the data set again"):
        FaceDataset(folder)[7]


def test_a_shard_that_is_cut_off_is_told_where(folder):
    path, dataset = folder / "shard-000001.tar", FaceDataset(folder)
    end = int(dataset._columns["begin"][9, 0]) + 100
    path.write_bytes(path.read_bytes()[:end])
    assert dataset[0].key == "person0-0"  # the other shards are whole
    with pytest.raises(DatasetError, match=rf"shard-000001.tar: cut off: nothing at byte {end}\."):
        dataset[9]


def test_a_changed_byte_in_a_picture_is_noticed(folder):
    dataset = FaceDataset(folder)
    begin = dataset._columns["begin"][6, 0]
    flip_byte(folder / "shard-000001.tar", begin + 300)
    with pytest.raises(
        DatasetError, match=r"shard-000001.tar: picture person2-0 \(row 6\) is not what was written"
    ):
        dataset[6]
    assert dataset[5].key == "person1-2"


@pytest.mark.parametrize(
    ("column", "width"),
    [
        ("id_embedding", 512),
        ("landmarks", 40),
        ("photo_corners", 32),
        ("person", 4),
        ("class_word", 1),
        ("quality", 4),
        ("begin", 24),
        ("length", 12),
        ("shard", 4),
        ("sha256", 32),
    ],
)
def test_a_changed_byte_in_any_column_is_noticed_at_its_row(folder, column, width):
    flip_byte(folder / "index.safetensors", place_in_index(folder, column) + 6 * width)
    dataset = FaceDataset(folder)
    assert dataset[5].key == "person1-2"
    with pytest.raises(DatasetError, match="Copy the data set again, or prepare it anew"):
        dataset[6]


@pytest.mark.parametrize(("column", "at"), [("person_rows", 8 * 6), ("person_begin", 8 * 3)])
def test_a_changed_list_of_a_persons_rows_is_noticed(folder, column, at):
    flip_byte(folder / "index.safetensors", place_in_index(folder, column) + at)
    with pytest.raises(DatasetError, match="the index is damaged at person 2"):
        FaceDataset(folder).rows_of(2)


def test_changed_names_are_noticed(folder):
    flip_byte(folder / "index.safetensors", place_in_index(folder, "people.letters") + len("Person 0Person"))
    with pytest.raises(DatasetError, match="row 3"):
        FaceDataset(folder)[3]


def test_verify_names_the_file_that_changed(folder):
    dataset = FaceDataset(folder)
    dataset.verify()
    flip_byte(folder / "shard-000002.tar", 10)
    with pytest.raises(DatasetError, match=r"shard-000002.tar: changed since it was written"):
        dataset.verify()


def test_a_picture_of_another_size_is_told(tmp_path):
    dataset = one_picture(tmp_path, image=encoded(Image.new("RGB", (32, 64)), "JPEG"))
    with pytest.raises(DatasetError, match="picture person0-0 is 32 x 64, not 64 each way"):
        dataset[0]


def test_a_picture_that_was_never_one_is_told(tmp_path):
    dataset = one_picture(tmp_path, image=b"not a picture")
    with pytest.raises(DatasetError, match="picture person0-0 cannot be decoded"):
        dataset[0]


@pytest.mark.parametrize("name", ["class_words", "keys", "people"])
@pytest.mark.parametrize("part", ["letters", "offsets"])
def test_an_index_without_a_table_of_texts_is_told(folder, name, part):
    path = folder / "index.safetensors"
    data, other = path.read_bytes(), f"{name}.{part}"
    path.write_bytes(data.replace(f'"{other}"'.encode(), f'"{"x" * len(other)}"'.encode()))
    with pytest.raises(DatasetError, match=rf"index\.safetensors: column {name}\.{part}"):
        FaceDataset(folder)


@pytest.mark.parametrize("name", ["dataset.json", "index.safetensors", "shard-000000.tar"])
def test_a_folder_in_the_place_of_a_file_is_told(folder, name):
    (folder / name).unlink()
    (folder / name).mkdir()
    with pytest.raises(DatasetError, match=rf"{name}: cannot be read \(Is a directory\)"):
        FaceDataset(folder)[0]
