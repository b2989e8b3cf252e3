"""The small world: pictures and captions are exact, and repeat."""

import pytest
import torch
from torch.testing import assert_close

from adaface.mini.world import geometry
from adaface.mini.world.accessories import WORN, FaceFrame
from adaface.mini.world.captions import caption, describe, plain_caption
from adaface.mini.world.facts import (
    ACCESSORIES,
    BACKGROUNDS,
    CLOSE_UP,
    FIRST,
    FROM_AFAR,
    OUT_OF_CLOSE_UPS,
    PAIRS,
    STYLES,
    Facts,
    compose,
    draw_facts,
    seen_combinations,
    unseen,
    unseen_pairs,
)

MARKS = torch.tensor([[[22.0, 28.0], [42.0, 28.0], [32.0, 36.0], [25.0, 45.0], [39.0, 45.0]]])
# the mean face of the packs, as the world frames them
USUAL_MARKS = torch.tensor([[[24.0, 30.0], [39.0, 30.0], [32.0, 39.0], [25.0, 46.0], [38.0, 46.0]]])
CLOSE_MARKS = torch.tensor([[[18.0, 17.0], [45.0, 17.0], [31.0, 32.0], [20.0, 45.0], [43.0, 45.0]]])


def facts(
    background: int = 0, accessory: int = 0, style: int = 0, class_word: int = 0, framing: int = 0
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


def test_a_crown_is_gold_above_the_brow_and_a_moustache_black_above_the_mouth(crop):
    crown, moustache = drawn(crop, facts(accessory=5)), drawn(crop, facts(accessory=7))
    assert crown[0, 0, 12, 32] > 0.7 > 0.5 > crown[0, 2, 12, 32]
    assert moustache[0, :, 40, 32].max() < 0.2


@pytest.mark.parametrize("style", range(1, len(STYLES)))
def test_a_style_changes_the_whole_picture_and_stays_in_range(crop, style):
    picture = drawn(crop, facts(style=style))
    assert picture.shape == crop[0].shape and picture.min() >= 0 and picture.max() <= 1
    assert (picture - crop[0]).abs().amax(1).mean() > 0.05


@pytest.mark.parametrize("style", [1, 3])
def test_grey_styles_are_grey(crop, style):
    picture = drawn(crop, facts(2, 2, style))
    assert_close(picture[:, 0], picture[:, 1])
    assert_close(picture[:, 1], picture[:, 2])


def test_a_caption_says_every_fact_and_nothing_else():
    for seed in range(60):
        shown = facts(seed % 13, seed // 5 % 9, seed % 9, seed % 7, 0)
        text = caption(shown, 0, None, generator(seed))
        for words, value in ((BACKGROUNDS, shown.background), (ACCESSORIES, shown.accessory)):
            said = [w for w in words[1:] if w in text]
            assert said == ([words[int(value)]] if int(value) else [])
        assert STYLES[int(shown.style)] in text
        assert "  " not in text and not text.startswith(",") and not text.endswith(",")


def test_a_caption_says_how_near_the_person_is():
    for seed in range(20):
        near, far, usual = (
            caption(facts(framing=value), 0, None, generator(seed)) for value in (CLOSE_UP, FROM_AFAR, 0)
        )
        assert "close-up" in near and "from afar" not in near
        assert "from afar" in far and "close-up" not in far
        assert "close-up" not in usual and "from afar" not in usual


def test_captions_name_a_look_only_when_asked_to():
    with_look = caption(facts(), 0, list(range(16)), generator(3))
    assert len(with_look.split()) > len(caption(facts(), 0, None, generator(3)).split())


def test_an_old_man_has_the_right_article():
    assert plain_caption(facts(class_word=5), 0) == "a photo of an old man"


def test_articles_fit_styles_that_begin_with_a_vowel():
    assert plain_caption(facts(style=7), 0) == "an oil painting of a person"


def test_a_prompt_says_the_same_of_anybody():
    shown = facts(background=1, accessory=2, style=3)
    assert describe(shown, 0, "<alice>") == "a pencil sketch of <alice> wearing a red cap in a meadow"


def covered(words, landmarks):
    """How much of the picture an accessory covers, in squares as wide as the eyes are apart."""
    face, black = FaceFrame.of(landmarks), torch.zeros(1, 3, 64, 64)
    kept = WORN[words](black + 1, face) - WORN[words](black, face)  # of what was there before
    return float((1 - kept).mean(1).sum() / face.apart**2)


@pytest.mark.parametrize("words", WORN)
def test_close_ups_show_all_or_nearly_half_of_an_accessory_or_are_not_drawn_with_it(words):
    share = covered(words, CLOSE_MARKS) / covered(words, USUAL_MARKS)
    assert share < 0.15 if words in OUT_OF_CLOSE_UPS else share > 0.4


def test_close_ups_wear_only_what_they_show_and_all_of_it():
    words = torch.zeros(4000, dtype=torch.long)
    framing = torch.arange(4000) % 3
    drawn_facts = draw_facts(words, framing, generator())
    near = {ACCESSORIES[i] for i in drawn_facts.accessory[framing == CLOSE_UP].tolist()}
    rest = {ACCESSORIES[i] for i in drawn_facts.accessory[framing != CLOSE_UP].tolist()}
    assert rest == set(ACCESSORIES)
    assert near == rest - set(OUT_OF_CLOSE_UPS)


def test_close_ups_too_show_no_unseen_pair():
    words = torch.zeros(4000, dtype=torch.long)
    shown = draw_facts(words, torch.full_like(words, CLOSE_UP), generator())
    assert seen_combinations()[shown.background, shown.accessory, shown.style].all()


def test_facts_are_drawn_from_a_generator():
    words = torch.zeros(2000, dtype=torch.long)
    one, two = (draw_facts(words, words, generator(4)) for _ in "ab")
    assert torch.equal(one.background, two.background)
    assert set(one.background.tolist()) == set(range(len(BACKGROUNDS)))
    assert set(one.accessory.tolist()) == set(range(len(ACCESSORIES)))


def test_a_fifth_of_the_pairs_of_each_two_kinds_never_occurs_in_training():
    sizes = {"b": len(BACKGROUNDS) - 1, "a": len(ACCESSORIES) - 1, "s": len(STYLES) - 1}
    assert sizes == {"b": 12, "a": 8, "s": 8}
    for kinds in PAIRS:
        one, other = (sizes[kind] for kind in kinds)
        kept_apart = sum(unseen(kinds, i, j) for i in range(one + 1) for j in range(other + 1))
        assert 0.18 < kept_apart / (one * other) < 0.22
        assert not any(unseen(kinds, i, j) for i in range(FIRST + 1) for j in range(FIRST + 1))
        assert not any(unseen(kinds, 0, j) or unseen(kinds, j, 0) for j in range(9))
        assert all(any(unseen(kinds, i, j) for j in range(other + 1)) for i in range(FIRST + 1, one + 1))
    assert len(unseen_pairs()) == len(set(unseen_pairs())) == 52


def test_no_picture_of_the_training_shows_an_unseen_pair_unless_it_is_asked_for():
    words = torch.zeros(5000, dtype=torch.long)
    for everything in (False, True):
        drawn_facts = draw_facts(words, words, generator(1), all_pairs=everything)
        names = zip(drawn_facts.background, drawn_facts.accessory, drawn_facts.style, strict=True)
        shown = {(BACKGROUNDS[b], ACCESSORIES[a], STYLES[s]) for b, a, s in names}
        apart = [pair for pair in unseen_pairs() if any(set(pair) <= set(three) for three in shown)]
        assert (len(apart) > 40) == everything and (not apart) == (not everything)


def test_every_fact_can_be_seen_in_training_beside_some_other():
    allowed = seen_combinations()
    assert (
        allowed[0, 0, 0] and allowed[1:, 0, 0].all() and allowed[0, 1:, 0].all() and allowed[0, 0, 1:].all()
    )
    shares = [allowed.movedim(axis, 0)[1:].float().flatten(1).mean(1) for axis in range(allowed.ndim)]
    assert all((share > 0.5).all() and (share < 0.7).all() for share in shares)
