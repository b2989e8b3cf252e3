"""PHOTO -> FACE: read a picture, find the faces, choose one, and turn it into a unit ID embedding.

A name is imported from its file when it is first used: the detector and the recogniser load OpenCV and ONNX
Runtime.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # "as" tells type checkers that these are for everybody
    from adaface.face.analyzer import FaceAnalyzer as FaceAnalyzer
    from adaface.face.detect import YuNet as YuNet
    from adaface.face.images import load_image as load_image
    from adaface.face.photos import LeftOut as LeftOut, PhotoSet as PhotoSet
    from adaface.face.preview import number_faces as number_faces
    from adaface.face.recognize import (
        OnnxRecognizer as OnnxRecognizer,
        RecognizerSpec as RecognizerSpec,
        load_recognizer as load_recognizer,
    )
    from adaface.face.types import (
        AlignedCrop as AlignedCrop,
        Detection as Detection,
        Face as Face,
        FaceDetector as FaceDetector,
        FaceRecognizer as FaceRecognizer,
    )

_FILES = {
    "AlignedCrop": "types",
    "Detection": "types",
    "Face": "types",
    "FaceAnalyzer": "analyzer",
    "FaceDetector": "types",
    "FaceRecognizer": "types",
    "LeftOut": "photos",
    "OnnxRecognizer": "recognize",
    "PhotoSet": "photos",
    "RecognizerSpec": "recognize",
    "YuNet": "detect",
    "load_image": "images",
    "load_recognizer": "recognize",
    "number_faces": "preview",
}

__all__ = sorted(_FILES)


def __getattr__(name: str) -> Any:
    if name not in _FILES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_FILES[name]}"), name)
