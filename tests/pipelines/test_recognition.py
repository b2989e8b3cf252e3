"""The face analyser that a stack asks for."""

import dataclasses

import pytest

from adaface.errors import StackError
from adaface.pipelines.manifest import Part
from adaface.pipelines.recognition import stack_analyzer
from adaface.pipelines.stack import Stack


def with_recognizer(folder, part) -> Stack:
    stack = Stack.load(folder)
    return dataclasses.replace(stack, roles={**stack.roles, "recognizer": part})


def test_the_least_size_of_a_face_can_be_chosen(tiny_stack):
    assert stack_analyzer(Stack.load(tiny_stack), min_face_px=7).min_face_px == 7


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (Part(builtin="magic"), 'unknown builtin recogniser "magic". Known: sface. Name that one'),
        (Part("x.onnx", options={"colour": "RGB"}), "options of the role .*correct them in stack.json"),
    ],
)
def test_a_recogniser_that_cannot_be_had_is_told(tiny_stack, part, message):
    with pytest.raises(StackError, match=message):
        stack_analyzer(with_recognizer(tiny_stack, part))
