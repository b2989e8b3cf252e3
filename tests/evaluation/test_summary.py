"""Figures of a run, by hand-computed cases."""

from dataclasses import asdict

import numpy as np
import pytest

from adaface.errors import FormatError, MissingFileError
from adaface.evaluation.folder import MANIFEST, RUN_JSON, line, open_run, read_pictures
from adaface.evaluation.means import estimates, per_person, seed_sd
from adaface.evaluation.records import Column
from adaface.evaluation.summary import cases, identity_column, summarize
from tiny_evaluation import COLUMNS, photos, picture, some_pictures, write_run

ONE, TWO = "a photo of <person>", "<person> in a meadow"
SIMILARITY = COLUMNS[1]


def scored(person, template, seed, value, **more):
    return picture(person, template, seed, {"similarity": value, **more})


def summary(tmp_path, pictures, anchors=(), **facts):
    return summarize(open_run(write_run(tmp_path, pictures, anchors, **facts)))


def test_a_person_is_the_mean_over_prompts_of_the_means_over_seeds():
    pictures = [
        scored("ada", ONE, 0, 0.0), scored("ada", ONE, 1, 0.2), scored("ada", TWO, 0, 0.5),
    ]  # fmt: skip
    assert per_person(pictures, "similarity") == pytest.approx({"ada": (0.1 + 0.5) / 2})


def test_a_score_that_cannot_be_told_is_in_no_mean():
    pictures = [scored("ada", ONE, 0, None), scored("ada", ONE, 1, 0.2), scored("ben", ONE, 0, None)]
    row = estimates(pictures, [SIMILARITY])["similarity"]
    assert (row["mean"], row["people"], row["pictures"]) == (0.2, 1, 1)


def test_people_with_many_pictures_weigh_as_much_as_others():
    pictures = [scored("ada", ONE, seed, 0.0) for seed in range(9)] + [scored("ben", ONE, 0, 1.0)]
    assert estimates(pictures, [SIMILARITY])["similarity"]["mean"] == 0.5


def test_no_interval_reaches_where_the_score_cannot_be():
    column = Column("share", "", "")
    rows = [
        picture(name, ONE, 0, {"share": value}) for name, value in zip("abc", (1.0, 1.0, 0.9), strict=True)
    ]
    assert estimates(rows, [column])["share"]["high"] == 1.0


def test_means_are_of_the_runs_own_settings_and_variants_stand_beside(tmp_path):
    own, other = some_pictures(), some_pictures(shift=0.3, variant="id_scale=2")
    figures = summary(tmp_path, own + other)
    assert figures["base"] == ""
    assert figures["variants"]["id_scale=2"]["similarity"]["mean"] == pytest.approx(
        figures["overall"]["similarity"]["mean"] + 0.3
    )


def test_a_run_without_its_own_settings_takes_the_first_variant(tmp_path):
    assert summary(tmp_path, some_pictures(variant="id_scale=2"))["base"] == "id_scale=2"


def test_a_person_has_an_interval_over_prompts(tmp_path):
    pictures = [scored("ada", ONE, 0, 0.1), scored("ada", TWO, 0, 0.3)]
    row = summary(tmp_path, pictures)["people"]["ada"]["similarity"]
    assert row["prompts"] == 2
    assert row["mean"] == pytest.approx(0.2)
    assert row["low"] < row["mean"] < row["high"]


def test_pictures_between_strangers_and_the_person_are_a_share_of_that_way(tmp_path):
    pictures = [scored(name, ONE, 0, 0.3) for name in ("p0", "p1")]
    anchors = [one for one in photos(2, same=0.5, other=0.1) if one.seed == 0]
    between = summary(tmp_path, pictures, anchors)["anchors"]["similarity"]
    assert between["between"]["mean"] == pytest.approx((0.3 - 0.1) / (0.5 - 0.1))
    assert between["same"]["mean"] == pytest.approx(0.5)
    assert between["other"]["mean"] == pytest.approx(0.1)


def test_one_person_is_no_share_of_the_way(tmp_path):
    row = summary(tmp_path, some_pictures(1), photos(1))["anchors"]["similarity"]
    assert row["between"] is None
    assert row["same"]["mean"] > row["other"]["mean"]


def test_photos_that_a_score_cannot_tell_apart_give_no_share(tmp_path):
    anchors = photos(2, same=0.1, other=0.1)
    row = summary(tmp_path, some_pictures(2), anchors)["anchors"]["similarity"]
    assert row["between"] is None
    assert row["photos_apart"]["mean"] == 0.5  # a coin


def test_better_pictures_move_the_share_up(tmp_path):
    shares = [
        summary(tmp_path / str(shift), some_pictures(shift=shift), photos())["anchors"]["similarity"]
        for shift in (0.0, 0.1)
    ]
    assert shares[0]["between"]["mean"] < shares[1]["between"]["mean"]


def test_worst_and_best_are_the_two_ends_and_as_many():
    pictures = [scored("ada", ONE, seed, value) for seed, value in enumerate((0.3, 0.1, 0.2))]
    assert [one["value"] for one in cases(pictures, SIMILARITY, worst=True, most=2)] == [0.1, 0.2]
    assert [one["value"] for one in cases(pictures, SIMILARITY, worst=False, most=2)] == [0.3, 0.2]


def test_where_less_is_better_the_worst_is_the_highest():
    column = Column("copy_paste", "", "", better="lower")
    pictures = [picture("ada", ONE, seed, {"copy_paste": value}) for seed, value in enumerate((0.1, 0.5))]
    assert cases(pictures, column, worst=True)[0]["value"] == 0.5


def test_likeness_is_judged_by_the_recogniser_that_trained_nothing_where_there_is_one():
    assert identity_column(COLUMNS).name == "similarity_dlib"
    given = Column("similarity_given", "", "")
    assert identity_column([given, SIMILARITY]).name == "similarity"
    assert identity_column([given]) is None


def test_a_recogniser_that_could_say_nothing_is_no_judge(tmp_path):
    pictures = [picture("ada", ONE, 0, {"similarity": 0.3, "similarity_dlib": None})]
    figures = summary(tmp_path, pictures, subjects=[{"name": "ada", "apart": False}])
    assert (figures["identity"], figures["text"]) == ("similarity", None)
    assert figures["worst"]["similarity"][0]["value"] == 0.3
    assert any("Likeness by a second recogniser" in words for words in figures["not_measured"])
    assert figures["notes"] == [], "an identity file has no given photos that could score"


def test_faces_that_are_missing_are_counted_and_named(tmp_path):
    pictures = [scored("ada", ONE, 0, 0.0, face_found=0.0), scored("ada", ONE, 1, 0.4, face_found=1.0)]
    figures = summary(tmp_path, pictures)
    assert figures["counts"]["without_face"] == 1
    assert figures["without_face"] == [pictures[0].file]
    assert figures["overall"]["similarity"]["mean"] == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("facts", "word"),
    [
        ({"subjects": [{"name": "ada", "synthetic": True}]}, "Synthetic people: ada"),
        (
            {"subjects": [{"name": "ada", "given": [{"path": "0.png"}], "apart": False}]},
            "Given photos score: ada",
        ),
        ({"notes": ["one photo has no face"]}, "one photo has no face"),
    ],
)
def test_a_reader_is_told_what_makes_figures_look_better(tmp_path, facts, word):
    assert any(word in note for note in summary(tmp_path, [scored("ada", ONE, 0, 0.2)], **facts)["notes"])


def test_pictures_that_could_not_be_scored_are_counted_in_the_notes(tmp_path):
    figures = summary(tmp_path, [picture("ada", ONE, 0, {}), scored("ada", ONE, 1, 0.2)])
    assert figures["counts"]["unscored"] == 1
    assert any("in no mean: 1" in note for note in figures["notes"])


def test_what_was_not_measured_is_said(tmp_path):
    told = " ".join(summary(tmp_path, [scored("ada", ONE, 0, 0.2)])["not_measured"])
    for words in ("there is one, so means have no interval", "one seed a prompt", "The ceiling", "no human"):
        assert words in told


def test_what_was_measured_is_not_in_that_list(tmp_path):
    told = " ".join(summary(tmp_path, some_pictures(), photos())["not_measured"])
    assert "second recogniser" not in told
    assert "The ceiling: no" not in told
    assert "A ceiling under each prompt" in told
    assert "one seed" not in told


def test_a_half_written_last_line_is_dropped_and_counted(tmp_path):
    path = tmp_path / MANIFEST
    path.write_text(line(scored("ada", ONE, 0, 0.2)) + '{"subjects": ["ad', encoding="utf-8")
    pictures, dropped = read_pictures(path)
    assert len(pictures) == dropped == 1


def test_the_last_line_of_a_picture_counts_in_the_place_of_the_first(tmp_path):
    path = tmp_path / MANIFEST
    lines = [scored("ada", ONE, 0, None), scored("ada", ONE, 1, 0.1), scored("ada", ONE, 0, 0.4)]
    path.write_text("".join(map(line, lines)), encoding="utf-8")
    assert [one.scores["similarity"] for one in read_pictures(path)[0]] == [0.4, 0.1]


def test_a_damaged_line_is_named(tmp_path):
    path = tmp_path / MANIFEST
    path.write_text("{}\n" + line(scored("ada", ONE, 0, 0.2)), encoding="utf-8")
    with pytest.raises(FormatError, match="line 1 is damaged .*Take that line out"):
        read_pictures(path)


def test_a_picture_is_read_as_it_was_written(tmp_path):
    path = tmp_path / MANIFEST
    whole = picture("ada", 'a "red" <person>\u2028 ü', 3, {"similarity": 0.5}, "id_scale=2", "scene")
    path.write_text(line(whole), encoding="utf-8")
    assert read_pictures(path)[0] == [whole]


def test_a_folder_that_is_no_run_is_an_error(tmp_path):
    with pytest.raises(MissingFileError, match="run.json: no such file. Give the folder of a run"):
        open_run(tmp_path)
    (tmp_path / RUN_JSON).write_text("{}")
    with pytest.raises(FormatError, match='no "format": "adaface-evaluation"'):
        open_run(tmp_path)
    (tmp_path / RUN_JSON).write_text("{")
    with pytest.raises(FormatError, match="not readable as JSON .* choose another one"):
        open_run(tmp_path)


def test_columns_that_cannot_be_read_are_an_error(tmp_path):
    write_run(tmp_path, some_pictures(), columns=[{"name": "x"}])
    with pytest.raises(FormatError, match="columns cannot be read"):
        open_run(tmp_path)


def test_an_empty_run_has_counts_and_no_figures(tmp_path):
    figures = summary(tmp_path, [])
    assert figures["counts"]["pictures"] == 0
    assert figures["overall"] == {}


def test_shuffled_pictures_give_the_same_figures(tmp_path):
    pictures = some_pictures(4)
    order = np.random.default_rng(0).permutation(len(pictures))
    first = summary(tmp_path / "a", pictures)["overall"]["similarity"]["mean"]
    assert summary(tmp_path / "b", [pictures[i] for i in order])["overall"]["similarity"][
        "mean"
    ] == pytest.approx(first)


def test_seed_to_seed_is_the_spread_within_a_prompt_not_between_prompts():
    values = {ONE: (0.0, 0.2), TWO: (5.0, 5.2)}
    pictures = [scored("ada", prompt, i, v) for prompt, some in values.items() for i, v in enumerate(some)]
    assert seed_sd(pictures, "similarity") == pytest.approx(np.sqrt(0.02))
    assert seed_sd(pictures[::2], "similarity") is None


def test_nearer_counts_pictures_that_are_nearer_to_their_person_than_to_the_others(tmp_path):
    columns = [
        asdict(SIMILARITY),
        asdict(Column("margin", "Margin", "", low=-2.0, anchored=True, chance=0.0)),
    ]
    margins = (0.2, -0.1, 0.3, 0.0)  # the last one has no face
    pictures = [scored("ada", ONE, seed, 0.4, margin=margin) for seed, margin in enumerate(margins)]
    row = summary(tmp_path, pictures, columns=columns)["anchors"]["similarity"]
    assert row["nearer"]["mean"] == 0.5
    assert row["swapped"]["mean"] == pytest.approx(0.4 - 0.1)


def test_of_a_similarity_the_way_to_the_person_begins_at_no_margin(tmp_path):
    columns = [
        asdict(SIMILARITY),
        asdict(Column("margin", "Margin", "", low=-2.0, anchored=True, chance=0.0)),
    ]
    pictures = [scored(name, ONE, 0, 0.9, margin=0.1) for name in ("ada", "ben")]
    anchors = [
        picture(name, "", 0, {"similarity": 0.95, "margin": 0.5}, "photo: same", "same")
        for name in ("ada", "ben")
    ]
    figures = summary(tmp_path, pictures, anchors, columns=columns)
    assert figures["anchors"]["similarity"]["between"]["mean"] == pytest.approx(0.2)
    assert figures["kinds_between"][""]["mean"] == pytest.approx(0.2)
