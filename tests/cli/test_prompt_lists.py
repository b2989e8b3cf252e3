import json

import pytest

from tiny_cli import error, run


def test_prompts_of_a_protocol_are_printed_by_kind():
    lines = run("prompts", "--protocol", "short").stdout.splitlines()
    assert lines[0] == "[scene]"
    assert "a pencil sketch of <person>" in lines


@pytest.mark.parametrize("name", ["mine.txt", "mine.yaml"])
def test_a_list_that_is_written_is_read_back(here, name):
    run("prompts", "--protocol", "adaface-2024", "-o", name)
    first = json.loads(run("prompts", "--protocol", "adaface-2024", "--json").stdout)
    assert json.loads(run("prompts", "--prompts", name, "--json").stdout) == first
    assert len(first["prompts"]) == 47


def test_other_programs_get_words_in_the_place_of_the_person():
    shown = run("prompts", "--protocol", "short", "--subject", "young woman").stdout
    assert "a pencil sketch of young woman" in shown
    assert "<person>" not in shown


def test_a_stack_with_prompts_of_its_own_gives_these():
    assert "a photo of <person> wearing sunglasses" in run("prompts", "--stack", "mini").stdout


def test_mistakes_say_what_there_is():
    assert "--kind: kind 'plant'. Kinds are person, animal, object" in error("prompts", "--kind", "plant")
    assert "mine.doc: give a name that ends in .txt or .yaml" in error("prompts", "-o", "mine.doc")
