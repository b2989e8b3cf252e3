"""Figures of rows: shares of what is possible, paired differences, what is kept and closed; the page."""

import numpy as np
import pytest

from adaface.evaluation.statistics import interval
from adaface.mini.evidence.bench import nearness_of
from adaface.mini.evidence.table import FEWEST, Column, Figure, against, figures, markdown, mean_of, share_of

MARGIN = Column("margin", "margin", "margin", "likeness")
FOUND = Column("found", "found", None, "faces")
TEXT = Column("text", "text", "text", "words")
COLUMNS = (MARGIN, FOUND, TEXT)
POSSIBLE = {"margin": np.array([0.4, 0.6]), "text": np.array([0.8, 0.8])}


def test_a_margin_is_a_share_of_the_possible_one_and_a_plain_column_is_as_it_is():
    row = {"margin": np.array([0.1, 0.3]), "found": np.array([1.0, 0.5])}
    found = figures(row, POSSIBLE, COLUMNS)
    assert found["margin"].value == pytest.approx(0.4)  # 0.2 of 0.5
    assert found["found"].value == pytest.approx(0.75)
    assert "text" not in found


def test_differences_are_taken_person_by_person():
    """Means alone would have wide intervals: here everybody gains the same."""
    before = {"found": np.tile([0.1, 0.9, 0.2, 0.7], 2)}
    row = {"found": before["found"] + 0.1}
    change = against("before", row, before, {}, {}, COLUMNS)
    assert change.other == "before"
    assert (change.differences["found"].low, change.differences["found"].high) == pytest.approx((0.1, 0.1))
    assert change.differences["found"].sure


def test_kept_and_closed_are_of_the_other_row_and_of_its_gap_to_the_class_prompt():
    before = {"margin": np.array([0.2, 0.4]), "text": np.array([0.4, 0.4])}
    row = {"margin": np.array([0.18, 0.36]), "text": np.array([0.55, 0.55])}
    words = {"text": np.array([0.7, 0.7])}
    change = against("before", row, before, words, POSSIBLE, COLUMNS)
    assert change.kept["margin"].value == pytest.approx(0.9)
    assert change.closed["text"].value == pytest.approx(0.5)
    assert change.differences["text"].value == pytest.approx(0.15 / 0.8)
    assert "text" not in change.kept and "margin" not in change.closed


def test_a_gap_that_is_not_there_cannot_be_closed():
    before, row = {"text": np.array([0.7, 0.7])}, {"text": np.array([0.8, 0.8])}
    change = against("before", row, before, {"text": np.array([0.6, 0.6])}, POSSIBLE, COLUMNS)
    assert change.closed == {}


def test_of_a_gap_that_may_be_none_no_share_is_closed():
    before, possible = np.linspace(0.0, 0.9, 10), {"text": np.ones(10)}
    text = [column for column in COLUMNS if column.key == "text"]

    def closed(words):
        change = against("", {"text": before + 0.1}, {"text": before}, {"text": words}, possible, text)
        return change.closed

    assert closed(before + np.array([0.5, -0.4] * 5)) == {}  # 0.05 above on average, from -0.4 to 0.5
    assert closed(before + np.array([0.25, 0.15] * 5))["text"].value == pytest.approx(0.5)


def test_nearness_is_the_own_caption_s_cosine_minus_the_others_mean():
    scores = np.array([[0.9, 0.1, 0.3], [0.2, 0.4, 0.2], [0.5, 0.1, 0.3]], dtype=np.float32)
    np.testing.assert_allclose(nearness_of(scores), [0.7, 0.2, 0.0], atol=1e-6)


def test_people_without_a_value_fall_out_of_both():
    part, whole = np.array([0.2, np.nan, 0.4]), np.array([1.0, 9.0, 1.0])
    assert share_of(part, whole).value == pytest.approx(0.3)
    assert mean_of(part).value == pytest.approx(0.3)


def test_one_person_says_nothing_of_people():
    assert mean_of(np.array([0.5, np.nan])) is None
    assert share_of(np.array([0.5]), np.array([1.0])) is None


def test_intervals_of_few_people_are_wider_than_their_bootstrap():
    values = np.array([0.1, 0.4, 0.6, 0.7, 0.2, 0.3, 0.9, 0.5])
    _, low, high = interval(values)
    assert mean_of(values).low < low and mean_of(values).high > high


def test_too_few_people_have_a_mean_and_no_interval():
    values = np.linspace(0.1, 0.9, FEWEST)
    few = [mean_of(values[1:]), share_of(values[1:], values[1:]), mean_of(np.r_[values[1:], np.nan])]
    assert [figure.low is None and figure.high is None for figure in few] == [True] * 3
    assert str(few[0]) == f"{values[1:].mean():.2f}" and str(few[1]) == "1.00"
    assert mean_of(values).low < 0.5 < mean_of(values).high and "[" in str(mean_of(values))


@pytest.mark.parametrize(
    ("low", "high", "sure"),
    [(0.1, 0.2, True), (-0.2, -0.1, True), (-0.1, 0.2, False), (None, None, False)],
)
def test_a_figure_is_sure_if_it_has_an_interval_on_one_side_of_zero(low, high, sure):
    assert Figure(0.15, low, high).sure is sure


def test_a_table_has_a_line_a_row():
    assert markdown(["", "a"], [["x", "1"]]) == "|  | a |\n| --- | --- |\n| x | 1 |"
