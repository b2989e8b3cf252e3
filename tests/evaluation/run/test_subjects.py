from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from adaface.errors import ConfigError, MissingFileError, NoFaceError
from adaface.evaluation.run.about import About
from adaface.evaluation.run.subjects import MOST_PHOTOS, Splitting, cast_of, find_subjects
from adaface.face.photos import LeftOut, PhotoSet
from adaface.identity.files import Identity


class FakeAnalyzer:
    """Finds a face in every photo whose name does not begin with "no"."""

    recognizer = SimpleNamespace(name="fake")

    def identity(self, photos, *, keep_all):
        used = [str(path) for path in photos if not path.name.startswith("no")]
        if not used:
            raise NoFaceError(f"{photos[0]}: no face found")
        out = [LeftOut(str(path), "no face found") for path in photos if str(path) not in used]
        return PhotoSet(np.ones(4, np.float32), (), tuple(used), tuple(out))


def photos(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.new("RGB", (8, 8)).save(folder / f"{name}.png")
    return folder


def cast(places, about=None, **splitting):
    return cast_of(find_subjects(places), FakeAnalyzer(), Splitting(**splitting), about or {})


def stems(paths):
    return {path.stem for path in paths}


def identity_file(path, name="kim", vector=True):
    face = torch.nn.functional.normalize(torch.ones(4), dim=0) if vector else None
    return Identity(name, torch.zeros(16, 8), face, {"recognizer": "sface"}).save(path)


def test_a_folder_of_photos_is_a_person(tmp_path):
    (one,) = find_subjects([photos(tmp_path / "alice", "a", "b")])
    assert (one.name, stems(one.photos)) == ("alice", {"a", "b"})


def test_a_folder_of_folders_is_everybody_in_it(tmp_path):
    photos(tmp_path / "all" / "bob", "a")
    photos(tmp_path / "all" / "alice", "b")
    (tmp_path / "all" / "empty").mkdir()
    identity_file(tmp_path / "all" / "kim.safetensors")
    assert [one.name for one in find_subjects([tmp_path / "all"])] == ["alice", "bob", "kim"]


def test_a_folders_name_becomes_one_that_may_stand_in_a_prompt(tmp_path):
    assert find_subjects([photos(tmp_path / "Mary <Ann> Lee", "a")])[0].name == "Mary_Ann_Lee"


def test_photos_beside_folders_of_people_are_told(tmp_path):
    photos(tmp_path / "all", "cover")
    photos(tmp_path / "all" / "alice", "a")
    photos(tmp_path / "all" / "bob", "a")
    with pytest.raises(ConfigError, match=r"all: photos \(cover\.png\) beside folders of photos \(alice\)"):
        find_subjects([tmp_path / "all"])


def test_photos_in_a_folder_below_are_told_and_not_looked_at(tmp_path):
    photos(tmp_path / "alice", "a", "b")
    photos(tmp_path / "alice" / "old", "c")
    for place in (tmp_path, tmp_path / "alice"):
        made = cast([place])
        assert "alice: photos in folders below are not looked at: old" in made.notes
        assert [one.name for one in made.subjects] == ["alice"]


def test_a_name_in_another_unicode_form_is_the_same_name(tmp_path):
    assert find_subjects([photos(tmp_path / "Ame\u0301lie", "a")])[0].name == "Am\u00e9lie"


def test_photos_that_score_are_others_than_those_given(tmp_path):
    folder = photos(tmp_path / "alice", *"abcde")
    (one,) = cast([folder], given=2).subjects
    assert one.apart
    assert (len(one.given), len(one.scored)) == (2, 3)
    assert stems(one.given) | stems(one.scored) == set("abcde")


def test_the_seed_decides_the_split(tmp_path):
    folder = photos(tmp_path / "alice", *"abcdefgh")
    splits = [cast([folder], seed=seed).subjects[0].given for seed in (0, 0, 1, 2, 3, 4)]
    assert splits[0] == splits[1]
    assert len(set(splits)) > 1


def test_nobodys_split_depends_on_who_else_is_there(tmp_path):
    alice, bob = photos(tmp_path / "alice", *"abcd"), photos(tmp_path / "bob", *"abcd")
    assert cast([alice]).subjects[0].given == cast([bob, alice]).subjects[1].given


def test_one_photo_is_left_to_score_however_many_are_to_be_given(tmp_path):
    (one,) = cast([photos(tmp_path / "alice", *"abc")], given=9).subjects
    assert (len(one.given), len(one.scored)) == (2, 1)


def test_with_one_photo_the_given_one_scores_and_that_is_said(tmp_path):
    made = cast([photos(tmp_path / "alice", "a")])
    assert not made.subjects[0].apart
    assert made.subjects[0].references == made.subjects[0].given
    assert made.notes == ["alice: one usable photo, so that the figures are those of the given photo"]


def test_photos_without_a_face_are_not_used_and_named(tmp_path):
    made = cast([photos(tmp_path / "alice", "a", "b", "none")])
    assert stems([*made.subjects[0].given, *made.subjects[0].scored]) == {"a", "b"}
    assert made.notes == ["alice: none.png is not used: no face found"]


def test_whoever_has_no_face_is_left_out_and_the_others_go_on(tmp_path):
    made = cast([photos(tmp_path / "alice", "a", "b"), photos(tmp_path / "nobody", "no1")])
    assert [one.name for one in made.subjects] == ["alice"]
    assert "no face found" in made.left_out["nobody"]
    assert any(note.startswith("nobody is left out: ") for note in made.notes)


def test_faces_nowhere_are_an_error_with_the_reasons(tmp_path):
    with pytest.raises(
        ConfigError, match=r"none of 1 subjects can be used\. alice is left out: .*no face found"
    ):
        cast([photos(tmp_path / "alice", "no1", "no2")])


def test_very_many_photos_are_cut_down_by_the_seed(tmp_path):
    made = cast([photos(tmp_path / "alice", *(f"p{k}" for k in range(MOST_PHOTOS + 5)))])
    one = made.subjects[0]
    assert len(one.given) + len(one.scored) == MOST_PHOTOS
    assert made.notes == [f"alice: {MOST_PHOTOS} of {MOST_PHOTOS + 5} photos are used, drawn by the seed"]


def test_photos_of_a_thing_need_no_face_but_must_be_pictures(tmp_path):
    folder = photos(tmp_path / "bag", "no1", "no2", "no3")
    (folder / "broken.jpg").write_text("no picture")
    made = cast([folder], {"bag": About("red bag", "object")})
    assert (made.subjects[0].class_word, made.subjects[0].broad_class) == ("red bag", "object")
    assert made.subjects[0].apart
    assert "bag: broken.jpg is not used: not a picture" in made.notes[0]


def test_an_identity_file_is_a_subject_with_its_vector(tmp_path):
    made = cast([identity_file(tmp_path / "kim.safetensors")])
    (one,) = made.subjects
    assert (one.name, one.recognizer, one.given, one.scored) == ("kim", "sface", (), ())
    assert one.id_embedding is not None
    assert "likeness is that to its ID embedding" in made.notes[0]


def test_an_identity_file_without_a_vector_says_what_cannot_be_scored(tmp_path):
    made = cast([identity_file(tmp_path / "kim.safetensors", vector=False)])
    assert made.subjects[0].id_embedding is None
    assert "likeness is not scored" in made.notes[0]


def test_all_photos_beside_an_identity_file_of_the_name_score(tmp_path):
    made = cast([identity_file(tmp_path / "kim.safetensors"), photos(tmp_path / "kim", "a", "b")])
    (one,) = made.subjects
    assert stems(one.scored) == {"a", "b"}
    assert "That they are others is not known here" in made.notes[0]


def test_two_of_one_name_are_told(tmp_path):
    places = [photos(tmp_path / "x" / "alice", "a"), photos(tmp_path / "y" / "alice", "a")]
    with pytest.raises(ConfigError, match="a second subject named alice"):
        find_subjects(places)


def test_what_is_no_subject_says_what_one_is(tmp_path):
    folder = photos(tmp_path / "alice", "a")
    with pytest.raises(ConfigError, match=r"a\.png: a file\. A subject is a folder of photos of one person"):
        find_subjects([folder / "a.png"])
    with pytest.raises(MissingFileError, match="no such folder or file"):
        find_subjects([tmp_path / "bob"])
    (tmp_path / "void").mkdir()
    with pytest.raises(ConfigError, match="neither photos nor folders of photos in it"):
        find_subjects([tmp_path / "void"])


def test_folders_of_folders_of_folders_get_a_hint(tmp_path):
    photos(tmp_path / "raw" / "sample" / "alice", "a")
    with pytest.raises(ConfigError, match=r"folders of folders: give .*raw/sample"):
        find_subjects([tmp_path / "raw"])


def test_no_photo_for_the_identity_is_refused():
    with pytest.raises(ConfigError, match="--given 0: give 1 or more photos"):
        Splitting(given=0)
