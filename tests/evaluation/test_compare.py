"""Runs side by side: what is paired, what is left out, what a difference says."""

import json
from dataclasses import asdict

import pytest

from adaface.errors import ConfigError
from adaface.evaluation.compare import compare, write
from adaface.evaluation.pairing import verdict
from adaface.evaluation.records import Column
from adaface.evaluation.scores.columns import RETRIEVAL
from adaface.evaluation.statistics import Estimate
from tiny_evaluation import COLUMNS, photos, picture, some_pictures, write_run

ONE = "a photo of <person>"


def runs(tmp_path, *pictures, **facts):
    return [write_run(tmp_path / name, some, **facts) for name, some in zip("abc", pictures, strict=False)]


def row(person, value, seed=0, template=ONE):
    return picture(person, template, seed, {"similarity": value})


def test_a_difference_is_the_mean_over_people_of_each_ones_own(tmp_path):
    first = [row("ada", 0.1), row("ben", 0.5)]
    second = [row("ada", 0.2), row("ben", 0.8)]
    change = compare(runs(tmp_path, first, second))["differences"]["b"]["similarity"]
    assert change["mean"] == pytest.approx((0.1 + 0.3) / 2)
    assert change["people_higher"] == 1.0


def test_pairing_makes_a_small_gain_sure_that_two_means_would_hide(tmp_path):
    found = compare(runs(tmp_path, some_pictures(6), some_pictures(6, shift=0.03)))
    change = found["differences"]["b"]["similarity"]
    assert change["verdict"] == "better"
    assert change["mean"] == pytest.approx(0.03)
    means = found["means"]
    assert means["b"]["similarity"]["low"] < means["a"]["similarity"]["high"], "the intervals overlap"


def test_only_common_people_and_prompts_are_compared_and_the_others_are_named(tmp_path):
    first = [row("ada", 0.1), row("ben", 0.9)]
    second = [row("ada", 0.2), row("cleo", 0.0)]
    found = compare(runs(tmp_path, first, second))
    assert found["differences"]["b"]["similarity"]["n"] == 1
    assert found["means"]["a"]["similarity"]["mean"] == 0.1
    notes = " ".join(found["notes"])
    assert "a: 1 of its 2 person-prompt pairs are not in every run (all of ben)" in notes
    assert "(all of cleo)" in notes


def test_common_seeds_are_paired_and_the_others_fall_out(tmp_path):
    first = [row("ada", 0.1, seed=0), row("ada", 0.9, seed=1)]
    found = compare(runs(tmp_path, first, [row("ada", 0.2, seed=0)]))
    assert found["differences"]["b"]["similarity"]["mean"] == pytest.approx(0.1)
    assert "paired by person, prompt and seed" in " ".join(found["notes"])


def test_runs_of_other_seeds_are_paired_by_prompt_and_it_is_said(tmp_path):
    found = compare(runs(tmp_path, [row("ada", 0.1, seed=0)], [row("ada", 0.4, seed=7)]))
    assert found["differences"]["b"]["similarity"]["mean"] == pytest.approx(0.3)
    assert "since their seeds differ" in " ".join(found["notes"])


def test_people_of_one_name_with_other_photos_are_left_out(tmp_path):
    def subjects(digest):
        ben = {"name": "ben", "scored": [{"path": "x.png", "sha256": digest}]}
        return [{"name": "ada", "scored": []}, ben]

    places = [
        write_run(tmp_path / name, [row("ada", 0.1), row("ben", 0.1)], subjects=subjects(name))
        for name in "ab"
    ]
    found = compare(places)
    assert found["differences"]["b"]["similarity"]["n"] == 1
    assert "other scoring photos, left out: ben" in found["notes"][0]


def test_scores_that_are_not_defined_alike_are_not_compared(tmp_path):
    first = write_run(tmp_path / "a", [row("ada", 0.1)])
    changed = [{"name": "similarity", "title": "t", "definition": "another"}]
    second = write_run(tmp_path / "b", [row("ada", 0.2)], columns=changed)
    found = compare([first, second])
    assert found["columns"] == {}
    assert "similarity" in next(note for note in found["notes"] if "defined differently" in note)


def test_a_choice_among_other_prompts_is_no_fair_comparison(tmp_path):
    def run(name, *templates):
        some = [picture("ada", one, 0, {"similarity": 0.1, "retrieval": 1.0}) for one in (ONE, *templates)]
        columns = [asdict(COLUMNS[1]), asdict(RETRIEVAL[0])]
        return write_run(tmp_path / name, some, columns=columns)

    alike = compare([run("a", "two"), run("b", "two")])
    assert set(alike["columns"]) == {"similarity", "retrieval"}
    other = compare([run("a", "two"), run("c", "two", "three")])
    assert set(other["columns"]) == {"similarity"}
    assert any("choose among other prompts: retrieval" in note for note in other["notes"])


@pytest.mark.parametrize(("ben", "said"), [("b" * 64, False), ("c" * 64, True)])
def test_margins_over_other_photos_are_told(tmp_path, ben, said):
    places = []
    for name, digest in (("a", "b" * 64), ("b", ben)):
        digests = {"ada": "a" * 64, "ben": digest}
        subjects = [{"name": n, "scored": [{"path": "x.png", "sha256": digests[n]}]} for n in ("ada", "ben")]
        places.append(write_run(tmp_path / name, [row("ada", 0.1)], subjects=subjects))
    assert any("Margins are over the other people" in note for note in compare(places)["notes"]) is said


def test_runs_scored_by_other_models_are_said_to_be(tmp_path):
    first = write_run(tmp_path / "a", [row("ada", 0.1)], provenance={"clip": "one"})
    second = write_run(tmp_path / "b", [row("ada", 0.2)], provenance={"clip": "two"})
    assert any("different clip" in note for note in compare([first, second])["notes"])


def test_three_runs_are_each_compared_with_the_first(tmp_path):
    found = compare(runs(tmp_path, *[some_pictures(shift=shift) for shift in (0.0, 0.1, 0.2)]))
    means = {name: rows["similarity"]["mean"] for name, rows in found["differences"].items()}
    assert means == pytest.approx({"b": 0.1, "c": 0.2})


@pytest.mark.parametrize(
    ("low", "high", "better", "words"),
    [
        (0.1, 0.3, "higher", "better"), (0.1, 0.3, "lower", "worse"), (-0.1, 0.3, "higher", "not sure"),
        (0.1, 0.3, "neither", "higher"), (-0.3, -0.1, "neither", "lower"), (None, None, "higher", "not sure"),
        (1e-9, 3e-9, "higher", "none"),
    ],
)  # fmt: skip
def test_a_verdict_needs_an_interval_without_zero(low, high, better, words):
    mean = 0.2 if low is None else (low + high) / 2
    assert verdict(Estimate(mean, low, high, 3), Column("x", "", "", better=better)) == words


def test_one_run_or_one_twice_is_an_error(tmp_path):
    (only,) = runs(tmp_path, [row("ada", 0.1)])
    with pytest.raises(ConfigError, match="1 run to compare: give the folders of two or more"):
        compare([only])
    with pytest.raises(ConfigError, match="given twice. Give each run once"):
        compare([only, only])


def test_runs_with_nothing_in_common_name_their_people(tmp_path):
    with pytest.raises(ConfigError, match="no prompt of one person is in all runs .*a: ada; b: ben"):
        compare(runs(tmp_path, [row("ada", 0.1)], [row("ben", 0.1)]))


def test_runs_in_folders_of_one_name_are_told_apart(tmp_path):
    places = [write_run(tmp_path / name / "run", [row("ada", 0.1)]) for name in "ab"]
    assert list(compare(places)["runs"]) == ["a/run", "b/run"]


def test_the_page_and_the_figures_lie_in_the_folder(tmp_path):
    places = runs(tmp_path, some_pictures(), some_pictures(shift=0.1))
    page = write(places, tmp_path / "out")
    figures = json.loads((tmp_path / "out" / "compare.json").read_text())
    assert figures["differences"]["b"]["similarity"]["verdict"] == "better"
    text = page.read_text()
    assert "Where b gains most likeness" in text
    assert "+0.100" in text
    assert COLUMNS[1].definition in text


def test_the_pages_pictures_are_of_the_run_that_they_stand_under(tmp_path):
    places = runs(tmp_path, some_pictures(1), some_pictures(1, shift=0.1))
    text = write(places, tmp_path / "out").read_text()
    assert text.count("data:image/jpeg") >= 6  # a photo and two pictures of two prompts, at least
    assert photos() and "no picture" not in text


def test_pictures_of_a_prompt_that_one_run_could_not_score_are_not_compared(tmp_path):
    first = [row("ada", 0.1), row("ada", 0.1, template="two")]
    second = [row("ada", 0.3), row("ada", None, template="two")]
    assert compare(runs(tmp_path, first, second))["differences"]["b"]["similarity"]["mean"] == pytest.approx(
        0.2
    )


def test_kinds_are_those_of_the_first_run(tmp_path):
    first = [picture("ada", ONE, 0, {"similarity": 0.1}, kind="scene")]
    kinds = compare(runs(tmp_path, first, [row("ada", 0.3)]))["kinds"]
    assert kinds["scene"]["b"]["similarity"]["mean"] == pytest.approx(0.2)


def test_each_run_says_how_far_it_comes_on_the_way_to_the_person(tmp_path):
    places = [
        write_run(tmp_path / name, some_pictures(shift=shift), photos())
        for name, shift in (("a", 0), ("b", 0.1))
    ]
    ways = [run["between"]["mean"] for run in compare(places)["runs"].values()]
    assert ways[0] < ways[1]


def test_people_who_are_all_scored_with_other_photos_are_named_in_the_error(tmp_path):
    places = [
        write_run(
            tmp_path / name,
            [row("ada", 0.1)],
            subjects=[{"name": "ada", "scored": [{"path": "x.png", "sha256": name}]}],
        )
        for name in "ab"
    ]
    with pytest.raises(ConfigError, match="ada are scored with other photos.*the same photos"):
        compare(places)


def test_a_recogniser_that_one_run_lacks_figures_of_does_not_rank_pictures(tmp_path):
    first = [picture("ada", ONE, 0, {"similarity": 0.1, "similarity_dlib": 0.3})]
    assert compare(runs(tmp_path, first, [row("ada", 0.2)]))["identity"] == "similarity"


def test_what_only_the_arithmetic_makes_is_no_difference(tmp_path):
    first = [row(name, 0.1) for name in ("ada", "ben")]
    found = compare(runs(tmp_path, first, [row("ada", 0.1 - 1e-8), row("ben", 0.1 - 2e-8)]))
    change = found["differences"]["b"]["similarity"]
    assert (change["verdict"], change["people_higher"]) == ("none", 0.5)
