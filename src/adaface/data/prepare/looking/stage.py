"""Photos -> looks, a chunk at a time: what workers do, and how a chunk lies on the disk.

A chunk is one folder, filled under a random name and renamed: it is there whole, or not at all. A chunk that
two workers make at once is the same twice, and one of the two is dropped.
"""

import errno
import json
import os
import secrets
import shutil
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adaface.data.prepare.judging.duplicates import PORTRAIT
from adaface.data.prepare.looking.look import Crop, Passing, Tools, Unusable, digest_of, look_at, plain, read
from adaface.data.prepare.settings import PrepareSettings
from adaface.data.record import Chunk, FaceLook, Look, Photo, Rejection
from adaface.errors import AdaFaceError, FormatError, ImageError, WriteError
from adaface.face.analyzer import FaceAnalyzer
from adaface.face.recognize import RecognizerSpec, load_recognizer
from adaface.face.traits.age_gender import AgeGenderBackend
from adaface.face.traits.parse import FaceParser
from adaface.face.types import Floats

LOOKS, TABLES, BLOBS = "looks.json", "faces.safetensors", "blobs.bin"
HALF_DONE = ".half-"  # how folders begin that are being filled


@dataclass(frozen=True)
class NamedAnalyzer:
    """Makes the default detector and the recogniser that `load_recognizer` finds by name or path."""

    recognizer: str = "sface"
    spec: RecognizerSpec | None = None

    def __call__(self) -> FaceAnalyzer:
        """Open the networks. Raises what `load_recognizer` raises."""
        return FaceAnalyzer(recognizer=load_recognizer(self.recognizer, self.spec))


@dataclass(frozen=True)
class Stage:
    """What a worker is made of; travels to other processes, where calling it opens the networks once.

    work: the folder of the chunks. analyzer, parser, traits: make the networks; parser, traits may be None.
    """

    work: Path
    settings: PrepareSettings
    analyzer: Callable[[], FaceAnalyzer] = field(default_factory=NamedAnalyzer)
    parser: Callable[[], FaceParser] | None = None
    traits: Callable[[], AgeGenderBackend] | None = None

    def __call__(self) -> Callable[[Chunk], None]:
        """Open the networks and return what does a chunk. Raises what their makers raise."""
        tools = Tools(
            self.analyzer(),
            None if self.parser is None else self.parser(),
            None if self.traits is None else self.traits(),
        )
        return lambda chunk: make_chunk(self.work, chunk, tools, self.settings)


def make_chunk(work: Path, chunk: Chunk, tools: Tools, settings: PrepareSettings) -> None:
    """Look at all photos of a chunk and put what is seen into the folder `work`/<name>, if it is not there.

    Raises WriteError: no room, or no permission; nothing half-made stays. ImageError: a file cannot be read
    just now; a photo is not given up for a trouble that may pass.
    """
    target = work / chunk.name
    if target.is_dir():
        return
    beside = work / f"{HALF_DONE}{chunk.name}-{secrets.token_hex(6)}"
    try:
        beside.mkdir(parents=True)
        _fill(beside, chunk, tools, settings)
        _into_place(beside, target)
    except OSError as error:
        why = error.strerror or str(error)
        raise WriteError(
            f"{target}: not written ({why}). What is done so far is kept: free space, or mend the "
            "permissions, and give the same command again"
        ) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _into_place(beside: Path, target: Path) -> None:
    try:
        beside.rename(target)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY) or not target.is_dir():
            raise  # else another worker was first


def _fill(folder: Path, chunk: Chunk, tools: Tools, settings: PrepareSettings) -> None:
    from safetensors.numpy import save

    rows: list[dict[str, Any]] = []
    faces: list[Crop] = []
    with (folder / BLOBS).open("wb") as blobs:
        for photo in chunk.photos:
            row: dict[str, Any] = {"path": photo.path, "sha256": ""}
            try:
                data = read(photo)
                row["sha256"] = digest_of(data)
                picture, crops = look_at(photo, data, tools, settings)
                row["size"] = list(picture.size)
                row["faces"] = [_stored(crop, picture.scale, blobs) for crop in crops]
                faces += crops
            except Unusable as finding:
                row["rejection"] = [finding.rejection.code, finding.rejection.sentence]
            except Passing as trouble:
                raise ImageError(
                    f"{trouble}. What is done so far is kept: see to the disk or the network, or take the "
                    "file away, and give the same command again"
                ) from trouble
            except foreseen_by_nobody() as error:
                row["rejection"] = ["failed", _surprise(error)]
            rows.append(row)
        _sync(blobs)
    _write(folder / TABLES, save(_tables(faces, tools.analyzer.recognizer.dim)))
    _write(folder / LOOKS, json.dumps(rows).encode())


def foreseen_by_nobody() -> tuple[type[Exception], ...]:
    """What one strange photo may throw, and must not end the work on all others; nothing of the disk."""
    import cv2

    return (AdaFaceError, ArithmeticError, LookupError, MemoryError, TypeError, ValueError, cv2.error)


def _surprise(error: Exception) -> str:
    first = (plain(str(error)).splitlines() or ["no words"])[0][:200]
    return f"An error that nobody foresaw ({type(error).__name__}: {first}). Please report it with this photo"


def _tables(faces: Sequence[Crop], dim: int) -> dict[str, NDArray[Any]]:
    """What is large and the same of every face, a row each."""
    vectors = [face.face.id_embedding for face in faces] or [np.zeros((0, dim), np.float32)]
    portraits = [face.portrait for face in faces] or [np.zeros((0, PORTRAIT**2), np.uint8)]
    return {"id_embeddings": np.vstack(vectors), "portraits": np.vstack(portraits)}


def _stored(crop: Crop, scale: float, blobs: Any) -> dict[str, Any]:
    places = []
    for data in (crop.image, crop.mask):
        places.append(None if data is None else [blobs.tell(), len(data)])
        blobs.write(data or b"")
    return {
        "landmarks": crop.landmarks.tolist(),
        "score": crop.face.score,
        "face_px": crop.face.size_px / scale,
        "quality": crop.face.quality,
        "inside": crop.inside,
        "corners": None if crop.corners is None else crop.corners.tolist(),
        "fingerprint": crop.fingerprint,
        "image": places[0],
        "mask": places[1],
        "traits": None if crop.traits is None else list(crop.traits),
    }


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as stream:
        stream.write(data)
        _sync(stream)


def _sync(stream: Any) -> None:
    """The folder's rename may reach the disk before its files do: a power cut would leave a hollow chunk."""
    stream.flush()
    os.fsync(stream.fileno())


def read_chunk(work: Path, chunk: Chunk) -> Iterator[Look]:
    """What was seen in the photos of a finished chunk, in their order. Raises FormatError: damaged."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    folder = work / chunk.name
    try:
        rows = json.loads((folder / LOOKS).read_bytes())
        tables = load((folder / TABLES).read_bytes())
        faces = list(zip(tables["id_embeddings"], tables["portraits"], strict=True))
        begin = 0
        for photo, row in zip(chunk.photos, rows, strict=True):
            count = len(row.get("faces", ()))
            yield _look(photo, row, faces[begin : begin + count])
            begin += count
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise FormatError(
            f"{folder}: damaged ({error}). Delete this folder and give the same command"
        ) from error


def _look(photo: Photo, row: dict[str, Any], tables: Sequence[tuple[Floats, NDArray[np.uint8]]]) -> Look:
    rejection = Rejection(*row["rejection"]) if "rejection" in row else None
    faces = tuple(_face(face, *table) for face, table in zip(row.get("faces", ()), tables, strict=True))
    return Look(photo, row["sha256"], tuple(row.get("size", (0, 0))), rejection, faces)


def _face(row: dict[str, Any], vector: Floats, portrait: NDArray[np.uint8]) -> FaceLook:
    traits = row["traits"] or (None, None)
    return FaceLook(
        id_embedding=vector,
        landmarks=np.array(row["landmarks"], np.float32),
        score=row["score"],
        face_px=row["face_px"],
        quality=row["quality"],
        inside=row["inside"],
        corners=None if row["corners"] is None else np.array(row["corners"], np.float32),
        fingerprint=row["fingerprint"],
        portrait=portrait,
        image=tuple(row["image"]),
        mask=None if row["mask"] is None else tuple(row["mask"]),
        age=traits[0],
        gender=traits[1],
    )


class Blobs:
    """Reads encoded crops out of a finished chunk; to be used with `with`."""

    def __init__(self, work: Path, chunk: Chunk) -> None:
        self._stream = (work / chunk.name / BLOBS).open("rb")

    def __enter__(self) -> "Blobs":
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def read(self, place: tuple[int, int]) -> bytes:
        """The bytes at (offset, length). Raises FormatError: the file is cut off."""
        self._stream.seek(place[0])
        data = self._stream.read(place[1])
        if len(data) != place[1]:
            path = Path(self._stream.name)
            raise FormatError(f"{path}: cut off. Delete {path.parent} and give the same command again")
        return data


def clear(work: Path, keep: Collection[str] = ()) -> None:
    """Remove finished chunks but those of these names; without any, `work` itself."""
    if not keep:
        shutil.rmtree(work, ignore_errors=True)
        return
    for folder in work.iterdir():
        if folder.name not in keep:
            shutil.rmtree(folder, ignore_errors=True)


def clear_half_done(work: Path) -> None:
    """Remove what workers that were killed have left in `work`."""
    for folder in work.glob(f"{HALF_DONE}*"):
        with suppress(OSError):
            shutil.rmtree(folder)
