"""The original's files beside photos, read and written."""

import json

import numpy as np
import pytest
from PIL import Image

from adaface.data.dataset import FaceDataset
from adaface.data.original_layout import (
    Metainfo,
    person_type,
    read_metainfo,
    read_person_types,
    vote,
    write_metainfo,
    write_person_types,
)
from adaface.data.prepare.run import Request, prepare
from adaface.data.prepare.settings import PrepareSettings
from adaface.errors import FormatError, MissingFileError
from tiny_photos import BLUE, RED, Always, Analyzer, Guess, LeftHalf, photo, save, write_people


def made(out, roots, **request):
    settings = PrepareSettings(size=64, image_type="png")
    wanted = {"data_roots": roots, "settings": settings, "analyzer": Analyzer(), **request}
    return prepare(Request(out=out, **wanted))


@pytest.mark.parametrize(
    ("gender", "age", "word"),
    [
        ("female", 18, "girl"), ("male", 18, "boy"), ("female", 18.5, "young woman"),
        ("male", 29, "young man"), ("female", 30, "woman"), ("male", 80, "man"),
        (None, 30, "person"), ("male", None, "person"),
    ],
)  # fmt: skip
def test_the_six_words_of_the_original(gender, age, word):
    assert person_type(gender, age) == word


def test_a_person_is_voted_on_and_a_tie_tells_nothing():
    assert vote([(20, "male"), (24, "male"), (28, "female")]) == Metainfo(
        person_type="young man", gender="male", age=24.0
    )
    assert vote([(20, "male"), (24, "female")]).person_type == "person"
    assert vote([]) == Metainfo()


def test_metainfo_comes_back_as_it_was_written(tmp_path):
    info = Metainfo(person_type="woman", gender="female", age=41.5, avg_sim=0.81)
    write_metainfo(tmp_path, info)
    assert read_metainfo(tmp_path) == info
    assert list(json.loads((tmp_path / "metainfo.json").read_text())) == [
        "gender", "age", "person_type", "avg_sim",
    ]  # fmt: skip


def test_metainfo_of_the_originals_own_tools_is_read(tmp_path):
    (tmp_path / "metainfo.json").write_text('{"gender": "M", "age": 33.2, "avg_sim": 0.7}')
    assert read_metainfo(tmp_path) == Metainfo(person_type="man", gender="male", age=33.2, avg_sim=0.7)
    (tmp_path / "metainfo.json").write_text('{"gender": [], "age": "old"}')
    assert read_metainfo(tmp_path).person_type == "person"
    assert read_metainfo(tmp_path / "nobody") == Metainfo()


def test_damaged_files_say_what_to_do(tmp_path):
    path = tmp_path / "metainfo.json"
    path.write_text("{")
    with pytest.raises(FormatError, match=r"metainfo.json: not readable as JSON .* Mend it, or take it away"):
        read_metainfo(tmp_path)
    path.write_text("[1]")
    with pytest.raises(FormatError, match="not a JSON object"):
        read_metainfo(tmp_path)
    path.write_text('{"ann": "lady"}')
    with pytest.raises(FormatError, match=r"'lady' is no class word. The words are girl, boy, young woman"):
        read_person_types(path)
    with pytest.raises(MissingFileError, match='It should hold {"folder name": "woman"'):
        read_person_types(tmp_path / "nowhere.json")


def test_class_words_come_back_as_they_were_written(tmp_path):
    words = {"bob": "man", "ann": "young woman", "x": "person"}
    assert read_person_types(write_person_types(tmp_path / "t.json", words)) == words


def test_the_originals_layout_is_written_beside_the_shards(tmp_path):
    raw, faces = write_people(tmp_path / "raw", photos=2), tmp_path / "faces"
    save(photo(BLUE, 60), faces / "x.png")
    save(photo(RED, 61), raw / "ann" / "more" / "0.png")  # the same file name once more
    made(tmp_path / "out", [raw], mixed_roots=[faces], original_layout=True, parser=Always(LeftHalf()),
         traits=Always(Guess(40, "male")))  # fmt: skip
    original = tmp_path / "out" / "original"
    names = sorted(path.relative_to(original).as_posix() for path in original.rglob("*") if path.is_file())
    assert names == [
        "meta_subj2person_type.json", "mixed/faces/x.png", "mixed/faces/x_mask.png",
        "people/ann/0.png", "people/ann/0_2.png", "people/ann/0_2_mask.png", "people/ann/0_mask.png",
        "people/ann/1.png", "people/ann/1_mask.png", "people/ann/metainfo.json",
        "people/bob/0.png", "people/bob/0_mask.png", "people/bob/1.png", "people/bob/1_mask.png",
        "people/bob/metainfo.json",
    ]  # fmt: skip
    assert json.loads((original / "meta_subj2person_type.json").read_text()) == {"ann": "man", "bob": "man"}
    mask = np.asarray(Image.open(original / "people/ann/0_mask.png"))
    assert (mask[:, :32] == 255).all() and not mask[:, 32:].any()


def test_a_restart_without_it_leaves_no_layout_of_the_old_data_set(tmp_path):
    raw = write_people(tmp_path / "raw", photos=2)
    made(tmp_path / "out", [raw], original_layout=True)
    made(tmp_path / "out", [raw], restart=True)
    assert not (tmp_path / "out" / "original").exists()


def test_the_originals_layout_is_read_again(tmp_path):
    raw = write_people(tmp_path / "raw", photos=2)
    for path in sorted(raw.rglob("*.png")):
        mask = np.zeros((256, 256), np.uint8)
        mask[:, 128:] = 255
        Image.fromarray(mask).save(path.with_name(f"{path.stem}_mask.png"))
    made(tmp_path / "a", [raw], original_layout=True, traits=Always(Guess(12, "female")))
    again = tmp_path / "a" / "original"
    assert json.loads((again / "people/ann/metainfo.json").read_text())["person_type"] == "girl"
    first = FaceDataset(tmp_path / "a")
    assert first[0].has_mask and first[0].class_word == "girl"
    assert abs(float(first[0].mask.float().mean()) - 0.5) < 0.05
    words = read_person_types(again / "meta_subj2person_type.json")
    assert words == {"ann": "girl", "bob": "girl"}


def test_a_photo_never_lies_where_a_mask_does(tmp_path):
    raw = tmp_path / "raw"
    for k, name in enumerate(("p.jpg", "p_mask.jpg", "p_MASK.webp", "p_2.png")):
        save(
            photo(RED, k), raw / "ann" / name, **({"lossless": True} if "webp" in name else {"format": "PNG"})
        )
    made(tmp_path / "out", [raw], original_layout=True, parser=Always(LeftHalf()))
    folder = tmp_path / "out" / "original" / "people" / "ann"
    names = {path.name for path in folder.glob("*.png")}
    masks = {name for name in names if name.lower().endswith("_mask.png")}
    assert len(names) == 8 and names - masks == {name.replace("_mask.png", ".png") for name in masks}
    for name in names:
        with Image.open(folder / name) as picture:
            assert picture.mode == ("L" if name in masks else "RGB")
