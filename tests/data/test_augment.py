"""Coins that move a picture: nothing wraps around, image, masks and landmarks move together."""

import json
from dataclasses import asdict, replace

import pytest
import torch
from torch.testing import assert_close

from adaface.data.augment import Augment
from adaface.data.dataset import FaceDataset, Sample
from adaface.errors import ConfigError
from tiny_data import write_tiny_data


@pytest.fixture(scope="module")
def sample(tmp_path_factory) -> Sample:
    return FaceDataset(write_tiny_data(tmp_path_factory.mktemp("data")))[4]


def marked(sample: Sample) -> Sample:
    """White spots at the landmarks, nothing else: where they are seen, the landmarks should be."""
    image = torch.zeros_like(sample.image)
    points = sample.landmarks.round().long()
    for c, (x, y) in enumerate(points[[0, 3, 2]]):  # right eye red, right mouth corner green, nose blue
        image[c, y, x] = 255
    return replace(sample, image=image, landmarks=points.float())


def test_no_coins_change_nothing(sample):
    same = Augment().apply(sample)
    assert torch.equal(same.image, sample.image) and torch.equal(same.mask, sample.mask)
    assert_close(same.landmarks, sample.landmarks)


def test_two_mirrors_give_the_picture_back(sample):
    mirror = Augment(flip=True)
    twice = mirror.apply(mirror.apply(sample))
    assert torch.equal(twice.image, sample.image)
    assert_close(twice.landmarks, sample.landmarks)


def test_the_mirrored_right_eye_is_a_left_eye(sample):
    moved = Augment(flip=True).apply(sample)
    assert_close(moved.landmarks[0], torch.tensor([63 - sample.landmarks[1, 0], sample.landmarks[1, 1]]))
    assert moved.landmarks[0, 0] < moved.landmarks[1, 0]  # the right eye is still on the left of the picture


@pytest.mark.parametrize("flip", [False, True])
def test_landmarks_go_where_the_picture_goes(sample, flip):
    coins = Augment(flip=flip, scale=0.8, shift_x=0.5, shift_y=-0.5)
    moved = coins.apply(marked(sample))
    wanted = moved.landmarks[[1, 4, 2]] if flip else moved.landmarks[[0, 3, 2]]
    weights = moved.image.float()
    axis = torch.arange(64.0)
    for c, point in enumerate(wanted):
        total = weights[c].sum()
        centre = torch.stack([(weights[c].sum(0) * axis).sum(), (weights[c].sum(1) * axis).sum()]) / total
        assert (centre - point).abs().max() < 0.7


@pytest.mark.parametrize("shift", [-1.0, -0.3, 0.0, 0.77, 1.0])
def test_a_shift_keeps_all_of_the_picture_and_wraps_nothing_around(sample, shift):
    coins = Augment(scale=0.75, shift_x=shift, shift_y=-shift)
    bright = replace(sample, image=torch.full_like(sample.image, 200))
    moved = coins.apply(bright)
    inside = moved.valid[0].bool()
    assert int(inside.sum()) == 48 * 48
    rows, columns = inside.any(1).nonzero().flatten(), inside.any(0).nonzero().flatten()
    assert len(rows) == len(columns) == 48
    assert (
        rows[-1] - rows[0] == columns[-1] - columns[0] == 47
    )  # one square, not two pieces at opposite borders
    assert torch.equal(moved.image[0] == 200, inside) and torch.equal(moved.image[0] == 0, ~inside)


def test_the_ends_of_the_shift_are_the_borders(sample):
    corner = Augment(scale=0.75, shift_x=1, shift_y=-1).apply(sample).valid[0]
    assert corner[:48, 16:].min() == 1


def test_what_was_not_valid_before_stays_so(sample):
    valid = sample.valid.clone()
    valid[:, :, :32] = 0
    moved = Augment(flip=True, scale=0.5, shift_x=-1, shift_y=-1).apply(replace(sample, valid=valid)).valid[0]
    assert moved[:32, :16].min() == 1 and moved[:, 16:].max() == 0


def test_masks_keep_to_zero_and_one(sample):
    moved = Augment(scale=0.83).apply(sample)
    assert moved.mask.unique().tolist() == [0, 1]
    assert abs(moved.mask.float().sum() / sample.mask.float().sum() - 0.83**2) < 0.03
    assert bool((moved.mask <= moved.valid).all())


def test_a_photo_that_fills_its_crop_fills_its_smaller_frame(sample):
    whole = Augment(scale=0.83).apply(replace(sample, valid=torch.ones_like(sample.valid)))
    assert whole.valid.dtype == torch.uint8
    assert int(whole.valid.sum()) == round(0.83 * sample.valid.shape[-1]) ** 2


def test_an_unknown_mask_stays_all_ones(sample):
    unknown = replace(sample, mask=torch.ones_like(sample.mask), has_mask=False)
    assert Augment(scale=0.7).apply(unknown).mask.min() == 1


def test_the_sample_that_was_given_is_as_it_was(sample):
    before = sample.image.clone(), sample.landmarks.clone(), sample.valid.clone()
    Augment(flip=True, scale=0.7, shift_x=1).apply(sample)
    assert torch.equal(sample.image, before[0]) and torch.equal(sample.landmarks, before[1])
    assert torch.equal(sample.valid, before[2])


def test_coins_are_the_generators_and_within_their_range():
    draw = lambda seed: [Augment.draw(g) for g in [torch.Generator().manual_seed(seed)] for _ in range(300)]  # noqa: E731
    coins = draw(0)
    assert coins == draw(0) != draw(1)
    assert all(0.7 <= c.scale <= 1 and -1 <= c.shift_x <= 1 for c in coins)
    assert 0.4 < sum(c.flip for c in coins) / 300 < 0.6
    assert min(c.scale for c in coins) < 0.71 and max(c.scale for c in coins) > 0.99


def test_every_draw_takes_as_many_numbers():
    one, other = torch.Generator().manual_seed(0), torch.Generator().manual_seed(0)
    Augment.draw(one)
    Augment.draw(other, flip=0, scale=(1.0, 1.0))
    assert torch.equal(one.get_state(), other.get_state())


def test_coins_travel_as_json():
    coins = Augment.draw(torch.Generator().manual_seed(3))
    assert Augment(**json.loads(json.dumps(asdict(coins)))) == coins


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"scale": 0.0}, "scale=0.0: give a number above 0, at most 1"),
        ({"scale": 1.2}, "scale=1.2: give a number above 0"),
        ({"shift_x": -1.5}, "shift_x=-1.5, shift_y=0.0: give numbers from -1 to 1"),
    ],
)
def test_coins_out_of_range_are_told(given, message):
    with pytest.raises(ConfigError, match=message):
        Augment(**given)


def test_ranges_that_make_no_sense_are_told():
    with pytest.raises(ConfigError, match=r"flip=0.5, scale=\(1.0, 0.7\): give a chance, and two sizes"):
        Augment.draw(torch.Generator(), scale=(1.0, 0.7))
