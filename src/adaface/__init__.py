"""AdaFace: pictures of a person from one photo of the face, with stock diffusers pipelines.

A name is imported from its room when it is first used (PEP 562), so that `import adaface` loads neither torch
nor diffusers. Shape letters everywhere: B batch, T text positions, K subject rows, D width, H heads,
M keys per token, F faces.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # "as" tells type checkers that these are for everybody
    from adaface.encoder.id_prompter import Arc2FacePrompter as Arc2FacePrompter
    from adaface.encoder.inverse import AdaFaceEncoder as AdaFaceEncoder
    from adaface.errors import (
        AdaFaceError as AdaFaceError,
        ConfigError as ConfigError,
        DamagedFileError as DamagedFileError,
        DifferentPeopleError as DifferentPeopleError,
        FaceError as FaceError,
        FaceTooSmallError as FaceTooSmallError,
        FormatError as FormatError,
        HubError as HubError,
        ImageError as ImageError,
        LicenceError as LicenceError,
        MissingExtra as MissingExtra,
        MissingFileError as MissingFileError,
        NoFaceError as NoFaceError,
        PromptError as PromptError,
        SeveralFacesError as SeveralFacesError,
        ShapeError as ShapeError,
        StackError as StackError,
        UnsafeFileError as UnsafeFileError,
        WriteError as WriteError,
        WrongModelError as WrongModelError,
        WrongRecognizerError as WrongRecognizerError,
    )
    from adaface.face.analyzer import FaceAnalyzer as FaceAnalyzer
    from adaface.face.images import load_image as load_image
    from adaface.face.preview import number_faces as number_faces
    from adaface.face.recognize import RecognizerSpec as RecognizerSpec, load_recognizer as load_recognizer
    from adaface.face.types import AlignedCrop as AlignedCrop
    from adaface.identity.files import Identity as Identity
    from adaface.pipelines.personalizer import Personalizer as Personalizer
    from adaface.pipelines.stack import Stack as Stack
    from adaface.prompt.embedding import embed_prompt as embed_prompt
    from adaface.text.clip import TextEncoder as TextEncoder

    __version__: str

_ROOMS = {
    "AdaFaceEncoder": "encoder.inverse",
    "AdaFaceError": "errors",
    "AlignedCrop": "face.types",
    "Arc2FacePrompter": "encoder.id_prompter",
    "ConfigError": "errors",
    "DamagedFileError": "errors",
    "DifferentPeopleError": "errors",
    "FaceAnalyzer": "face.analyzer",
    "FaceError": "errors",
    "FaceTooSmallError": "errors",
    "FormatError": "errors",
    "HubError": "errors",
    "Identity": "identity.files",
    "ImageError": "errors",
    "LicenceError": "errors",
    "MissingExtra": "errors",
    "MissingFileError": "errors",
    "NoFaceError": "errors",
    "Personalizer": "pipelines.personalizer",
    "PromptError": "errors",
    "RecognizerSpec": "face.recognize",
    "SeveralFacesError": "errors",
    "ShapeError": "errors",
    "Stack": "pipelines.stack",
    "StackError": "errors",
    "TextEncoder": "text.clip",
    "UnsafeFileError": "errors",
    "WriteError": "errors",
    "WrongModelError": "errors",
    "WrongRecognizerError": "errors",
    "embed_prompt": "prompt.embedding",
    "load_image": "face.images",
    "load_recognizer": "face.recognize",
    "number_faces": "face.preview",
}

__all__ = sorted([*_ROOMS, "__version__"])


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib import metadata

        value: Any = metadata.version("adaface")
    elif name in _ROOMS:
        value = getattr(import_module(f"adaface.{_ROOMS[name]}"), name)
    else:
        raise AttributeError(f"module 'adaface' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
