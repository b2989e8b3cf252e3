"""What the photos of the subjects are worth, and what is said about it."""

import numpy as np
import pytest

import tiny_scores as tiny
from adaface.evaluation.scores.faces import FaceScorer


def begin(*subjects):
    scorer = FaceScorer(tiny.FakeAnalyzer())
    return scorer, scorer.begin(tiny.world(*subjects))


def similarity(scorer, face, name):
    return scorer([tiny.case(tiny.picture(face), name)])[0]["similarity"]


def test_good_photos_need_no_note(tmp_path):
    _, notes = begin(tiny.person("a", [tiny.photo(tmp_path, "red")], [tiny.photo(tmp_path, "orange")]))
    assert notes == []


def test_a_photo_without_a_face_is_left_out_and_told(tmp_path):
    scorer, notes = begin(
        tiny.person(
            "a", [tiny.photo(tmp_path, "red")], [tiny.photo(tmp_path), tiny.photo(tmp_path, "orange")]
        )
    )
    assert similarity(scorer, "orange", "a") == pytest.approx(1)
    assert len(notes) == 1
    assert "nobody.png: no face found. It is left out of the scores of faces" in notes[0]


def test_an_unreadable_photo_is_left_out_and_told(tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no picture")
    scorer, notes = begin(tiny.person("a", [tmp_path / "bad.png", tiny.photo(tmp_path, "red")]))
    assert similarity(scorer, "red", "a") == 1
    assert len(notes) == 1
    assert "bad.png" in notes[0] and "The photo is left out" in notes[0]


def test_somebody_without_any_face_has_no_similarity_but_faces_are_counted(tmp_path):
    scorer, notes = begin(tiny.person("a", [tiny.photo(tmp_path)]))
    (row,) = scorer([tiny.case(tiny.picture("red"), "a")])
    assert (row["face_found"], row["similarity"], row["margin"]) == (1, None, None)
    assert any("no photo to compare with: no similarity is told" in note for note in notes)


def test_in_a_photo_of_several_the_face_of_the_given_photos_is_meant(tmp_path):
    scorer, _ = begin(
        tiny.person("a", [tiny.photo(tmp_path, "red")], [tiny.photo(tmp_path, "blue", "orange")])
    )
    assert similarity(scorer, "orange", "a") == pytest.approx(1)


def test_photos_of_somebody_else_are_told(tmp_path):
    given, own, other = (tiny.photo(tmp_path, name) for name in ("red", "orange", "blue"))
    _, notes = begin(tiny.person("a", [given], [own, other]))
    assert len(notes) == 1
    assert "a: 1 of 2 photos that score are less like the given ones" in notes[0]
    assert "similarity 0.00, usual is 0.50 or more" in notes[0]


def test_an_identity_without_photos_is_compared_with_its_own_vector(tmp_path):
    vector = np.array([0.6, 0.8], np.float32)
    scorer, notes = begin(tiny.person("a", id_embedding=vector, recognizer="fake"))
    (row,) = scorer([tiny.case(tiny.picture("red"), "a")])
    assert row["similarity"] == row["similarity_given"] == pytest.approx(0.6)
    assert row["copy_paste"] is None
    assert "an identity without photos" in notes[0]


@pytest.mark.parametrize(("width", "recognizer"), [(2, "arcface"), (3, "unknown")])
def test_an_identity_of_another_recogniser_is_not_compared(width, recognizer):
    scorer, notes = begin(tiny.person("a", id_embedding=np.ones(width, np.float32), recognizer=recognizer))
    assert similarity(scorer, "red", "a") is None
    assert f"of the recogniser {recognizer}, not of fake: no similarity is told" in notes[0]
