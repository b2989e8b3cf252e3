"""The four prompts: where the person stands, where the class word stands, what is compared."""

import pytest
import torch
from torch.testing import assert_close

from adaface.errors import ConfigError
from adaface.losses.orthogonal import orthogonal
from adaface.pipelines.base import base_parts, load_base
from adaface.pipelines.stack import Stack
from adaface.prompt.embedding import embed_prompt
from adaface.recipes.base.denoising import Denoiser
from adaface.recipes.composition.grammar import Composition, with_article
from adaface.recipes.composition.prompts import (
    COMPOSED_WEIGHT,
    four_prompts,
    side_by_side,
    spread_words,
    with_subjects,
    with_words,
)

COMPOSED = "a pencil sketch of {subject} in the meadow"
TWO = [
    Composition("a photo of {subject}", COMPOSED, ()),
    Composition("a photo of {subject}", "{subject} wearing a red cap, sepia photo", ()),
]
WORDS = ["woman", "man"]


@pytest.fixture(scope="module")
def prompts(tiny_stack):
    """The tiny stack's prompts."""
    return opened(tiny_stack, torch.float32)


def opened(stack, kind):
    """Prompts of a stack in this precision."""
    parts = base_parts(Stack.load(stack), safety_checker=False)
    return Denoiser(load_base(parts, torch.device("cpu"), kind)).prompts


def four_of(prompts, anchors, subjects):
    return four_prompts(prompts, TWO, WORDS, anchors, subjects)


def rows(count=2, seed=0):
    return torch.randn(count, 16, 128, generator=torch.Generator().manual_seed(seed))


def test_a_class_word_stands_in_plain_words(prompts):
    said = with_words(prompts, [COMPOSED], ["woman"])
    stock = embed_prompt(prompts.text, prompts.tokenizer, "a pencil sketch of a woman in the meadow", {})
    assert_close(said.context, stock.prompt_embeds)
    assert said.places[0].nonzero()[:, 0].tolist() == [5, 6]  # "a woman", after the start and four words


def test_the_person_s_places_are_those_of_the_rows(prompts):
    one, other = rows(1, 0), rows(1, 1)
    said, changed = (with_subjects(prompts, [COMPOSED], subject) for subject in (one, other))
    assert said.places.sum() == 16
    first = int(said.places[0].int().argmax())
    assert_close(said.context[:, :first], changed.context[:, :first])
    assert (said.context[:, first] - changed.context[:, first]).abs().max() > 0.01


def test_the_four_prompts_of_each_sample_are_its_own(prompts):
    anchors, subjects = rows(seed=0), rows(seed=1)
    four = four_of(prompts, anchors, subjects)
    for k, (said, word) in enumerate(zip(TWO, WORDS, strict=True)):
        alone = (
            with_subjects(prompts, [said.single], anchors[[k]]),
            with_subjects(prompts, [said.composed], subjects[[k]]),
            with_words(prompts, [said.single], [word]),
            with_words(prompts, [said.composed], [word]),
        )
        own = four[torch.tensor([k])]
        for made, wanted in zip(
            (own.subject_single, own.subject_composed, own.class_single, own.class_composed),
            alone,
            strict=True,
        ):
            assert_close(made.context, wanted.context)
            assert_close(made.places, wanted.places)


def test_an_empty_prompt_is_the_stock_one(prompts):
    assert_close(prompts.no_words(), embed_prompt(prompts.text, prompts.tokenizer, "", {}).prompt_embeds)


def test_a_class_word_is_spread_over_the_person_s_places(prompts):
    made = spread_words(prompts, ["woman", "man"], 16)
    row = prompts.text.embed_tokens(
        torch.tensor(prompts.tokenizer("woman", add_special_tokens=False).input_ids)
    )
    assert_close(made[0], row.mean(0).expand(16, -1) / 4)
    assert (made[0] - made[1]).abs().max() > 0


@pytest.mark.parametrize(("words", "told"), [("old man", "an old man"), ("woman", "a woman")])
def test_a_class_word_has_its_article(words, told):
    assert with_article(words) == told


def test_each_position_stands_beside_its_counterpart(prompts):
    subject = rows()
    features, _ = side_by_side(prompts, TWO, WORDS, four_of(prompts, subject, subject), 16)
    single, composed, class_single, class_composed = features
    here = with_subjects(prompts, [c.composed for c in TWO], subject)
    alone = with_subjects(prompts, [c.single for c in TWO], subject)
    assert_close(composed, here.context)
    for k in range(2):  # the person's rows of the single prompt have moved to where the composed one has them
        assert_close(single[k][here.places[k]], alone.context[k][alone.places[k]])
    spread = spread_words(prompts, ["woman", "man"], 16)
    classes = with_subjects(prompts, [c.single for c in TWO], spread)
    assert_close(class_single[1][here.places[1]], classes.context[1][classes.places[1]])
    assert class_composed.shape == class_single.shape == composed.shape


def test_the_person_counts_most_then_the_composition_s_words_and_nothing_else(prompts):
    _, weight = side_by_side(prompts, TWO, WORDS, four_of(prompts, rows(), rows()), 16)
    assert weight[0].tolist() == [0.0] * 5 + [1.0] * 16 + [COMPOSED_WEIGHT] * 3 + [0.0] * 40
    assert weight[1].tolist() == [0.0] + [1.0] * 16 + [COMPOSED_WEIGHT] * 7 + [0.0] * 40


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_a_person_who_has_not_read_the_composition_has_no_direction_to_go(tiny_stack, kind):
    """The class is the same before words that come later; rounding is no change for the person to follow."""
    prompts = opened(tiny_stack, kind)
    said = [Composition("a photo of {subject}", "a photo of {subject} in the meadow", ())]
    four = four_prompts(prompts, said, WORDS[:1], rows(1), rows(1, seed=1))
    (_, _, single, composed), _ = side_by_side(prompts, said, WORDS[:1], four, 16)
    changed = orthogonal(composed, single).norm(dim=-1) > 0
    there = four.subject_composed.places
    assert not changed[there].any() and changed[0, int(there[0].nonzero().max()) + 1]


def test_gradients_reach_the_person_s_rows_and_no_class(prompts):
    subject = rows().requires_grad_()
    features, _ = side_by_side(prompts, TWO, WORDS, four_of(prompts, subject, subject), 16)
    assert [feature.requires_grad for feature in features] == [True, True, False, False]
    features[1].square().sum().backward()
    assert subject.grad.abs().min(-1).values.max() > 0


def test_a_prompt_that_is_too_long_is_told(prompts):
    with pytest.raises(ConfigError, match="more than 64 text positions"):
        with_words(prompts, ["a " * 62 + "{subject}"], ["woman"])
