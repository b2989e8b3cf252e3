"""Is it the person? Every figure here is computed by hand from vectors in the plane."""

import numpy as np
import pytest

import tiny_scores as tiny
from adaface.evaluation.scores.faces import FaceScorer
from adaface.evaluation.scores.recognisers import CropRecogniser

STRANGERS = np.array([[1, 0], [0, 1], [-1, 0], [0.8, 0.6]], np.float32)


@pytest.fixture
def people(tmp_path):
    """alice: given red, scored red and orange (another file); bob: blue; carol: purple, a single photo."""
    other = tmp_path / "other"
    other.mkdir()
    alice = tiny.person(
        "alice",
        [tiny.photo(tmp_path, "yellow")],
        [tiny.photo(other, "red"), tiny.photo(other, "orange")],
    )
    bob = tiny.person("bob", [tiny.photo(tmp_path, "cyan")], [tiny.photo(other, "blue")])
    carol = tiny.person("carol", [tiny.photo(tmp_path, "purple")])
    return alice, bob, carol


@pytest.fixture
def scorer(people):
    scorer = FaceScorer(tiny.FakeAnalyzer(), strangers=STRANGERS)
    scorer.begin(tiny.world(*people))
    return scorer


def scores(scorer, *cases):
    return scorer(list(cases))


def test_the_scores_of_one_face_are_those_computed_by_hand(scorer):
    (row,) = scores(scorer, tiny.case(tiny.picture("orange"), "alice"))
    assert row["face_found"] == 1
    assert row["similarity"] == pytest.approx((0.8 + 1.0) / 2)  # red, orange
    assert row["similarity_given"] == pytest.approx(0.48 + 0.48)  # yellow
    assert row["copy_paste"] == pytest.approx(0.96 - 0.9, abs=1e-6)
    assert row["margin"] == pytest.approx(0.9 - (0.6 + -0.8) / 2)  # bob's blue, carol's purple
    assert row["percentile"] == 75  # of the cosines 0.8, 0.6, -0.8, 1 three are below 0.9
    assert row["assignment"] is None
    assert list(row) == [column.name for column in scorer.columns]


def test_a_picture_without_a_face_counts_as_0_and_is_counted(scorer):
    (row,) = scores(scorer, tiny.case(tiny.picture(), "alice"))
    assert row["face_found"] == row["similarity"] == row["similarity_given"] == row["margin"] == 0
    assert row["percentile"] == 0
    assert row["copy_paste"] is None  # nothing can be said of a face that is not there


def test_of_several_faces_the_one_that_is_most_like_the_person_counts(scorer):
    one, several = scores(
        scorer,
        tiny.case(tiny.picture("orange"), "alice"),
        tiny.case(tiny.picture("purple", "orange", "blue"), "alice"),
    )
    assert several == pytest.approx(one, abs=1e-6)


def test_a_picture_that_stands_for_two_people_is_looked_at_once_and_scored_for_each(people, monkeypatch):
    image, analyzer = tiny.picture("red"), tiny.FakeAnalyzer()
    cases = [tiny.case(image, "alice"), tiny.case(image), tiny.case(image, "bob")]
    scorer = FaceScorer(analyzer)
    scorer.begin(tiny.world(*people))
    apart = [scorer([case])[0] for case in cases]
    looks, faces = [], analyzer.faces
    monkeypatch.setattr(analyzer, "faces", lambda pixels: looks.append(1) or faces(pixels))
    assert scorer(cases) == apart
    assert len(looks) == 1
    assert apart[1]["face_found"] is None, "nobody is asked for"


def test_two_people_are_scored_as_the_mean_of_each_with_their_own_face(scorer):
    (row,) = scores(scorer, tiny.case(tiny.picture("blue", "red"), "alice", "bob"))
    assert row["face_found"] == 1
    assert row["similarity"] == pytest.approx(((1 + 0.8) / 2 + 1) / 2)
    assert row["assignment"] == 1
    # alice's: 0.9 - (0 + -1) / 2; bob's: 1 - ((0 + 0.6) / 2 + 0) / 2
    assert row["margin"] == pytest.approx((1.4 + 0.85) / 2)


def test_two_people_with_one_face_have_half_of_everything(scorer):
    (row,) = scores(scorer, tiny.case(tiny.picture("blue"), "alice", "bob"))
    assert row["face_found"] == 0.5
    assert row["similarity"] == 0.5
    assert row["assignment"] == 0.5


def test_swapping_the_people_turns_likeness_into_unlikeness(scorer):
    right, wrong = scores(
        scorer, tiny.case(tiny.picture("red"), "alice"), tiny.case(tiny.picture("red"), "carol")
    )
    for name in ("similarity", "margin", "percentile"):
        assert wrong[name] < right[name] - 0.5


def test_a_method_that_draws_the_same_face_for_everybody_has_no_margin(scorer, people):
    rows = scores(scorer, *(tiny.case(tiny.picture("yellow"), one.name) for one in people))
    assert np.mean([row["margin"] for row in rows]) == pytest.approx(0)
    assert np.mean([row["similarity"] for row in rows]) > 0.3


def test_a_copy_of_the_given_photo_shows_as_copy_paste(scorer):
    copy, other = scores(
        scorer, tiny.case(tiny.picture("yellow"), "alice"), tiny.case(tiny.picture("red"), "alice")
    )
    assert copy["similarity_given"] == pytest.approx(1)
    assert copy["copy_paste"] == pytest.approx(1 - (0.6 + 0.96) / 2)
    assert other["copy_paste"] < 0 < copy["copy_paste"]


def test_with_given_photos_alone_these_score_and_nothing_is_said_of_copying(scorer):
    (row,) = scores(scorer, tiny.case(tiny.picture("cyan"), "carol"))
    assert row["similarity"] == row["similarity_given"] == pytest.approx(0.6)
    assert row["copy_paste"] is None


def test_a_broken_picture_stops_no_other(scorer):
    rows = scores(scorer, tiny.case(tiny.broken(), "alice"), tiny.case(tiny.picture("red"), "alice"))
    assert set(rows[0].values()) == {None}
    assert rows[1]["similarity"] == pytest.approx(0.9)


def test_a_thing_has_no_face_scores(tmp_path):
    scorer = FaceScorer(tiny.FakeAnalyzer())
    scorer.begin(tiny.world(tiny.person("bag", [tiny.photo(tmp_path, "red")], broad_class="object")))
    (row,) = scores(scorer, tiny.case(tiny.picture("red"), "bag"))
    assert set(row.values()) == {None}


def test_alone_in_a_run_there_is_no_margin(tmp_path):
    scorer = FaceScorer(tiny.FakeAnalyzer())
    scorer.begin(tiny.world(tiny.person("alice", [tiny.photo(tmp_path, "red")])))
    (row,) = scores(scorer, tiny.case(tiny.picture("red"), "alice"))
    assert row["similarity"] == 1
    assert row["margin"] is None
    assert "percentile" not in row  # there are no strangers to compare with


class Turned(tiny.FakeRecognizer):
    """Another recogniser, to which red and blue look alike."""

    name = "turned"

    def __init__(self):
        super().__init__(tiny.VECTORS | {"blue": (0.6, 0.8)})


def test_a_second_recogniser_has_columns_of_its_own(people):
    scorer = FaceScorer(tiny.FakeAnalyzer(), second=CropRecogniser(Turned()))
    scorer.begin(tiny.world(*people))
    (row,) = scores(scorer, tiny.case(tiny.picture("blue"), "alice"))
    assert row["similarity"] == pytest.approx((0 + 0.6) / 2)
    assert row["similarity_turned"] == pytest.approx((0.6 + 0.96) / 2)
    assert row["margin_turned"] == pytest.approx(0.78 - (1 + -0.6) / 2)
    assert [c.name for c in scorer.columns if c.name.endswith("turned")] == [
        "similarity_turned",
        "margin_turned",
    ]


def test_every_column_says_what_it_is(scorer):
    for column in scorer.columns:
        assert len(column.definition) > 60
        assert column.low < column.high
