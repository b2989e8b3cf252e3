"""From folders of photos to a data set: what comes out, and that nothing else is touched."""

import json
import os
import shutil
from dataclasses import dataclass

import numpy as np
import pytest
from PIL import Image

from adaface.data.dataset import FaceDataset
from adaface.data.executors import run_chunks
from adaface.errors import NothingKeptError
from tiny_photos import (
    BLUE,
    GREEN,
    RED,
    YELLOW,
    Always,
    Guess,
    LeftHalf,
    copied,
    photo,
    save,
    tree,
    write_people,
)

MADE = {"dataset.json", "index.safetensors", "shard-000000.tar", "prepare.json", "rejected.jsonl"} | {
    "report.html", "contact_sheet.jpg", "meta_subj2person_type.json",
}  # fmt: skip


def test_a_folder_a_person_becomes_a_data_set(make, out):
    done = make()
    data = FaceDataset(out)
    assert (done.photos, done.kept, done.people, done.rejected) == (6, 6, 2, {})
    assert list(data.people) == ["ann", "bob"]
    assert [data[row].person for row in range(6)] == [0, 0, 0, 1, 1, 1]
    assert (data.recognizer, data.image_size, done.hash) == ("colour", 64, data.hash)
    assert {path.name for path in out.iterdir()} == MADE


def test_a_record_says_where_it_comes_from(make, out):
    make()
    facts = FaceDataset(out).facts(4)
    assert (facts["root"], facts["source"], facts["source_size"]) == ("raw", "bob/1.png", [256, 256])
    assert facts["face_px"] == pytest.approx(80, abs=0.1)
    assert facts["similarity"] > 0.9


def test_the_crop_shows_the_face_where_its_landmarks_are(make, out):
    make()
    sample = FaceDataset(out)[0]
    eyes, mouth = sample.landmarks[:2].mean(0), sample.landmarks[3:].mean(0)
    assert (eyes + 0.1 * (mouth - eyes)).tolist() == pytest.approx([31.5, 31.5], abs=0.01)
    red, green, _ = sample.image[:, 24:40, 24:40].float().mean((1, 2))
    assert red > green + 50


def test_nothing_of_the_users_is_changed(make, raw):
    before = tree(raw)
    save(photo(BLUE, 7), raw / "ann" / "9.png")
    make()
    (raw / "ann" / "9.png").unlink()
    assert tree(raw) == before


def test_the_same_photos_give_the_same_bytes_wherever_they_lie(make, raw, out, tmp_path):
    make()
    elsewhere = copied(raw, tmp_path / "moved" / "raw")
    make(elsewhere, to=tmp_path / "again")
    assert tree(tmp_path / "again") == tree(out)


@pytest.mark.slow
def test_two_workers_give_the_bytes_of_one(make, tmp_path, out):
    big = write_people(tmp_path / "big", photos=12)
    make(big)
    make(big, to=tmp_path / "two", runner=lambda chunks, stage: run_chunks(chunks, stage, workers=2))
    assert tree(tmp_path / "two") == tree(out)


def test_a_folder_of_many_people_is_one_name_and_nobody_is_compared(make, tmp_path, out):
    for k, colour in enumerate((RED, GREEN, BLUE)):
        save(photo(colour, k), tmp_path / "faces" / "deep" / f"{k}.png")
    done = make(mixed_roots=[tmp_path / "faces"])
    data = FaceDataset(out)
    assert (done.kept, list(data.people), data.is_mixed(0), data[0].class_word) == (
        3,
        ["faces"],
        True,
        "person",
    )


def test_both_kinds_of_folders_go_into_one_data_set(make, raw, tmp_path, out):
    save(photo(BLUE, 5), tmp_path / "faces" / "x.png")
    make(raw, mixed_roots=[tmp_path / "faces"])
    data = FaceDataset(out)
    assert [(name, data.is_mixed(k)) for k, name in enumerate(data.people)] == [
        ("ann", False), ("bob", False), ("faces", True),
    ]  # fmt: skip


def test_people_of_one_name_under_two_roots_are_two_people(make, raw, tmp_path, out):
    save(photo(BLUE, 5), tmp_path / "more" / "ann" / "0.png")
    make(raw, tmp_path / "more")
    assert list(FaceDataset(out).people) == ["ann", "bob", "more/ann"]


def test_a_parser_makes_the_masks_and_none_leaves_them_out(make, out, tmp_path):
    make(parser=Always(LeftHalf()))
    make(to=tmp_path / "bare")
    with_mask, without = FaceDataset(out)[0], FaceDataset(tmp_path / "bare")[0]
    assert with_mask.has_mask and not without.has_mask
    assert with_mask.mask[0, :, :32].all() and not with_mask.mask[0, :, 32:].any()
    assert without.mask.all()


def test_a_picture_without_face_parts_is_left_out(make, reasons, out):
    with pytest.raises(NothingKeptError, match=r"none of the 6 photos was kept. Its report.html says why"):
        make(parser=Always(LeftHalf(labels=9)))
    assert {code for code, _ in reasons(out).values()} == {"few_face_parts"}
    assert not (out / "dataset.json").exists()


def test_guesses_of_age_and_gender_become_class_words(make, out):
    make(traits=Always(Guess(24, "female")))
    sample = FaceDataset(out)[0]
    assert sample.class_word == "young woman"
    assert json.loads((out / "meta_subj2person_type.json").read_text()) == {
        "ann": "young woman",
        "bob": "young woman",
    }
    assert FaceDataset(out).facts(0)["age"] == 24


def test_a_file_of_class_words_counts_before_metainfo_and_guesses(make, raw, out, tmp_path):
    (raw / "ann" / "metainfo.json").write_text('{"gender": "M", "age": 40}')
    (raw / "bob" / "metainfo.json").write_text('{"person_type": "boy"}')
    (tmp_path / "types.json").write_text('{"bob": "man"}')
    make(person_types=tmp_path / "types.json", traits=Always(Guess()))
    assert json.loads((out / "meta_subj2person_type.json").read_text()) == {"ann": "man", "bob": "man"}


def test_what_cannot_be_decided_is_left_out_with_its_reason(make, raw, out, reasons):
    save(photo(YELLOW, 40), raw / "ann" / "stranger.png")
    save(photo(RED, 41, side=30), raw / "ann" / "small.png")
    save(photo(RED, 42, at=(41, 41)), raw / "ann" / "edge.png")
    (raw / "ann" / "copy.png").write_bytes((raw / "ann" / "0.png").read_bytes())
    save(photo(BLUE, 43), raw / "carl" / "0.png")
    save(photo(YELLOW, 44), raw / "carl" / "1.png")
    done = make(settings={"min_inside": 0.9})
    codes = {path: code for path, (code, _) in reasons(out).items()}
    assert codes == {
        "ann/stranger.png": "other_person", "ann/small.png": "face_too_small", "ann/edge.png": "cut_off",
        "ann/copy.png": "duplicate", "carl/0.png": "no_majority", "carl/1.png": "no_majority",
    }  # fmt: skip
    assert (done.kept, done.people) == (6, 2)


def test_of_two_faces_the_one_of_the_folder_is_taken(make, raw, out):
    both = photo(YELLOW, 51, at=(180, 128), on=photo(RED, 50, at=(70, 128), side=70), side=90)
    save(both, raw / "ann" / "both.png")
    make()
    data = FaceDataset(out)
    row = [data.facts(r)["source"] for r in range(len(data))].index("ann/both.png")
    assert data.facts(row)["face_px"] == pytest.approx(70, abs=0.1)
    assert np.dot(data.id_embeddings[row], data.id_embeddings[0]) > 0.9


@dataclass(frozen=True)
class Chokes:
    """A parser that fails at bright pictures."""

    name: str = "chokes"

    def __call__(self, picture):
        if picture.mean() > 128:
            raise ValueError("too bright\nfor me")
        return LeftHalf()(picture)


def test_a_photo_that_breaks_a_network_is_left_out_and_the_others_are_kept(make, raw, reasons, out):
    bright = photo(RED, 90, side=70, on=Image.new("RGB", (256, 256), "white"))
    save(bright, raw / "ann" / "bright.png")
    assert make(parser=Always(Chokes())).kept == 6
    assert reasons(out)["ann/bright.png"] == (
        "failed",
        "An error that nobody foresaw (ValueError: too bright). Please report it with this photo",
    )


def test_all_photos_are_kept_where_the_steps_are_switched_off(make, raw, out):
    save(photo(YELLOW, 40), raw / "ann" / "stranger.png")
    assert make(settings={"filter_people": False}).kept == 7


def test_one_figure_for_everything_can_be_given(make, raw, reasons, out):
    with pytest.raises(NothingKeptError):
        make(settings={"same_person": 0.99999})
    assert "similarity of 1.00 or more" in reasons(out)["ann/0.png"][1]


def test_the_same_picture_under_two_names_stays_where_it_fits(make, raw, reasons, out):
    (raw / "bob" / "9.png").write_bytes((raw / "ann" / "0.png").read_bytes())
    for k in range(3):
        save(photo(RED, 60 + k), raw / "bob" / f"r{k}.png")
    make(settings={"filter_people": False})
    assert reasons(out)["bob/9.png"][0] == "other_name" or reasons(out)["ann/0.png"][0] == "other_name"


def test_it_says_what_it_does_and_when_the_disk_may_be_too_small(make, raw, out, monkeypatch):
    said = []
    make(tell=said.append)
    assert said == ["Comparing the photos", "Writing the report", "Writing the data set"]
    usage = shutil.disk_usage(out)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=20_000))
    make(restart=True, tell=said.append)
    assert said[3] == "This may need 0.1 MB of disk while it works, and 0.0 MB are free"


def test_a_name_of_any_letters_and_bytes_goes_through(make, raw, out):
    (raw / "Zoë Ünal, jr.").mkdir()
    save(photo(BLUE, 70), raw / "Zoë Ünal, jr." / "a.b c.png")
    (raw / "ann" / "2.png").rename(raw / "ann" / os.fsdecode(b"\xff.png"))
    assert make().kept == 7
    data = FaceDataset(out)
    assert data.key(0).startswith("Zo-nal-jr-a-b-c-")
    assert "\\udcff" in data.facts(3)["source"]
