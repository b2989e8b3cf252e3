"""Copies, and who belongs to a person: the decisions by themselves."""

from dataclasses import replace

import numpy as np
import pytest

from adaface.data.prepare.judging import duplicates
from adaface.data.prepare.judging.duplicates import fingerprint, near_pairs, portrait
from adaface.data.prepare.judging.identity import (
    ANTELOPE,
    SFACE,
    IdentityThreshold,
    belonging,
    measured,
    threshold_of,
)
from adaface.errors import ConfigError
from adaface.face.analyzer import FaceAnalyzer
from adaface.face.images import load_image
from adaface.face.recognize import ARCFACE, unit
from tiny_photos import RED, ColourRecognizer, MarkDetector, encoded, photo

PLAIN = IdentityThreshold(0.5, 0.5)


def crops(pictures):
    """Of pictures of one person, to the recogniser all alike."""
    prints, portraits = [fingerprint(p) for p in pictures], [portrait(p) for p in pictures]
    return np.array(prints, np.uint64), np.stack(portraits), np.ones((len(pictures), 1))


def face(seed, size=256):
    """A smooth picture, as photos are."""
    cells = np.random.default_rng(seed).integers(0, 255, (12, 12, 3)).astype(np.uint8)
    import cv2

    return cv2.resize(cells, (size, size), interpolation=cv2.INTER_CUBIC)


def test_a_picture_saved_again_smaller_or_brighter_is_found():
    from PIL import Image

    first = face(0)
    small = np.asarray(Image.fromarray(first).resize((100, 100), Image.Resampling.BOX))
    poor = load_image(encoded(Image.fromarray(first), "JPEG", quality=40))
    bright = np.clip(first * 0.8 + 40, 0, 255).astype(np.uint8)
    others = [face(k) for k in range(1, 9)]
    pairs = near_pairs(*crops([first, *others, small, poor, bright]))
    assert pairs == [(0, 9), (0, 10), (0, 11), (9, 10), (9, 11), (10, 11)]


def test_among_many_the_same_pairs_are_found(monkeypatch):
    rng = np.random.default_rng(0)
    prints = rng.integers(0, 2**63, 300, dtype=np.uint64)
    portraits = rng.integers(0, 255, (300, 1024)).astype(np.uint8)
    for k in range(0, 300, 10):  # every tenth has a copy that differs in up to six bits
        flips = np.uint64(sum(1 << int(bit) for bit in rng.choice(64, k // 50, replace=False)))
        prints[k + 1], portraits[k + 1] = prints[k] ^ flips, portraits[k]
    alike = np.ones((300, 1))
    slow = near_pairs(prints, portraits, alike)
    monkeypatch.setattr(duplicates, "_MANY", 10)
    assert near_pairs(prints, portraits, alike) == slow == [(k, k + 1) for k in range(0, 300, 10)]


def test_the_same_picture_a_little_moved_is_found_and_another_person_is_not():
    first = face(0)
    moved = np.roll(first, (6, -5), (0, 1))
    prints, portraits, alike = crops([first, moved])
    assert near_pairs(prints, portraits, alike) == [(0, 1)]
    assert near_pairs(prints, portraits, np.eye(2)) == []


def test_no_pictures_and_plain_ones_are_no_pairs():
    assert near_pairs(np.zeros(0, np.uint64), np.zeros((0, 1024), np.uint8), np.zeros((0, 1))) == []
    assert near_pairs(*crops([np.zeros((64, 64, 3), np.uint8), np.full((64, 64, 3), 9, np.uint8)])) == []


def person(seed, count, spread=0.5, dim=64):
    rng = np.random.default_rng(seed)
    return unit(unit(rng.normal(size=dim)) + spread * unit(rng.normal(size=(count, dim))))


def folder(*rows):
    return [np.atleast_2d(row).astype(np.float32) for row in rows]


def test_strangers_are_told_from_the_person():
    found = belonging(folder(*person(0, 6), *person(1, 2), *person(2, 1)), PLAIN)
    assert found.kept.tolist() == [True] * 6 + [False] * 3
    assert (found.similarity[:6] > 0.7).all() and (found.similarity[6:] < 0.4).all()


def test_the_order_of_the_photos_makes_no_difference():
    rows = folder(*person(0, 5), *person(1, 3))
    order = np.random.default_rng(3).permutation(8)
    straight, mixed = belonging(rows, PLAIN), belonging([rows[k] for k in order], PLAIN)
    assert (straight.kept[order] == mixed.kept).all()
    np.testing.assert_allclose(straight.similarity[order], mixed.similarity, atol=1e-6)


def test_a_photo_does_not_vouch_for_itself():
    rows = person(0, 3)
    found = belonging(folder(*rows), PLAIN)
    assert found.similarity[0] == pytest.approx(float(rows[0] @ unit(rows[1] + rows[2])), abs=1e-6)


def test_of_several_faces_the_persons_is_chosen():
    mine, other = person(0, 4), person(1, 1)
    found = belonging([*folder(*mine[:3]), np.concatenate([other, mine[3:]])], PLAIN)
    assert found.faces.tolist() == [0, 0, 0, 1] and found.kept.all()


def test_one_photo_is_believed():
    found = belonging(folder(person(0, 1)), PLAIN)
    assert found.kept.tolist() == [True] and np.isnan(found.similarity[0])


def test_without_a_majority_nobody_is_kept():
    two = belonging(folder(*person(0, 1), *person(1, 1)), PLAIN)
    halves = belonging(folder(*person(0, 3), *person(1, 3)), PLAIN)
    assert not two.agreed and not two.kept.any()
    assert not halves.agreed and not halves.kept.any()


def test_the_threshold_goes_from_pairs_to_means():
    figures = IdentityThreshold(0.3, 0.5)
    values = figures.at(np.array([1, 2, 8, 10_000]))
    assert values[0] == pytest.approx(0.3) and values[-1] == pytest.approx(0.5, abs=1e-3)
    assert (np.diff(values) > 0).all()


def test_each_recogniser_has_its_own_figures():
    assert threshold_of("sface") == SFACE
    assert threshold_of("glintr100-12345678") == ANTELOPE and ANTELOPE.mean == 0.65
    assert threshold_of("mine", 0.4) == IdentityThreshold(0.4, 0.4, "the recogniser's spec")
    assert threshold_of("mine") is None


def test_drawn_photos_of_one_person_are_no_copies_of_each_other():
    pictures = [np.asarray(photo(RED, k).crop((78, 68, 178, 168))) for k in range(6)]
    assert near_pairs(*crops(pictures)) == []


def test_a_figure_that_is_only_a_guess_counts_as_none():
    guess = replace(ARCFACE, name="mine-12345678")
    assert measured(guess) is None and measured(replace(guess, same_person=0.31)) == 0.31
    assert measured(replace(guess, licence="mine")) is None
    assert measured(object()) is None


def test_a_figure_of_the_spec_counts_before_one_that_the_name_suggests():
    assert threshold_of("arcface-12345678").source == "assumed by its name"
    assert threshold_of("arcface", 0.31) == IdentityThreshold(0.31, 0.31, "the recogniser's spec")


def test_who_has_no_figure_must_give_one_or_keep_everybody(make, raw, tmp_path):
    analyzer = Unmeasured()
    with pytest.raises(ConfigError, match=r"recogniser new: nobody has measured .*--same-person.*--keep-all"):
        make(analyzer=analyzer)
    assert make(analyzer=analyzer, settings={"same_person": 0.8}).kept == 6
    assert make(analyzer=analyzer, settings={"filter_people": False}, to=tmp_path / "b").kept == 6
    assert make(analyzer=analyzer, mixed_roots=[raw], to=tmp_path / "c").kept == 6


class Unmeasured:
    """Makes a recogniser of which nobody knows a figure."""

    def __call__(self):
        return FaceAnalyzer(MarkDetector(), ColourRecognizer("new", same_person=None))
