"""Compositions out of a grammar: what may stand in them, how they are phrased, and what is no grammar."""

from pathlib import Path

import pytest
import torch

from adaface.errors import ConfigError
from adaface.mini.stack import SETTINGS
from adaface.pipelines.stack import Stack
from adaface.recipes.composition.grammar import grammar_of, known, read_grammar
from adaface.training.config import Layer

WORDS = {
    "single": ["a photo of {subject}"],
    "phrasings": ["{a_style} of {subject}{wear}, {scene}"],
    "parts": {
        "style": {"share": 0.5, "plain": "photo", "words": ["oil painting", "sketch"]},
        "wear": {"share": 0.5, "words": ["in a hat"]},
        "scene": {"share": 0.5, "words": ["at sea", "at home"]},
    },
}


def grammar(**values):
    return grammar_of(Layer("test", WORDS | values))


def drawn(made, count=200):
    generator = torch.Generator().manual_seed(0)
    return [made.draw(generator) for _ in range(count)]


def test_every_composition_is_one_of_the_grammar_s_and_something_is_in_it():
    texts = {one.composed for one in drawn(grammar())}
    assert "an oil painting of {subject} in a hat, at sea" in texts
    assert "a photo of {subject}, at home" in texts
    assert "a sketch of {subject}" in texts
    assert "a photo of {subject}" not in texts
    assert len(texts) == 3 * 2 * 3 - 1
    assert {one.single for one in drawn(grammar())} == {"a photo of {subject}"}


def test_the_words_of_a_composition_are_told():
    for one in drawn(grammar(), 50):
        assert one.words and all(words in one.composed for words in one.words)


def test_what_never_goes_together_never_does():
    made = drawn(grammar(never=[["at sea", "in a hat"], ["sketch", "at home"]]))
    assert not [one for one in made if {"at sea", "in a hat"} <= set(one.words)]
    assert not [one for one in made if {"sketch", "at home"} <= set(one.words)]
    assert [one for one in made if {"sketch", "at sea"} <= set(one.words)]


def test_a_part_is_there_as_often_as_its_share():
    parts = WORDS["parts"] | {"scene": {"share": 1.0, "words": ["at sea"]}}
    made = drawn(grammar(parts=parts), 400)
    share = sum("in a hat" in one.words for one in made) / len(made)
    assert 0.42 < share < 0.58


def test_the_same_seed_gives_the_same_composition():
    assert drawn(grammar(), 20) == drawn(grammar(), 20)


def test_a_phrasing_without_a_place_for_a_part_is_not_taken_for_it():
    made = grammar(phrasings=["{subject}{wear}", "{subject} {scene}, {style}"])
    for one in drawn(made, 100):
        assert not ("in a hat" in one.words and len(one.words) > 1)


def test_a_part_is_not_taken_for_one_whose_name_ends_alike():
    parts = {"wear": {"share": 1, "words": ["in a hat"]}, "footwear": {"share": 1, "words": ["in boots"]}}
    with pytest.raises(ConfigError, match="no composition was found"):
        drawn(grammar(phrasings=["{subject}{footwear}"], parts=parts), 1)


def test_words_with_braces_are_told():
    parts = WORDS["parts"] | {"wear": {"share": 0.5, "words": ["in a {colour} hat"]}}
    with pytest.raises(
        ConfigError, match=r"^test: 'in a \{colour\} hat': names in braces stand in phrasings"
    ):
        grammar(parts=parts)


def test_the_longest_prompts_hold_the_longest_words():
    assert grammar().longest() == ["a photo of {subject}", "an oil painting of {subject} in a hat, at home"]


def test_how_long_words_are_is_for_the_caller_to_say():
    made = grammar(
        parts=WORDS["parts"] | {"scene": {"share": 0.5, "words": ["at sea in a gale", "somewhere-or-other"]}}
    )
    assert made.longest()[1].endswith("somewhere-or-other")
    assert made.longest(lambda words: len(words.split()))[1].endswith("at sea in a gale")
    plain = WORDS["parts"] | {"style": {"share": 0.5, "plain": "black and white photo", "words": ["sketch"]}}
    assert grammar(parts=plain).longest()[1].startswith("a black and white photo of")


@pytest.mark.parametrize("name", ["mini", "sd15"])
def test_the_grammars_of_the_package_compose(name):
    made = drawn(read_grammar(name, stack()), 300)
    assert len({one.composed for one in made}) > 60
    assert all(
        one.composed.count("{subject}") == 1 and "{" not in one.composed.replace("{subject}", "")
        for one in made
    )
    assert not [
        one.composed
        for one in made
        if "  " in one.composed or " ," in one.composed or one.composed.endswith(",")
    ]


def test_the_grammars_of_the_package_are_known():
    assert known() == ["mini", "sd15"]


def stack(name="mine", **settings):
    return Stack(Path(), name, {}, settings)


def test_a_stack_may_bring_its_own():
    assert read_grammar("stack", stack("mini", compositions=WORDS)) == grammar()


def test_without_one_the_grammar_of_its_name_counts():
    assert read_grammar("stack", stack("mini")) == read_grammar("mini", stack())


def test_the_mini_stack_brings_the_grammar_of_its_name():
    own = stack(compositions=SETTINGS["compositions"])
    assert read_grammar("stack", own) == read_grammar("mini", own)


def test_a_stack_without_any_is_told_what_to_name():
    with pytest.raises(ConfigError, match=r'stack "mine" brings no "compositions".*mini, sd15'):
        read_grammar("stack", stack())


def test_a_name_of_nothing_is_told_with_the_nearest():
    with pytest.raises(ConfigError, match=r'grammar="min": no YAML file.*did you mean mini\?'):
        read_grammar("min", stack())


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"phrasings": ["{style} of somebody"]}, "one {subject} in each phrasing"),
        ({"phrasings": ["{subject} {wea}"]}, "no part 'wea'.*did you mean wear?"),
        ({"single": []}, "needs single, phrasings, and parts"),
        (
            {"parts": {"wear": {"share": 0.0, "words": ["in a hat"]}}, "phrasings": ["{subject}{wear}"]},
            "a share above 0",
        ),
        ({"parts": WORDS["parts"] | {"wear": {"share": 0.5, "words": []}}}, "words=[].*some words"),
        (
            {"parts": WORDS["parts"] | {"wear": {"share": 2.0, "words": ["in a hat"]}}},
            "share=2.0.*from 0 to 1",
        ),
        ({"phrasings": ["{a style} of {subject}"]}, "names of parts in braces"),
        ({"never": [["at sea", "in a hatt"]]}, "no part says 'in a hatt'.*did you mean in a hat?"),
        ({"parts": {"wear": {"words": ["in a hat"]}}}, "share: has to be given"),
        ({"parts": ["wear"]}, "parts has to be names"),
        ({"never": ["at sea"]}, "never a list of pairs"),
        ({"colour": 3}, "colour: no such setting"),
    ],
)
def test_what_is_no_grammar_is_told(wrong, told):
    import re

    with pytest.raises(ConfigError) as caught:
        grammar(**wrong)
    assert re.search(re.sub(r"([{?\[\]])", r"\\\1", told), str(caught.value))


def test_a_grammar_that_forbids_all_is_told():
    made = grammar(
        parts={"wear": {"share": 1.0, "words": ["in a hat"]}, "scene": {"share": 1.0, "words": ["at sea"]}},
        phrasings=["{subject}{wear}{scene}"],
        never=[["in a hat", "at sea"]],
    )
    with pytest.raises(ConfigError, match="no composition was found"):
        made.draw(torch.Generator().manual_seed(0))
