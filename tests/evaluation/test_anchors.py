"""Photos that stand for pictures: whose, how many, and never a photo against itself."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adaface.evaluation.anchors import MOST_OTHERS, MOST_OWN, OTHER, SAME, anchors
from adaface.evaluation.records import Subject, World


def photo(folder: Path, name: str) -> Path:
    path = folder / f"{name}.png"
    Image.fromarray(np.full((8, 8, 3), sum(name.encode()) % 256, np.uint8)).save(path)
    return path


def subject(folder: Path, name: str, given: int = 1, scored: int = 2) -> Subject:
    photos = [photo(folder, f"{name}{number}") for number in range(given + scored)]
    return Subject(name, tuple(photos[:given]), tuple(photos[given:]))


def files(photos, kind, name):
    return [Path(one.file) for one in photos if one.kind == kind and one.subjects == (name,)]


@pytest.fixture
def world(tmp_path):
    return World((subject(tmp_path, "ada"), subject(tmp_path, "ben", given=2)), ())


def test_the_ceiling_is_of_photos_that_do_not_score(world):
    photos = anchors(world)
    for one in world.subjects:
        assert sorted(files(photos, SAME, one.name)) == sorted(one.given)


def test_the_floor_is_of_other_peoples_photos(world):
    ada, ben = world.subjects
    assert sorted(files(anchors(world), OTHER, "ada")) == sorted(ben.given)
    assert sorted(files(anchors(world), OTHER, "ben")) == sorted(ada.given)


def test_no_photo_of_the_floor_is_compared_with_itself(world):
    scored = {path for one in world.subjects for path in one.scored}
    assert not scored & {Path(one.file) for one in anchors(world)}


def test_people_without_given_photos_make_a_floor_of_those_they_have(tmp_path):
    people = subject(tmp_path, "ada", given=0), subject(tmp_path, "ben")
    assert sorted(files(anchors(World(people, ())), OTHER, "ben")) == sorted(people[0].scored)


def test_given_photos_that_score_are_no_ceiling(tmp_path):
    world = World((subject(tmp_path, "ada", scored=0), subject(tmp_path, "ben")), ())
    assert files(anchors(world), SAME, "ada") == []


def test_one_person_alone_has_no_floor(tmp_path):
    photos = anchors(World((subject(tmp_path, "ada"),), ()))
    assert {one.kind for one in photos} == {SAME}


def test_of_many_photos_some_are_drawn_by_the_seed(tmp_path):
    world = World((subject(tmp_path, "ada", given=20), subject(tmp_path, "ben", given=20)), ())
    drawn = [[one.file for one in anchors(world, seed)] for seed in (0, 0, 1)]
    assert len(drawn[0]) == 2 * (MOST_OWN + MOST_OTHERS)
    assert drawn[0] == drawn[1] != drawn[2]


def test_no_photo_comes_twice(world):
    photos = anchors(world)
    assert len({one.key for one in photos}) == len(photos)
