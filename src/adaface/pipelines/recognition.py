"""The face analyser that a stack asks for."""

from typing import Any

from adaface.errors import StackError
from adaface.face.analyzer import FaceAnalyzer
from adaface.face.recognize import RecognizerSpec, default_recognizer, load_recognizer
from adaface.pipelines.stack import SFACE, Stack


def stack_analyzer(stack: Stack, **options: Any) -> FaceAnalyzer:
    """A FaceAnalyzer with the stack's recogniser: the builtin "sface", or an ONNX file whose `options` are
    its spec.

    options: of `FaceAnalyzer`. Raises StackError: an unknown builtin, or options that are no
    `RecognizerSpec`.
    """
    part = stack.part("recognizer")
    if part.path is None:
        if part.builtin != SFACE:
            raise StackError(
                f'stack "{stack.name}": unknown builtin recogniser "{part.builtin}". Known: {SFACE}. '
                "Name that one, or give the path of an ONNX file"
            )
        return FaceAnalyzer(recognizer=default_recognizer(), **options)
    try:
        spec = RecognizerSpec(**part.options) if part.options else None
    except TypeError as error:
        raise StackError(
            f'stack "{stack.name}": options of the role "recognizer": {error}. '
            "They are the fields of RecognizerSpec; correct them in stack.json"
        ) from error
    return FaceAnalyzer(recognizer=load_recognizer(stack.path("recognizer"), spec), **options)
