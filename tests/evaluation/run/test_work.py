"""Photos that are scored as if they were drawn."""

from typing import ClassVar

import pytest
from PIL import Image

from adaface.evaluation.anchors import SAME
from adaface.evaluation.folder import ANCHORS, read_pictures
from adaface.evaluation.records import Subject, World
from adaface.evaluation.run.work import Clock, Judge, score_anchors
from tiny_run import Brightness


@pytest.fixture
def world(tmp_path):
    """Ada in white and ben in black, a given photo and one that scores each."""
    people = []
    for name, colour in (("ada", "white"), ("ben", "black")):
        photos = [tmp_path / f"{name}{k}.png" for k in range(2)]
        for photo in photos:
            Image.new("RGB", (8, 8), colour).save(photo)
        people.append(Subject(name, tuple(photos[:1]), tuple(photos[1:])))
    return World(tuple(people), ())


def test_each_photo_has_the_scores_of_its_own_file_and_its_time_is_told_apart(world, tmp_path):
    clock = Clock()
    score_anchors(tmp_path, Judge([Brightness()], world, clock), 0)
    found = read_pictures(tmp_path / ANCHORS)[0]
    brightness = {(one.subjects[0], one.kind == SAME): one.scores["brightness"] for one in found}
    assert brightness == {("ada", True): 1, ("ada", False): 0, ("ben", True): 0, ("ben", False): 1}
    assert clock.photos_s > 0 == clock.score_s
    assert Clock.of(clock.to_json()).photos_s == pytest.approx(clock.photos_s, abs=1e-3)


def test_a_photo_that_stands_for_several_people_is_opened_once(world, tmp_path):
    class Counted(Brightness):
        images: ClassVar[list] = []

        def __call__(self, cases):
            self.images += [case.image for case in cases]
            return super().__call__(cases)

    score_anchors(tmp_path, Judge([Counted()], world, Clock()), 0)
    assert (len(Counted.images), len({id(image) for image in Counted.images})) == (4, 2)


def test_a_photo_that_cannot_be_read_is_left_out(world, tmp_path):
    world.subjects[0].given[0].write_bytes(b"no picture")
    score_anchors(tmp_path, Judge([Brightness()], world, Clock()), 0)
    assert {(one.subjects[0], one.kind) for one in read_pictures(tmp_path / ANCHORS)[0]} == {
        ("ada", "other"), ("ben", SAME),
    }  # fmt: skip
