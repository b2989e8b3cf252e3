from dataclasses import replace

import pytest

from adaface.errors import ConfigError
from adaface.evaluation.run.protocols import PROTOCOLS, protocol, protocol_prompts
from adaface.evaluation.run.request import Request
from adaface.pipelines.stack import Stack


@pytest.fixture(scope="module")
def mini() -> Stack:
    return Stack.load("mini")


@pytest.fixture(scope="module")
def tiny(tiny_stack) -> Stack:
    return Stack.load(tiny_stack)


def test_a_stack_with_demo_prompts_is_evaluated_with_them(mini):
    found = protocol_prompts(protocol(None, mini), mini)
    assert [line.text for line in found] == mini.settings["demo_prompts"]
    assert {line.kind for line in found} == {"plain", "clothes", "scene", "style"}


def test_any_other_stack_is_evaluated_with_twelve_prompts_of_four_kinds(tiny):
    found = protocol_prompts(protocol(None, tiny), tiny)
    assert [line.kind for line in found] == [
        k for k in ("scene", "clothes", "action", "style") for _ in range(3)
    ]


@pytest.mark.parametrize(("kind", "count"), [("person", 47), ("animal", 47), ("object", 25)])
def test_the_protocol_of_2024_has_the_sizes_of_the_original(mini, kind, count):
    chosen = protocol("adaface-2024", mini)
    found = protocol_prompts(chosen, mini, kind)
    assert (len(set(found)), chosen.num_images) == (count, 4)
    assert all(line.people == 1 for line in found)


def test_the_protocol_of_2024_draws_with_the_originals_steps_and_guidance(mini, tmp_path):
    request = Request(folder=tmp_path, stack=mini, protocol=protocol("adaface-2024", mini))
    (usual,) = request.variants()[0].values()
    assert (usual.steps, usual.guidance_scale) == (50, (4.0, 1.0))
    asked = replace(request, settings={"steps": 5}).variants()[0][""]
    assert (asked.steps, asked.guidance_scale) == (5, (4.0, 1.0))


def test_pairs_put_two_people_into_each_picture(mini):
    assert {line.people for line in protocol_prompts(PROTOCOLS["pairs"], mini)} == {2}


def test_no_prompt_of_a_protocol_stands_in_it_twice(mini):
    for chosen in PROTOCOLS.values():
        texts = [line.text for line in protocol_prompts(chosen, mini)]
        assert len(texts) == len(set(texts))


def test_an_unknown_protocol_is_told_with_those_that_there_are(mini):
    with pytest.raises(ConfigError, match=r"--protocol long: unknown\. There are mini .*adaface-2024"):
        protocol("long", mini)


def test_mini_needs_a_stack_with_prompts_of_its_own(tiny):
    with pytest.raises(ConfigError, match='stack "tiny": no demo_prompts.* Give --protocol short'):
        protocol_prompts(PROTOCOLS["mini"], tiny)
