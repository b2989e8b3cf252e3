"""Samples read ahead, and who is drawn how often."""

import threading

import numpy as np
import pytest
import torch

from adaface.errors import DatasetError
from adaface.recipes.base.batches import Loader, PeopleSampler
from adaface.training.plan import Part, StepPlan

PLAN = StepPlan(step=3, rows=(5, 6, 7, 8), seeds=(50, 60, 70, 80))


@pytest.fixture(params=[0, 2], ids=["at once", "ahead"])
def loader(request):
    loader = Loader(lambda row, seed: (row, seed), workers=request.param)
    yield loader
    loader.close()


def test_samples_come_in_the_order_of_the_plan(loader):
    loader.prepare(PLAN, Part())
    assert loader.take(PLAN, Part()) == [(5, 50), (6, 60), (7, 70), (8, 80)]


def test_a_part_reads_its_own_samples_alone(loader):
    loader.prepare(PLAN, Part(1, 2))
    assert loader.take(PLAN, Part(1, 2)) == [(7, 70), (8, 80)]


def test_what_was_not_prepared_is_read_when_it_is_asked_for(loader):
    assert loader.take(PLAN, Part(0, 4)) == [(5, 50)]


def test_a_step_may_be_taken_twice(loader):
    loader.prepare(PLAN, Part())
    assert loader.take(PLAN, Part()) == loader.take(PLAN, Part())


def test_reading_begins_before_it_is_asked_for():
    read = threading.Event()
    loader = Loader(lambda row, seed: read.set(), workers=1)
    loader.prepare(PLAN, Part(0, 4))
    assert read.wait(10)
    loader.close()


def test_waiting_is_counted():
    gate = threading.Event()
    loader = Loader(lambda row, seed: gate.wait(10), workers=1)
    loader.prepare(PLAN, Part(0, 4))
    threading.Timer(0.05, gate.set).start()
    loader.take(PLAN, Part(0, 4))
    loader.close()
    assert 0.01 < loader.waited < 9


def test_trouble_of_a_reader_is_told_where_its_sample_is_taken(loader):
    def damaged(row, seed):
        raise DatasetError(f"row {row} is damaged")

    loader._load = damaged
    loader.prepare(PLAN, Part())
    with pytest.raises(DatasetError, match="row 5 is damaged"):
        loader.take(PLAN, Part())


def shares(sampler: PeopleSampler, people: list[int]) -> np.ndarray:
    """How often each person is drawn."""
    rows = sampler.draw(20_000, torch.Generator().manual_seed(0))
    return np.bincount(np.asarray(people)[list(rows)], minlength=max(people) + 1) / len(rows)


PEOPLE = [0, 1, 1, 0, 1, 2, 1, 1]  # two, five and one photos


def test_with_balance_one_each_photo_is_drawn_alike():
    sampler = PeopleSampler(PEOPLE, [False] * 3, 1.0)
    rows = np.bincount(sampler.draw(20_000, torch.Generator().manual_seed(0)), minlength=8) / 20_000
    assert np.allclose(rows, 1 / 8, atol=0.01)


def test_with_balance_nought_each_person_is_drawn_alike():
    assert np.allclose(shares(PeopleSampler(PEOPLE, [False] * 3, 0.0), PEOPLE), 1 / 3, atol=0.02)


def test_a_folder_of_many_people_counts_by_its_photos():
    drawn = shares(PeopleSampler(PEOPLE, [False, True, False], 0.0), PEOPLE)
    assert np.allclose(drawn, [1 / 7, 5 / 7, 1 / 7], atol=0.02)


def test_a_person_without_photos_is_never_drawn():
    sampler = PeopleSampler([0, 2, 2], [False] * 3, 0.0)
    assert set(sampler.draw(1000, torch.Generator().manual_seed(0))) == {0, 1, 2}


def test_the_same_generator_draws_the_same_rows():
    sampler = PeopleSampler(PEOPLE, [False] * 3, 0.5)
    draws = [sampler.draw(50, torch.Generator().manual_seed(7)) for _ in range(2)]
    assert draws[0] == draws[1]
    assert draws[0] != sampler.draw(50, torch.Generator().manual_seed(8))
