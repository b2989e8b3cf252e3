"""Who is trained on, who is looked at on the way, and who is looked at last."""

import pytest

from adaface.errors import ConfigError
from adaface.mini.people import held_out
from adaface.mini.world.data import HELD_OUT, TRAIN, VALIDATION, load_full

SPLITS = (TRAIN, VALIDATION, HELD_OUT)


def test_nobody_stands_in_two_splits_and_every_photo_in_one(drawn_data):
    packs = [load_full(drawn_data, split=split) for split in SPLITS]
    people = [set(pack.person.tolist()) for pack in packs]
    assert not people[0] & people[1] and not people[0] & people[2] and not people[1] & people[2]
    assert all(people) and sum(map(len, packs)) == 2 * 24


def test_validation_takes_every_twelfth_person(drawn_data):
    assert set(load_full(drawn_data, split=VALIDATION).person.tolist()) == {0, 12}


def test_people_to_measure_come_from_the_split_that_is_asked_for(drawn_data):
    for split in (VALIDATION, HELD_OUT):
        measured = held_out(drawn_data, 2, split=split)
        known = set(load_full(drawn_data, split=split).person.tolist())
        assert set(measured.pack.person[measured.given].tolist()) <= known
    with pytest.raises(ConfigError, match="has 2 such people"):
        held_out(drawn_data, 3, split=VALIDATION)
