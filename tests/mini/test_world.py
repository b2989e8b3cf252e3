"""The small world: pictures and captions are exact, and repeat."""

import pytest
import torch
from torch.testing import assert_close

from adaface.mini.world import geometry
from adaface.mini.world.captions import caption, plain_caption
from adaface.mini.world.facts import ACCESSORIES, BACKGROUNDS, STYLES, Facts, compose, draw_facts

MARKS = torch.tensor([[[22.0, 28.0], [42.0, 28.0], [32.0, 36.0], [25.0, 45.0], [39.0, 45.0]]])


def facts(
    background: int = 0, accessory: int = 0, style: int = 0, class_word: int = 0, close: int = 0
) -> Facts:
    return Facts(**{name: torch.tensor([value]) for name, value in locals().items()})


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def crop():
    x, y = geometry.grid(torch.device("cpu"))
    mask = geometry.disc(x, y, torch.tensor([[32.0, 36.0]]), torch.tensor([[18.0, 26.0]]))[:, None]
    return torch.rand(1, 3, 64, 64, generator=generator(1)), mask


def drawn(crop, shown, seed=0):
    return compose(*crop, MARKS, shown, generator(seed))


def test_nothing_special_leaves_the_crop_as_it_is(crop):
    assert_close(drawn(crop, facts()), crop[0])


def test_a_picture_is_a_pure_function_of_its_seed(crop):
    for background in range(1, len(BACKGROUNDS)):
        assert torch.equal(drawn(crop, facts(background)), drawn(crop, facts(background)))
    assert not torch.equal(drawn(crop, facts(2)), drawn(crop, facts(2), seed=1))


@pytest.mark.parametrize("background", range(1, len(BACKGROUNDS)))
def test_a_background_never_covers_the_person(crop, background):
    picture, inside = drawn(crop, facts(background)), (crop[1] == 1).expand(-1, 3, -1, -1)
    assert_close(picture[inside], crop[0][inside])
    outside = (crop[1] == 0).expand(-1, 3, -1, -1)
    assert (picture[outside] - crop[0][outside]).abs().mean() > 0.1


@pytest.mark.parametrize("accessory", range(1, len(ACCESSORIES)))
def test_an_accessory_changes_some_of_the_picture(crop, accessory):
    changed = (drawn(crop, facts(0, accessory)) - crop[0]).abs().sum(1) > 0.05
    assert 0.01 < changed.float().mean() < 0.45


def test_sunglasses_darken_the_eyes_and_a_clown_nose_reddens_the_nose(crop):
    glasses, nose = drawn(crop, facts(accessory=1)), drawn(crop, facts(accessory=4))
    assert glasses[0, :, 30, 22].max() < 0.2 and glasses[0, :, 30, 42].max() < 0.2
    assert nose[0, 0, 38, 33] > 0.8 and nose[0, 1:, 38, 33].max() < 0.2


@pytest.mark.parametrize("style", [1, 3])
def test_grey_styles_are_grey(crop, style):
    picture = drawn(crop, facts(2, 2, style))
    assert_close(picture[:, 0], picture[:, 1])
    assert_close(picture[:, 1], picture[:, 2])


def test_a_caption_says_every_fact_and_nothing_else():
    for seed in range(60):
        shown = facts(seed % 5, seed // 5 % 5, seed % 5, seed % 7, 0)
        text = caption(shown, 0, None, generator(seed))
        for words, value in ((BACKGROUNDS, shown.background), (ACCESSORIES, shown.accessory)):
            said = [w for w in words[1:] if w in text]
            assert said == ([words[int(value)]] if int(value) else [])
        assert STYLES[int(shown.style)] in text
        assert "  " not in text and not text.startswith(",") and not text.endswith(",")


def test_captions_name_a_look_only_when_asked_to():
    with_look = caption(facts(), 0, list(range(16)), generator(3))
    assert len(with_look.split()) > len(caption(facts(), 0, None, generator(3)).split())


def test_an_old_man_has_the_right_article():
    assert plain_caption(facts(class_word=5), 0) == "a photo of an old man"


def test_facts_are_drawn_from_a_generator():
    words = torch.zeros(200, dtype=torch.long)
    one, two = (draw_facts(words, words, generator(4)) for _ in "ab")
    assert torch.equal(one.background, two.background)
    assert set(one.background.tolist()) == set(range(len(BACKGROUNDS)))
    assert set(one.accessory.tolist()) == set(range(len(ACCESSORIES)))
