"""The face analyser that a stack asks for, and whether it is the one that its encoder was trained with."""

import re
from pathlib import Path
from typing import Any

from adaface.errors import MissingFileError, StackError, WrongRecognizerError
from adaface.face.analyzer import FaceAnalyzer
from adaface.face.recognize import (
    SFACE as SFACE_SPEC,
    RecognizerSpec,
    default_recognizer,
    load_recognizer,
    unnamed,
)
from adaface.pipelines.stack import SFACE, Stack

ARC2FACE_FILE = "arcface.onnx"  # the recogniser that Arc2Face brings; packs of face models hold others
_CONTENT = re.compile(r".*-([0-9a-f]{8})")  # names that `unnamed` gives end with the file's own digest


def stack_analyzer(stack: Stack, **options: Any) -> FaceAnalyzer:
    """A FaceAnalyzer with the stack's recogniser: the builtin "sface", or an ONNX file whose `options` are
    its spec.

    options: of `FaceAnalyzer`. Raises StackError: an unknown builtin, or options that are no
    `RecognizerSpec`. MissingFileError: a folder without the file that is needed.
    """
    part = stack.part("recognizer")
    if part.builtin is not None:
        _check_builtin(stack, part.builtin)
        return FaceAnalyzer(recognizer=default_recognizer(), **options)
    spec = _spec(stack)
    return FaceAnalyzer(
        recognizer=load_recognizer(recognizer_file(stack.path("recognizer")), spec), **options
    )


def recognizer_name(stack: Stack) -> str:
    """The name that the stack's recogniser gives to ID embeddings; no network is opened. Raises as
    `stack_analyzer`.
    """
    part = stack.part("recognizer")
    if part.builtin is not None:
        _check_builtin(stack, part.builtin)
        return SFACE_SPEC.name
    if (spec := _spec(stack)) is not None:
        return spec.name
    path = recognizer_file(stack.path("recognizer"))
    beside = path.with_suffix(".json")
    return (RecognizerSpec.from_json(beside) if beside.is_file() else unnamed(path)).name


def check_recognizer(wanted: str, used: str) -> None:
    """Are ID embeddings of the recogniser `used` for an encoder that was trained with `wanted`?

    Names with the digest of the file behind them are compared by it. Raises WrongRecognizerError: they are
    not; "unknown" passes.
    """
    contents = [match[1] for name in (wanted, used) if (match := _CONTENT.fullmatch(name))]
    same = len(contents) == 2 and contents[0] == contents[1]
    if "unknown" not in (used, wanted) and used != wanted and not same:
        raise WrongRecognizerError(
            f'the encoder was trained with ID embeddings of the recogniser "{wanted}", but these are of '
            f'"{used}": nobody would be like the photo. Give the file of that recogniser (Arc2Face brings '
            f"its own {ARC2FACE_FILE}; glintr100.onnx of antelopev2 is another one); if it is the same "
            "network, name it so in its spec (a JSON file beside the ONNX file)"
        )


def recognizer_file(path: Path) -> Path:
    """`path` if it is a file; of a folder (such as antelopev2, nested or not) its arcface.onnx, or its only
    ONNX file.

    Raises MissingFileError: it holds several others, or none; names them.
    """
    if path.is_file():
        return path
    found = sorted(path.rglob("*.onnx"))
    named = [file for file in found if file.name == ARC2FACE_FILE]
    if len(named or found) == 1:
        return (named or found)[0]
    held = ", ".join(file.relative_to(path).as_posix() for file in found[:8]) or "no .onnx file"
    raise MissingFileError(
        f"{path}: a recogniser is one ONNX file, but this folder holds {held}. Give the path of the file "
        f"that the encoder was trained with (for Arc2Face: {ARC2FACE_FILE})"
    )


def _check_builtin(stack: Stack, name: str) -> None:
    if name != SFACE:
        raise StackError(
            f'stack "{stack.name}": unknown builtin recogniser "{name}". Known: {SFACE}. '
            "Name that one, or give the path of an ONNX file"
        )


def _spec(stack: Stack) -> RecognizerSpec | None:
    options = stack.part("recognizer").options
    try:
        return RecognizerSpec(**options) if options else None
    except TypeError as error:
        raise StackError(
            f'stack "{stack.name}": options of the role "recognizer": {error}. '
            "They are the fields of RecognizerSpec; correct them in stack.json"
        ) from error
