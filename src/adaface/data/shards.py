"""Kept pictures -> shards: WebDataset tars of fixed bytes, one index, and dataset.json, which comes last.

Training reads single pictures by their place in the index; tools that stream read the tars. A tar keeps
order and names apart from any library, and unlike Parquet it lets one picture be read without its row group:
sampling that balances people needs that. Letters: N rows, P people, S side of a picture.
"""

import io
import json
import os
import re
import shutil
import tarfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from adaface.data.index import ColumnSpool
from adaface.data.layout import (
    CARD,
    CORNERS,
    IMAGE_TYPES,
    INDEX,
    KIND,
    LANDMARKS,
    PARTS,
    VERSION,
    Floats,
    row_digest,
    shard_name,
)
from adaface.errors import AdaFaceError, ConfigError, WriteError
from adaface.files import sha256, write_atomic

MOST_WORDS = 256  # different class words; the original has six
_KEY = re.compile(r"[A-Za-z0-9_-]{1,80}")
_WRITING = ".writing"
_BLOCK = tarfile.BLOCKSIZE


@dataclass(frozen=True, kw_only=True, eq=False)
class Entry:
    """One kept picture as it goes into a shard.

    key: its name in the tar; without a dot, at which WebDataset would split it. image: an encoded file,
    (S, S) RGB. mask: a PNG, (S, S) grey, 255 on the person and 0 elsewhere; None: not known. person: any
    text. mixed: the photos of this "person" show different people. landmarks: (5, 2) in pixels of `image`,
    order of YuNet. id_embedding: (D_id,), unit. quality: in (0, 1]. photo_corners: (4, 2), going around the
    photo in pixels of `image`; what lies outside is no picture; None: the photo fills it. facts: what else is
    known, as JSON; row, person, class_word, landmarks and quality are put beside them, for tools that read
    the tar alone.
    Raises ConfigError: a value that cannot be written.
    """

    key: str
    image: bytes
    person: str
    landmarks: Floats
    id_embedding: Floats
    image_type: str = "jpg"
    mask: bytes | None = None
    mixed: bool = False
    class_word: str = "person"
    quality: float = 1.0
    photo_corners: Floats | None = None
    facts: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not _KEY.fullmatch(self.key):
            raise ConfigError(f"key {self.key!r}: give 1 to 80 letters of A-Z, a-z, 0-9, - and _")
        if self.image_type not in IMAGE_TYPES or not self.image:
            raise ConfigError(f"{self.key}: image_type={self.image_type!r}. Give {', '.join(IMAGE_TYPES)}")
        shapes = {"landmarks": LANDMARKS, "id_embedding": (-1,), "photo_corners": CORNERS}
        for name, shape in shapes.items():
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, _checked(self.key, name, value, shape))


@dataclass(frozen=True)
class Summary:
    """What was written; `hash` is the index's sha256, by which a run names its data."""

    rows: int
    people: int
    shards: int
    bytes: int
    hash: str


class ShardWriter:
    """Writes a data set to `folder`; to be used with `with`, entries in the order in which they shall stand.

    Equal entries in equal order give equal bytes of every file. All is written below `folder`/.writing and
    renamed at the end, dataset.json last; after an exception nothing of it is there. A data set that is in
    `folder` already is replaced at that moment. settings: JSON, kept in dataset.json.
    Raises ConfigError: a size below 1. WriteError: no room, or no permission.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        image_size: int,
        recognizer: str,
        settings: Mapping[str, object] | None = None,
        rows_per_shard: int = 1000,
    ) -> None:
        if image_size < 1 or rows_per_shard < 1:
            raise ConfigError(f"image_size={image_size}, rows_per_shard={rows_per_shard}: give 1 or more")
        self.folder, self._beside = Path(folder), Path(folder) / _WRITING
        self._card: dict[str, Any] = {"kind": KIND, "version": VERSION, "image_size": image_size}
        self._card |= {"recognizer": recognizer, "settings": dict(settings or {})}
        self._rows_per_shard = rows_per_shard
        self._people: dict[str, tuple[int, bool]] = {}  # number, mixed
        self._words: dict[str, int] = {}
        self._keys: set[str] = set()
        self._shards: list[dict[str, object]] = []
        self._tar: tarfile.TarFile | None = None
        self._summary: Summary | None = None

    @property
    def summary(self) -> Summary:
        """What was written; only after the end of `with`."""
        if self._summary is None:
            raise ConfigError("ShardWriter.summary: nothing is written yet. Read it after the `with` block")
        return self._summary

    def __enter__(self) -> Self:
        try:
            shutil.rmtree(self._beside, ignore_errors=True)
            (self._beside / "columns").mkdir(parents=True)
        except OSError as error:
            raise _not_written(self.folder, error) from error
        self._spool = ColumnSpool(self._beside / "columns")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._finish()
        except OSError as trouble:
            raise _not_written(self.folder, trouble) from trouble
        finally:
            with suppress(OSError):  # what was left to be written has no room: it goes anyway
                if self._tar is not None and self._tar.fileobj is not None:
                    self._tar.fileobj.close()
            self._spool.close()
            shutil.rmtree(self._beside, ignore_errors=True)

    def add(self, entry: Entry) -> None:
        """Write one picture.

        Raises ConfigError: its key was there before, its embedding is of another width, or its person is
        mixed here and not there. WriteError: no room.
        """
        try:
            self._add(entry, self._number_of(entry), self._word_of(entry))
        except OSError as error:
            raise _not_written(self.folder, error) from error

    def _add(self, entry: Entry, person: int, word: int) -> None:
        facts = {
            **entry.facts,
            "row": len(self._keys),
            "person": entry.person,
            "class_word": entry.class_word,
        }
        facts |= {"landmarks": entry.landmarks.tolist(), "quality": float(np.float32(entry.quality))}
        files = (entry.image, entry.mask or b"", _json(facts).encode())
        tar = self._open_shard()
        begins = [_put(tar, entry, part, data) for part, data in zip(PARTS, files, strict=True)]
        corners = np.full(CORNERS, np.nan, np.float32) if entry.photo_corners is None else entry.photo_corners
        numbers = np.array([entry.quality, entry.mixed], np.float32)
        arrays = (entry.landmarks, entry.id_embedding, corners, numbers)
        digest = row_digest((entry.key, entry.person, entry.class_word), files, arrays)
        row = {
            "shard": np.int32(len(self._shards)),
            "begin": np.array(begins, np.int64),
            "length": np.array([len(data) for data in files], np.int32),
            "person": np.int32(person),
            "class_word": np.uint8(word),
            "landmarks": entry.landmarks,
            "id_embedding": entry.id_embedding,
            "photo_corners": corners,
            "quality": np.float32(entry.quality),
            "sha256": np.frombuffer(digest, np.uint8),
        }
        for name, value in row.items():
            self._spool.append(name, np.asarray(value)[None])
        self._spool.append_text("keys", [entry.key])
        self._keys.add(entry.key)
        if len(self._keys) % self._rows_per_shard == 0:
            self._close_shard()

    def _number_of(self, entry: Entry) -> int:
        if entry.key in self._keys:
            raise ConfigError(f"key {entry.key!r} is there twice. Give every picture its own")
        width = self._card.setdefault("id_width", len(entry.id_embedding))
        if width != len(entry.id_embedding):
            found = len(entry.id_embedding)
            raise ConfigError(f"{entry.key}: an ID embedding of {found} numbers after ones of {width}")
        number, mixed = self._people.setdefault(entry.person, (len(self._people), entry.mixed))
        if mixed != entry.mixed:
            raise ConfigError(f"{entry.key}: {entry.person!r} is one person here and many there")
        return number

    def _word_of(self, entry: Entry) -> int:
        number = self._words.setdefault(entry.class_word, len(self._words))
        if number >= MOST_WORDS:
            raise ConfigError(
                f"{entry.key}: more than {MOST_WORDS} class words. Give kinds of people, not names"
            )
        return number

    def _open_shard(self) -> tarfile.TarFile:
        if self._tar is None:
            path = self._beside / shard_name(len(self._shards))
            self._tar = tarfile.TarFile(path, "w", format=tarfile.USTAR_FORMAT)
        return self._tar

    def _close_shard(self) -> None:
        if self._tar is None:
            return
        path = Path(str(self._tar.name))
        self._tar.close()
        self._tar = None
        written = sum(int(str(shard["rows"])) for shard in self._shards)
        self._shards.append({**_file(path), "rows": len(self._keys) - written})

    def _finish(self) -> None:
        if not self._keys:
            raise ConfigError(f"{self.folder}: no picture was kept, so there is no data set to write")
        self._close_shard()
        person = self._spool.read("person")
        self._spool.append("person_rows", np.argsort(person, kind="stable").astype(np.int64))
        counts = np.bincount(person, minlength=len(self._people))
        self._spool.append("person_begin", np.concatenate([[0], np.cumsum(counts)]).astype(np.int64))
        self._spool.append("person_mixed", np.array([m for _, m in self._people.values()], np.uint8))
        self._spool.append_text("people", self._people)
        self._spool.append_text("class_words", self._words)
        self._spool.write(self._beside / INDEX, {"kind": KIND, "version": str(VERSION)})
        index = _file(self._beside / INDEX)
        card = self._card | {"rows": len(self._keys), "people": len(self._people), "index": index}
        card["shards"] = self._shards
        self._move(card)
        size = sum(int(str(file["bytes"])) for file in [index, *self._shards])
        self._summary = Summary(
            len(self._keys), len(self._people), len(self._shards), size, str(index["sha256"])
        )

    def _move(self, card: dict[str, Any]) -> None:
        """Rename all into place; without a card a folder is no data set, so it goes first and comes last."""
        (self.folder / CARD).unlink(missing_ok=True)
        names = [INDEX, *(str(shard["file"]) for shard in card["shards"])]
        for old in self.folder.glob("shard-*.tar"):
            if old.name not in names and re.fullmatch(r"shard-\d{6}\.tar", old.name):
                old.unlink()
        for name in names:
            (self._beside / name).replace(self.folder / name)
        text = json.dumps(card, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
        write_atomic(self.folder / CARD, lambda beside: beside.write_text(text, encoding="utf-8"))


def _checked(key: str, name: str, value: Floats, shape: tuple[int, ...]) -> Floats:
    found = np.asarray(value, np.float32)
    if found.ndim != len(shape) or (min(shape) > 0 and found.shape != shape):
        raise ConfigError(f"{key}: {name} {found.shape}: give {shape if min(shape) > 0 else '(D_id,)'}")
    if not np.isfinite(found).all():
        raise ConfigError(f"{key}: {name} are not numbers. Leave the picture out")
    return found


def _put(tar: tarfile.TarFile, entry: Entry, part: str, data: bytes) -> int:
    """Add one file to the tar; where its bytes begin. A mask that is not known is no file."""
    if not data:
        return 0
    ending = {"image": entry.image_type, "mask": "mask.png", "facts": "json"}[part]
    info = tarfile.TarInfo(f"{entry.key}.{ending}")
    info.size, info.mode = len(data), 0o644  # time, owner and group stay 0: equal entries, equal bytes
    begin = int(tar.offset) + _BLOCK
    tar.addfile(info, io.BytesIO(data))
    return begin


def _json(value: Mapping[str, object]) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def _file(path: Path) -> dict[str, object]:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())  # a rename may reach the disk before the bytes do
    return {"file": path.name, "bytes": path.stat().st_size, "sha256": sha256(path)}


def _not_written(folder: Path, error: OSError) -> AdaFaceError:
    reason = error.strerror or str(error)
    return WriteError(f"{folder}: not written ({reason}). Free space, or choose another place")
