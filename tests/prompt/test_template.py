"""Prompts with people in them -> words and slots."""

import pytest
from hypothesis import given, strategies as st

from adaface.errors import PromptError
from adaface.prompt.template import CLASS_NOUNS, Slot, parse

names = st.from_regex(r"\w[\w.'-]{0,8}", fullmatch=True)
words = st.text(st.characters(blacklist_characters="<>", blacklist_categories=["Cs"]), max_size=30)


def test_a_named_subject_becomes_a_slot():
    template = parse("a photo of <alice> in a park", ["alice"])
    assert template.parts == ("a photo of", Slot("alice"), "in a park")
    assert (template.prompt, template.note) == ("a photo of <alice> in a park", None)


def test_several_subjects_and_one_of_them_twice():
    template = parse("<bob>, <alice> and <bob>", ["alice", "bob"])
    assert template.parts == (Slot("bob"), ",", Slot("alice"), "and", Slot("bob"))


@pytest.mark.parametrize("noun", CLASS_NOUNS)
def test_an_unnamed_subject_follows_the_class_noun(noun):
    template = parse(f"a {noun} in a park", ["person"])
    assert template.prompt == f"a {noun} <person> in a park"
    assert template.note == f"<person> put behind {noun!r}"


@pytest.mark.parametrize(
    ("prompt", "used"),
    [
        ("A Woman, smiling", "A Woman <person>, smiling"),
        ("a girl and a boy", "a girl <person> and a boy"),
        ("the man's hat", "the man <person>'s hat"),
        ("a man-made lake", "a photo of <person>, a man-made lake"),
        ("a superman comic", "a photo of <person>, a superman comic"),
        ("a mannequin", "a photo of <person>, a mannequin"),
        ("riding a horse", "a photo of <person>, riding a horse"),
        ("  riding a horse ", "a photo of <person>, riding a horse"),
        ("", "a photo of <person>"),
        ("   ", "a photo of <person>"),
    ],
)
def test_an_unnamed_subject_finds_its_place(prompt, used):
    assert parse(prompt, ["person"]).prompt == used


def test_a_subject_put_in_front_is_told():
    assert parse("riding a horse", ["alice"]).note == "<alice> put in front"


def test_person_stands_for_the_sole_subject_whatever_its_name():
    template = parse("<person> in a park", ["alice"])
    assert (template.prompt, template.note) == ("<alice> in a park", None)


def test_person_stands_for_nobody_among_several():
    with pytest.raises(PromptError, match=r"no subject <person>. Known here: <alice>, <bob>"):
        parse("<person> in a park", ["alice", "bob"])


def test_an_unknown_subject_lists_the_known_ones():
    with pytest.raises(
        PromptError, match=r"no subject <bob>. Known here: <alice>, <carol>. Write one of them"
    ):
        parse("<bob> in a park", ["alice", "carol"])


def test_an_unknown_subject_where_none_is_known():
    with pytest.raises(PromptError, match=r"no subject <bob>. Known here: none"):
        parse("<bob> in a park", [])


def test_an_end_token_in_a_prompt_is_no_word():
    with pytest.raises(PromptError, match=r"no subject <\|endoftext\|>"):
        parse("a park <|endoftext|> and more", ["alice"])


def test_several_subjects_none_of_them_named():
    with pytest.raises(
        PromptError, match=r"names none of <alice>, <bob>: write each where .*'<alice> and <bob>"
    ):
        parse("two people in a park", ["alice", "bob"])


def test_a_subject_left_out_of_several_is_told():
    assert (
        parse("<alice> in a park", ["alice", "bob"]).note == "<bob>: not in the prompt, so not in the picture"
    )


def test_without_subjects_a_prompt_is_words():
    assert parse("a man in a park", []).parts == ("a man in a park",)
    assert parse("", []).parts == ()


@pytest.mark.parametrize("name", ["man", "photo", "a", "zoë", "李雷", "o'neil", "anna-maria", "x.y_2", "A"])
def test_names_may_be_words_and_of_any_script(name):
    assert parse(f"a photo of <{name}>, smiling", [name]).parts[1] == Slot(name)


@pytest.mark.parametrize(
    "name", ["", " ", "two words", "<alice>", "a>", "|end|", ".hidden", "x" * 65, "a/b", "a\n"]
)
def test_names_that_no_prompt_can_hold_are_refused(name):
    with pytest.raises(PromptError, match="give 1 to 64 letters, digits"):
        parse("a park", [name])


@pytest.mark.parametrize(
    "prompt", ["I <3 <alice>", "<alice> 1 < 2 > 0", "<> <alice>", '{<alice>} (((best))) \\ " 50%']
)
def test_brackets_that_name_nobody_are_words(prompt):
    assert [part for part in parse(prompt, ["alice"]).parts if isinstance(part, Slot)] == [Slot("alice")]


def test_a_token_of_the_tokenizer_stays_a_word():
    template = parse("<alice> in the style of <ink>", ["alice"], tokens={"<ink>"})
    assert template.parts == (Slot("alice"), "in the style of <ink>")


def test_case_matters_in_names():
    with pytest.raises(PromptError, match=r"no subject <Alice>. Known here: <alice>"):
        parse("<Alice> in a park", ["alice"])


@given(name=names, before=words, after=words)
def test_a_named_subject_is_found_between_any_words(name, before, after):
    parts = parse(f"{before}<{name}>{after}", [name]).parts
    assert parts == tuple(part for part in (before.strip(), Slot(name), after.strip()) if part)


@given(name=names, prompt=words)
def test_a_sole_subject_is_always_placed_once(name, prompt):
    template = parse(prompt, [name])
    assert template.parts.count(Slot(name)) == 1
    assert parse(template.prompt, [name]).parts == template.parts
    for word in prompt.split():
        assert word in template.prompt
