"""How a data set lies on the disk, for those that write it and those that read it. Letters: N rows."""

import hashlib
import json
import os
import re
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adaface.data.index import REPAIR
from adaface.errors import DatasetError, MissingFileError

CARD, INDEX = "dataset.json", "index.safetensors"
KIND, VERSION = "adaface-dataset", 1
PARTS = ("image", "mask", "facts")  # order of the columns `begin` and `length` (N, 3)
LANDMARKS, CORNERS = (5, 2), (4, 2)
IMAGE_TYPES = ("jpg", "webp", "png")
_CARD_FIELDS = {"image_size": int, "recognizer": str, "id_width": int, "rows": int, "people": int}
_CARD_FIELDS |= {"settings": dict, "index": dict, "shards": list}

Floats = NDArray[np.float32]


class _File:
    """An open file, closed when nobody uses it any more."""

    def __init__(self, path: Path) -> None:
        self.handle = -1
        self.handle = os.open(path, os.O_RDONLY)

    def __del__(self) -> None:
        if self.handle >= 0:
            os.close(self.handle)


class ShardReader:
    """Reads single files out of shards by their place, from any thread; keeps few shards open."""

    def __init__(self, folder: Path, names: Sequence[str], *, open_files: int = 64) -> None:
        self._folder, self._names, self._most = folder, tuple(names), open_files
        self._open: OrderedDict[int, _File] = OrderedDict()  # the one that was used last at the end
        self._lock = Lock()

    def read(self, shard: int, begin: int, length: int) -> bytes:
        """`length` bytes from `begin` on.

        Raises MissingFileError: the shard is not there. DatasetError: it ends before, or was never named.
        """
        if not 0 <= shard < len(self._names) or begin < 0 or length < 0:
            place = f"shard {shard} of {len(self._names)}, byte {begin} + {length}"
            raise DatasetError(f"{self._folder}: the index is damaged: it names {place}. {REPAIR}")
        file = self._file(shard)
        path = self._folder / self._names[shard]
        try:
            data = os.pread(file.handle, length, begin)
        except OSError as error:
            raise DatasetError(f"{path}: cannot be read ({error.strerror}). {REPAIR}") from error
        if len(data) != length:
            raise DatasetError(f"{path}: cut off: nothing at byte {begin + len(data)}. {REPAIR}")
        return data

    def __reduce__(self) -> tuple[Any, ...]:  # another process opens its own files
        return type(self), (self._folder, self._names)

    def _file(self, shard: int) -> _File:
        with self._lock:
            if shard not in self._open:
                path = self._folder / self._names[shard]
                try:
                    self._open[shard] = _File(path)
                except FileNotFoundError as error:
                    raise MissingFileError(f"{path}: no such file. {REPAIR}") from error
                except OSError as error:
                    raise DatasetError(f"{path}: cannot be read ({error.strerror}). {REPAIR}") from error
            self._open.move_to_end(shard)
            while len(self._open) > self._most:
                self._open.popitem(last=False)
            return self._open[shard]


def read_card(folder: Path) -> dict[str, Any]:
    """What dataset.json says.

    Raises MissingFileError: there is none. DatasetError: not JSON, of another kind or version, or fields
    lack.
    """
    path = folder / CARD
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        filled = folder.is_dir() and any(folder.iterdir())  # prepare would not write there
        made = f"{folder} FACES" if filled else f"PHOTOS {folder}"
        raise MissingFileError(
            f"{folder}: no prepared data set ({CARD} is not there). Make one: adaface prepare {made}"
        ) from error
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror}). {REPAIR}") from error
    except ValueError as error:
        raise DatasetError(f"{path}: not JSON ({error}). {REPAIR}") from error
    if not isinstance(card, dict) or card.get("kind") != KIND:
        raise DatasetError(f"{path}: not a data set's card. Give the folder that adaface prepare wrote")
    if card.get("version") != VERSION:
        raise DatasetError(
            f"{path}: version {card.get('version')}, and this adaface reads {VERSION}. Update it"
        )
    odd = [name for name, kind in _CARD_FIELDS.items() if type(card.get(name)) is not kind]
    if odd or not all(_is_file(file) for file in (card["index"], *card["shards"])):
        raise DatasetError(f"{path}: {', '.join(odd) or 'a file of it'} lacks, or is no such thing. {REPAIR}")
    return card


def _is_file(file: object) -> bool:
    """Whether an entry names a file beside the card, and its hash."""
    if not isinstance(file, dict):
        return False
    name, found = file.get("file"), file.get("sha256")
    return isinstance(name, str) and isinstance(found, str) and re.fullmatch(r"[\w-]+\.\w+", name) is not None


def row_digest(names: Sequence[str], files: Sequence[bytes], arrays: Sequence[Floats]) -> bytes:
    """sha256 of all that a row says, wherever it lies: key, person and class word, files, numbers."""
    total = hashlib.sha256(json.dumps([*names, *(len(data) for data in files)]).encode())
    for data in files:
        total.update(data)
    for array in arrays:
        total.update(np.ascontiguousarray(array, "<f4").data)
    return total.digest()


def shard_name(number: int) -> str:
    """The file name of a shard."""
    return f"shard-{number:06d}.tar"
