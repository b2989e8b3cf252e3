"""PHOTO -> FACE: read a picture, find the faces, choose one, and turn it into a unit ID embedding.

A name is imported from its file when it is first used: the detector and the recogniser load OpenCV and ONNX
Runtime.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from adaface.face.align import align
    from adaface.face.analyzer import FaceAnalyzer
    from adaface.face.detect import YuNet
    from adaface.face.images import load_image
    from adaface.face.photos import LeftOut, PhotoSet
    from adaface.face.preview import number_faces
    from adaface.face.recognize import OnnxRecognizer, RecognizerSpec, load_recognizer
    from adaface.face.types import AlignedCrop, Detection, Face, FaceDetector, FaceRecognizer

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
    "align": "align",
    "load_image": "images",
    "load_recognizer": "recognize",
    "number_faces": "preview",
}

__all__ = [
    "AlignedCrop",
    "Detection",
    "Face",
    "FaceAnalyzer",
    "FaceDetector",
    "FaceRecognizer",
    "LeftOut",
    "OnnxRecognizer",
    "PhotoSet",
    "RecognizerSpec",
    "YuNet",
    "align",
    "load_image",
    "load_recognizer",
    "number_faces",
]


def __getattr__(name: str) -> Any:
    if name not in _FILES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_FILES[name]}"), name)
