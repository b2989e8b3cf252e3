"""Curves of a sweep, by hand-computed cases."""

import pytest

from adaface.evaluation.curves import curves, difference
from adaface.evaluation.folder import open_run
from adaface.evaluation.report.plots import value_text
from tiny_evaluation import COLUMNS, picture, some_pictures, write_run

SWEEP = {"id_scale": [[0.5, "id_scale=0.5"], [1.0, ""], [2.0, "id_scale=2"]]}


def run(tmp_path, sweep=SWEEP, shifts=((-0.1, "id_scale=0.5"), (0.0, ""), (0.2, "id_scale=2"))):
    pictures = [one for shift, variant in shifts for one in some_pictures(shift=shift, variant=variant)]
    return open_run(write_run(tmp_path, pictures, sweep=sweep))


def test_points_come_in_the_order_of_their_values_and_the_recommended_one_is_marked(tmp_path):
    points = curves(run(tmp_path), COLUMNS)["id_scale"]
    assert [(point["value"], point["recommended"]) for point in points] == [
        (0.5, False), (1.0, True), (2.0, False),
    ]  # fmt: skip


def test_more_identity_that_costs_text_match_shows_on_both_axes(tmp_path):
    points = curves(run(tmp_path), COLUMNS)["id_scale"]
    likeness = [point["scores"]["similarity"]["mean"] for point in points]
    words = [point["scores"]["clip_t"]["mean"] for point in points]
    assert likeness == sorted(likeness)
    assert words == sorted(words, reverse=True)


def test_changes_are_to_the_recommended_value_person_by_person(tmp_path):
    low, usual, high = curves(run(tmp_path), COLUMNS)["id_scale"]
    assert usual["change"] == {}
    assert low["change"]["similarity"]["mean"] == pytest.approx(-0.1)
    assert high["change"]["similarity"]["mean"] == pytest.approx(0.2)
    assert high["change"]["similarity"]["low"] == pytest.approx(0.2)  # everybody gains the same


def test_values_that_were_not_drawn_yet_are_no_points(tmp_path):
    half = run(tmp_path, shifts=((0.0, ""), (0.2, "id_scale=2")))
    assert [point["value"] for point in curves(half, COLUMNS)["id_scale"]] == [1.0, 2.0]


def test_a_run_without_a_sweep_has_no_curves(tmp_path):
    assert curves(run(tmp_path, sweep=None), COLUMNS) == {}


def test_prompts_that_only_one_list_has_make_no_difference():
    both = [picture("ada", "one", 0, {"similarity": 0.2})]
    more = [*both, picture("ada", "two", 0, {"similarity": 0.9})]
    assert difference(more, both, "similarity").mean == 0.0
    assert difference(more[1:], both, "similarity") is None


def test_values_are_written_as_the_command_line_takes_them():
    assert [value_text(value) for value in (0.5, 2.0, [4.0, 1.0], "fast")] == ["0.5", "2", "4:1", "fast"]
