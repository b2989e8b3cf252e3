"""What is drawn: paired over rows, of seen and of unseen pairs; how rows are named."""

import pytest

from adaface.errors import ConfigError
from adaface.mini.evidence.design import PLAIN, SEEN, UNSEEN, Design, cells_of
from adaface.mini.evidence.rows import CLASS_PROMPT, file_name, parse_rows
from adaface.mini.world.facts import seen_combinations

SMALL = Design(people=3, plain=2, seen=2, unseen=1)


def test_the_same_design_draws_the_same_and_another_seed_other_scenes():
    assert cells_of(SMALL).cells == cells_of(SMALL).cells
    other = cells_of(Design(people=3, plain=2, seen=2, unseen=1, seed=1)).cells
    assert {cell.seed for cell in other}.isdisjoint(cell.seed for cell in cells_of(SMALL).cells)
    assert [cell.prompt for cell in other] != [cell.prompt for cell in cells_of(SMALL).cells]


def test_every_person_has_pictures_of_each_kind_with_seeds_of_their_own():
    cells = cells_of(SMALL).cells
    for person in range(3):
        kinds = [cell.kind for cell in cells if cell.person == person]
        assert kinds == [PLAIN] * 2 + [SEEN] * 2 + [UNSEEN]
    assert len({cell.seed for cell in cells}) == len(cells)


def test_captions_are_the_prompts_of_anybody():
    for cell in cells_of(SMALL).cells:
        assert cell.prompt.count("<person>") == 1
        assert cell.caption == cell.prompt.replace("<person>", "a person")


def test_unseen_scenes_hold_a_pair_that_training_never_shows():
    cells = cells_of(Design(people=20, plain=1, seen=3, unseen=3))
    for kind, seen in ((SEEN, True), (UNSEEN, False)):
        facts = cells.scenes[kind]
        assert (seen_combinations()[facts.background, facts.accessory, facts.style] == seen).all()
        assert len({cells.cells[n].prompt for n in cells.of(kind)}) == 60


@pytest.mark.parametrize("wrong", [{"people": 1}, {"plain": 0}, {"unseen": 0}])
def test_a_design_without_people_or_pictures_is_refused(wrong):
    with pytest.raises(ConfigError, match="give two people or more, and at least one picture of each kind"):
        Design(**wrong)


def test_more_scenes_than_there_are_say_how_many_there_are():
    with pytest.raises(ConfigError, match=r"seen=3 scenes for each of 5000 people: there are \d+ different"):
        Design(people=5000)


def test_an_unknown_split_names_the_known_ones():
    with pytest.raises(ConfigError, match='split="train": give one of validation, held_out'):
        Design(split="train")


def test_rows_are_names_and_places_in_order():
    assert list(parse_rows(["stage 2=b", "stage 1 = a=c"]).items()) == [("stage 2", "b"), ("stage 1", "a=c")]


@pytest.mark.parametrize("text", ["stage1", "=a", "stage1="])
def test_a_row_without_name_or_place_is_told(text):
    with pytest.raises(ConfigError, match=f"--row {text}: give NAME=PLACE"):
        parse_rows([text])


@pytest.mark.parametrize("texts", [["a=x", "a=y"], [f"{CLASS_PROMPT}=x"]])
def test_a_name_that_is_taken_is_told(texts):
    with pytest.raises(ConfigError, match="the name is taken"):
        parse_rows(texts)


def test_names_become_names_of_files():
    assert file_name("without random IDs / 2") == "without-random-ids-2"
