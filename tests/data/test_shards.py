"""Writing a data set: equal entries give equal bytes, all appears at once, and any tool reads the tars."""

import io
import json
import tarfile
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from adaface.data.dataset import FaceDataset
from adaface.data.index import ColumnSpool
from adaface.data.shards import Entry, ShardWriter
from adaface.errors import ConfigError, WriteError
from adaface.files import sha256
from tiny_data import tiny_entries, write_tiny_data


def writer(folder, **given):
    return ShardWriter(folder, **({"image_size": 64, "recognizer": "sface", "rows_per_shard": 5} | given))


def write(folder, entries):
    with writer(folder) as out:
        for entry in entries:
            out.add(entry)


def files(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture
def entry() -> Entry:
    return next(iter(tiny_entries(1, 1)))


def test_equal_entries_give_equal_bytes_of_every_file(tmp_path):
    first, second = (files(write_tiny_data(tmp_path / name)) for name in ("a", "b"))
    assert first == second
    assert sorted(first) == [
        "dataset.json", "index.safetensors", "shard-000000.tar", "shard-000001.tar", "shard-000002.tar",
    ]  # fmt: skip


def test_a_shard_is_a_plain_tar_of_samples_in_order(tmp_path):
    write_tiny_data(tmp_path, people=2, photos=2)
    with tarfile.open(tmp_path / "shard-000000.tar") as tar:
        members = tar.getmembers()
        facts = json.load(tar.extractfile("person1-0.json"))
        picture = Image.open(tar.extractfile("person1-0.jpg"))
        assert picture.size == (64, 64)
    keys = ["person0-0", "person0-1", "person1-0", "person1-1"]
    assert [m.name for m in members] == [
        f"{key}.{end}" for key in keys for end in ("jpg", "mask.png", "json")
    ]
    assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode) for m in members} == {(0, 0, 0, "", "", 0o644)}
    assert {
        "row": 2,
        "person": "Person 1",
        "source": "Person 1/0.jpg",
        "class_word": "woman",
    }.items() <= facts.items()
    assert np.shape(facts["landmarks"]) == (5, 2)


def test_a_mask_that_is_not_known_is_no_file(tmp_path, entry):
    with writer(tmp_path) as out:
        out.add(replace(entry, mask=None))
    with tarfile.open(tmp_path / "shard-000000.tar") as tar:
        assert tar.getnames() == ["person0-0.jpg", "person0-0.json"]


def test_the_card_counts_and_hashes_every_file(tmp_path):
    with writer(tmp_path, settings={"size": 64}) as out:
        for entry in tiny_entries(4, 3):
            out.add(entry)
    card = json.loads((tmp_path / "dataset.json").read_text())
    assert (card["rows"], card["people"], card["recognizer"], card["settings"]) == (
        12,
        4,
        "sface",
        {"size": 64},
    )
    assert [shard["rows"] for shard in card["shards"]] == [5, 5, 2]
    for file in (card["index"], *card["shards"]):
        path = tmp_path / file["file"]
        assert (sha256(path), path.stat().st_size) == (file["sha256"], file["bytes"])
    assert out.summary.hash == card["index"]["sha256"]
    assert (out.summary.rows, out.summary.people, out.summary.shards) == (12, 4, 3)


def test_nothing_appears_until_all_is_there(tmp_path):
    with writer(tmp_path) as out:
        for entry in tiny_entries(4, 3):
            out.add(entry)
        assert [p.name for p in tmp_path.iterdir()] == [".writing"]
    assert (tmp_path / "dataset.json").is_file() and not (tmp_path / ".writing").exists()


def test_after_an_error_the_older_data_set_is_as_it_was(tmp_path):
    before = files(write_tiny_data(tmp_path))
    with pytest.raises(ZeroDivisionError):
        write(tmp_path, (entry for k, entry in enumerate(tiny_entries(2, 4, seed=1)) if 1 / (7 - k)))
    assert files(tmp_path) == before


def test_a_new_data_set_takes_the_place_of_an_older_larger_one(tmp_path):
    write_tiny_data(tmp_path / "one")
    write_tiny_data(tmp_path / "one", people=2, photos=1, seed=7)
    write_tiny_data(tmp_path / "two", people=2, photos=1, seed=7)
    assert files(tmp_path / "one") == files(tmp_path / "two")


def test_what_a_killed_writer_left_is_cleared_away(tmp_path):
    (tmp_path / ".writing" / "columns").mkdir(parents=True)
    (tmp_path / ".writing" / "shard-000000.tar").write_text("half")
    FaceDataset(write_tiny_data(tmp_path)).verify()
    assert not (tmp_path / ".writing").exists()


def test_other_files_of_the_folder_stay(tmp_path):
    (tmp_path / "report.html").write_text("mine")
    (tmp_path / "shard-of-glass.tar").write_text("mine too")
    write_tiny_data(tmp_path)
    assert (tmp_path / "report.html").read_text() == "mine"
    assert (tmp_path / "shard-of-glass.tar").read_text() == "mine too"


def test_people_need_not_come_in_order(tmp_path):
    entries = list(tiny_entries(3, 2))
    with writer(tmp_path) as out:
        for k in (0, 2, 4, 1, 3, 5):
            out.add(entries[k])
    dataset = FaceDataset(tmp_path)
    assert [dataset.rows_of(p).tolist() for p in range(3)] == [[0, 3], [1, 4], [2, 5]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"key": "a.b"}, "key 'a.b': give 1 to 80 letters of A-Z"),
        ({"key": ""}, "key '': give 1 to 80 letters"),
        ({"key": "../up"}, "key '../up': give 1 to 80 letters"),
        ({"image_type": "gif"}, "image_type='gif'. Give jpg, webp, png"),
        ({"image": b""}, "image_type='jpg'. Give"),
        ({"landmarks": np.zeros((4, 2))}, r"landmarks \(4, 2\): give \(5, 2\)"),
        ({"landmarks": np.full((5, 2), np.nan)}, "landmarks are not numbers. Leave the picture out"),
        ({"id_embedding": np.zeros((1, 8))}, r"id_embedding \(1, 8\): give \(D_id,\)"),
        ({"id_embedding": np.array([np.inf])}, "id_embedding are not numbers"),
        ({"photo_corners": np.zeros((3, 2))}, r"photo_corners \(3, 2\): give \(4, 2\)"),
    ],
)
def test_an_entry_that_cannot_be_written_is_told(entry, change, message):
    with pytest.raises(ConfigError, match=message):
        replace(entry, **change)


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ({}, "key 'person0-0' is there twice. Give every picture its own"),
        ({"key": "b", "id_embedding": np.zeros(8)}, "b: an ID embedding of 8 numbers after ones of 128"),
        ({"key": "b", "mixed": True}, "b: 'Person 0' is one person here and many there"),
    ],
)
def test_entries_that_do_not_go_together_are_told_and_nothing_is_written(tmp_path, entry, second, message):
    with pytest.raises(ConfigError, match=message):
        write(tmp_path, [entry, replace(entry, **second)])
    assert list(tmp_path.iterdir()) == []


def test_no_entries_make_no_data_set(tmp_path):
    with (
        pytest.raises(ConfigError, match="no picture was kept, so there is no data set to write"),
        writer(tmp_path),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_sizes_that_make_no_sense_are_told(tmp_path):
    with pytest.raises(ConfigError, match="image_size=0, rows_per_shard=5: give 1 or more"):
        writer(tmp_path, image_size=0)
    with pytest.raises(ConfigError, match="nothing is written yet"):
        _ = writer(tmp_path).summary


def test_a_place_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match=r"not written \(.*\). Free space, or choose another place"):
        write_tiny_data(tmp_path / "file")


@pytest.mark.parametrize(
    "owner", [(tarfile.TarFile, "addfile"), (ColumnSpool, "append"), (ColumnSpool, "write")]
)
def test_a_full_disk_leaves_nothing_half_written(tmp_path, monkeypatch, entry, owner):
    before = files(write_tiny_data(tmp_path))

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(*owner, full)
    with pytest.raises(WriteError, match=r"not written \(No space left on device\)"):
        write(tmp_path, [entry])
    assert files(tmp_path) == before


def test_class_words_are_kinds_of_people(tmp_path, entry):
    many = (replace(entry, key=f"k{n}", class_word=f"name {n}") for n in range(257))
    with pytest.raises(ConfigError, match="k256: more than 256 class words. Give kinds of people, not names"):
        write(tmp_path, many)


def test_pictures_of_any_kind_are_kept_as_they_are(tmp_path, entry):
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), (9, 90, 200)).save(buffer, "PNG")
    with writer(tmp_path) as out:
        out.add(replace(entry, image=buffer.getvalue(), image_type="png"))
    assert FaceDataset(tmp_path)[0].image[:, 5, 5].tolist() == [9, 90, 200]
