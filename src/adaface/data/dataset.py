"""A prepared folder as samples in any order, each checked when it is read. Letters: N, P, S.

N rows, P people, pictures of S x S.
"""

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from adaface.data.corners import pixels_inside
from adaface.data.index import REPAIR, Column, Strings, open_columns, read_strings
from adaface.data.layout import CORNERS, LANDMARKS, PARTS, ShardReader, read_card, row_digest
from adaface.errors import DatasetError
from adaface.files import sha256

_TABLES = ("people", "keys", "class_words")  # of texts


@dataclass(frozen=True, eq=False)
class Sample:
    """One picture of a data set.

    image: (3, S, S) uint8 RGB. mask: (1, S, S) uint8, 1 on the person; all ones if not `has_mask`. valid:
    (1, S, S) uint8, 1 where there is photo; an augmentation moves it. id_embedding: (D_id,) float32,
    unit. landmarks: (5, 2) float32 in pixels of `image`. person: its number in the data set. key: its name.
    """

    image: Tensor
    mask: Tensor
    valid: Tensor
    has_mask: bool
    id_embedding: Tensor
    landmarks: Tensor
    person: int
    class_word: str
    key: str


class FaceDataset(Sequence[Sample]):
    """The folder that `adaface prepare` wrote, open for reading.

    The index is mapped, not read: opening takes milliseconds and memory does not grow with rows. Goes to
    another process as its path. Samples are read in any order, from any thread; each read is checked by the
    row's sha256.
    Raises MissingFileError: no data set, or a file of it is gone. DatasetError: an index that is cut off or
    does not fit its card.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        card = read_card(self.folder)
        self._card = card
        self.image_size = int(card["image_size"])  # S
        self.recognizer = str(card["recognizer"])  # whose the ID embeddings are
        self.id_width = int(card["id_width"])  # D_id
        self.settings: dict[str, Any] = card["settings"]  # with which it was prepared
        self.hash = str(card["index"]["sha256"])  # names the data set: an index says all about its rows
        self._columns = self._open_index()
        self.people = read_strings(self._columns, "people")  # (P,)
        self._keys = read_strings(self._columns, "keys")
        self.class_words = tuple(read_strings(self._columns, "class_words"))  # the different ones
        self._files = ShardReader(self.folder, [shard["file"] for shard in card["shards"]])

    def __len__(self) -> int:
        return int(self._card["rows"])

    def __getitem__(self, row: int) -> Sample:  # type: ignore[override]
        """One sample.

        Raises IndexError: no such row. DatasetError: the shard is cut off, or the row is not what was
        written. MissingFileError: its shard is gone.
        """
        row, columns = self._row(row), self._columns
        image, mask, _ = self._checked(row)
        key, ones = self._keys[row], torch.ones(1, self.image_size, self.image_size, dtype=torch.uint8)
        corners = columns["photo_corners"][row]
        return Sample(
            image=torch.from_numpy(self._decoded(image, key, "RGB")).permute(2, 0, 1).contiguous(),
            mask=torch.from_numpy(self._decoded(mask, key, "L") // 255)[None] if mask else ones,
            valid=_valid(corners, self.image_size) if np.isfinite(corners).all() else ones,
            has_mask=bool(mask),
            id_embedding=torch.from_numpy(columns["id_embedding"][row].copy()),
            landmarks=torch.from_numpy(columns["landmarks"][row].copy()),
            person=int(columns["person"][row]),
            class_word=self.class_word(row),
            key=key,
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.folder,)

    @property
    def person_of(self) -> NDArray[np.int32]:
        """(N,): each row's person; mapped from the file, not to be changed."""
        return self._columns["person"]

    @property
    def id_embeddings(self) -> NDArray[np.float32]:
        """(N, D_id): mapped from the file, not to be changed."""
        return self._columns["id_embedding"]

    @property
    def qualities(self) -> NDArray[np.float32]:
        """(N,), in (0, 1]: mapped from the file, not to be changed."""
        return self._columns["quality"]

    @property
    def keys(self) -> Strings:
        """(N,): each row's name in its shard."""
        return self._keys

    def key(self, row: int) -> str:
        """The row's name in its shard."""
        return self._keys[self._row(row)]

    def class_word(self, row: int) -> str:
        """What the row's person is called in a prompt: "person", "woman", ...

        Raises DatasetError: the index is damaged.
        """
        number = int(self._columns["class_word"][self._row(row)])
        if number >= len(self.class_words):
            raise DatasetError(f"{self.folder}: row {row} has class word {number}, which lacks. {REPAIR}")
        return self.class_words[number]

    def rows_of(self, person: int) -> NDArray[np.int64]:
        """Rows of a person, in order; mapped from the file.

        Raises IndexError: no such person. DatasetError: the index is damaged.
        """
        if not 0 <= person < len(self.people):
            raise IndexError(f"person {person} of {len(self.people)}")
        begin, end = self._columns["person_begin"][person : person + 2]
        rows = self._columns["person_rows"][begin:end]
        if (
            len(rows) == 0
            or rows.min() < 0
            or rows.max() >= len(self)
            or (self.person_of[rows] != person).any()
        ):
            raise DatasetError(f"{self.folder}: the index is damaged at person {person}. {REPAIR}")
        return rows

    def is_mixed(self, person: int) -> bool:
        """Whether the photos of this "person" show different people."""
        return bool(self._columns["person_mixed"][person])

    def facts(self, row: int) -> dict[str, Any]:
        """What else is known of a picture: where it came from, what a caption may say.

        Raises as `[row]` does.
        """
        facts: dict[str, Any] = json.loads(self._checked(self._row(row))[2])
        return facts

    def verify(self) -> None:
        """Compare all files with the hashes in dataset.json; reads everything.

        Raises MissingFileError: a file is gone. DatasetError: one has changed.
        """
        for file in (self._card["index"], *self._card["shards"]):
            path = self.folder / file["file"]
            if sha256(path) != file["sha256"]:
                raise DatasetError(f"{path}: changed since it was written (its sha256 is another). {REPAIR}")

    def _open_index(self) -> dict[str, Column]:
        path = self.folder / self._card["index"]["file"]
        columns, _ = open_columns(path)
        rows, people = int(self._card["rows"]), int(self._card["people"])
        shapes = {
            "shard": (rows,),
            "begin": (rows, len(PARTS)),
            "length": (rows, len(PARTS)),
            "person": (rows,),
        }
        shapes |= {"class_word": (rows,), "landmarks": (rows, *LANDMARKS), "sha256": (rows, 32)}
        shapes |= {"id_embedding": (rows, self.id_width), "quality": (rows,), "keys.offsets": (rows + 1,)}
        shapes |= {"person_rows": (rows,), "person_begin": (people + 1,), "person_mixed": (people,)}
        shapes |= {"people.offsets": (people + 1,)}
        shapes["photo_corners"] = (rows, *CORNERS)
        for name, shape in shapes.items():
            found = columns[name].shape if name in columns else None
            if found != shape:
                raise DatasetError(
                    f"{path}: column {name} is {found}, and dataset.json says {shape}. {REPAIR}"
                )
        for name in (f"{table}.{part}" for table in _TABLES for part in ("letters", "offsets")):
            if name not in columns or columns[name].ndim != 1:
                raise DatasetError(f"{path}: column {name} lacks, or is no table of texts. {REPAIR}")
        return columns

    def _row(self, row: int) -> int:
        if not -len(self) <= row < len(self):
            raise IndexError(f"row {row} of {len(self)}")
        return int(row) % len(self)

    def _checked(self, row: int) -> tuple[bytes, bytes, bytes]:
        """The row's image, mask (empty: none) and facts, as they were written."""
        columns = self._columns
        shard, key = int(columns["shard"][row]), self._keys[row]
        places = zip(columns["begin"][row].tolist(), columns["length"][row].tolist(), strict=True)
        image, mask, facts = (self._files.read(shard, begin, length) for begin, length in places)
        arrays = [columns[name][row] for name in ("landmarks", "id_embedding", "photo_corners")]
        person = int(columns["person"][row])
        known = 0 <= person < len(self.people)
        arrays.append(np.array([columns["quality"][row], known and self.is_mixed(person)], np.float32))
        names = (key, self.people[person] if known else "", self.class_word(row))
        found = row_digest(names, (image, mask, facts), arrays)
        if found != columns["sha256"][row].tobytes():
            path = self.folder / self._card["shards"][shard]["file"]
            raise DatasetError(
                f"{path}: picture {key} (row {row}) is not what was written: damaged there or in the index. "
                f"{REPAIR}"
            )
        return image, mask, facts

    def _decoded(self, data: bytes, key: str, mode: str) -> NDArray[np.uint8]:
        """An encoded picture as (S, S, 3) or (S, S)."""
        try:
            with Image.open(io.BytesIO(data)) as picture:
                if picture.size != (self.image_size, self.image_size):
                    size = f"{picture.width} x {picture.height}"
                    raise DatasetError(
                        f"{self.folder}: picture {key} is {size}, not {self.image_size} each way"
                    )
                return np.array(picture.convert(mode))  # a copy: Pillow's own memory cannot be written
        except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
            raise DatasetError(
                f"{self.folder}: picture {key} cannot be decoded ({error}). {REPAIR}"
            ) from error


def _valid(corners: NDArray[np.float32], size: int) -> Tensor:
    return torch.from_numpy(pixels_inside(corners, size).astype(np.uint8))[None]  # (1, S, S)
