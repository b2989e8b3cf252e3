"""Means, intervals and shares, by hand-computed cases."""

import numpy as np
import pytest

from adaface.evaluation.statistics import Estimate, interval, share, student


def test_intervals_hold_their_mean_and_narrow_with_people():
    rng = np.random.default_rng(0)
    few, many = rng.normal(1, 1, 20), rng.normal(1, 1, 2000)
    for row in (few, many):
        mean, low, high = interval(row)
        assert low < mean < high
    assert interval(many)[2] - interval(many)[1] < (interval(few)[2] - interval(few)[1]) / 3


def test_a_share_is_the_ratio_of_means_over_the_same_people():
    part = np.array([0.1, 0.2, 0.3])
    assert share(part, part * 2) == pytest.approx((0.5, 0.5, 0.5))


def test_a_share_of_nothing_is_nothing():
    part, none = np.array([-0.1, -0.2, -0.3]), np.zeros(3)
    assert share(part, none) == (0.0, 0.0, 0.0)
    assert share(part, part) == (0.0, 0.0, 0.0), "two margins below zero are no success"


def test_the_interval_of_two_people_is_all_that_two_can_say():
    # draws are 0, 0.5 and 1 with chances 1/4, 1/2, 1/4: the outer 2.5 % are the people themselves
    assert interval(np.array([0.0, 1.0])) == (0.5, 0.0, 1.0)


def test_one_person_has_a_mean_and_no_interval():
    assert Estimate.of([0.25]) == Estimate(0.25, None, None, 1)


def test_nobody_has_no_mean():
    assert Estimate.of([]) is None


def test_the_same_seed_gives_the_same_interval():
    row = np.random.default_rng(1).normal(size=30)
    assert interval(row, seed=3) == interval(row, seed=3) != interval(row, seed=4)


def test_students_quantiles_are_those_of_the_tables():
    tables = {1: 12.706, 5: 2.571, 6: 2.447, 11: 2.201, 30: 2.042, 120: 1.980}
    assert {n: round(student(n), 3) for n in tables} == pytest.approx(tables, abs=2e-3)


@pytest.mark.parametrize("people", [3, 5, 12, 40])
def test_an_interval_covers_the_truth_about_as_often_as_it_says(people):
    rng = np.random.default_rng(0)
    rows = [Estimate.of(rng.normal(size=people), draws=300) for _ in range(400)]
    assert 0.90 < np.mean([row.low < 0 < row.high for row in rows]) < 0.98


def test_few_people_make_an_interval_wider_than_the_bootstrap_thinks():
    row = np.array([0.1, 0.2, 0.3])
    _, low, high = interval(row)
    wide = Estimate.of(row)
    assert wide.low < low < high < wide.high
    assert wide.high - wide.mean == pytest.approx(np.sqrt(3 / 2) * 4.3027 / 1.96 * (high - 0.2), rel=1e-3)
