"""Columns of a data set in one safetensors file, memory-mapped: opening reads the header, whatever N is.

Letters: N rows. Text is a table of its own: all letters after each other, and where each text begins.
"""

import json
import math
import mmap
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adaface.errors import DatasetError, MissingFileError

Column = NDArray[Any]
DTYPES = {"I64": "<i8", "I32": "<i4", "F32": "<f4", "F16": "<f2", "U8": "|u1"}  # safetensors name -> numpy
_NAMES = {np.dtype(code): name for name, code in DTYPES.items()}
_MAX_HEADER = 1 << 20  # a header of columns is some kB; what claims more is no index
REPAIR = "Copy the data set again, or prepare it anew"


class Strings(Sequence[str]):
    """Texts in a memory-mapped table, decoded when they are read.

    letters: all texts in UTF-8 after each other, (L,) uint8. offsets: (N + 1,) int64, where each begins.
    """

    def __init__(self, letters: Column, offsets: Column) -> None:
        self._letters, self._offsets = letters, offsets

    def __len__(self) -> int:
        return len(self._offsets) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[k] for k in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"{index} of {len(self)} texts")
        index %= len(self)
        begin, end = self._offsets[index : index + 2]
        return self._letters[begin:end].tobytes().decode("utf-8", errors="replace")


class ColumnSpool:
    """Columns that grow row by row, on disk: what 400,000 rows take in memory is a buffer for each column.

    folder: where the growing files are kept; it exists, is empty, and belongs to the caller.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, BinaryIO] = {}
        self._kinds: dict[str, tuple[np.dtype[Any], tuple[int, ...]]] = {}
        self._rows: dict[str, int] = {}

    def append(self, name: str, values: ArrayLike) -> None:
        """Add rows (n, ...) to a column; all rows of a column have one type and shape."""
        block = np.ascontiguousarray(values)
        kind = block.dtype.newbyteorder("<"), block.shape[1:]
        if self._kinds.setdefault(name, kind) != kind:
            raise AssertionError(f"column {name}: {kind} after {self._kinds[name]}")
        if name not in self._files:
            self._files[name] = (self._folder / name).open("w+b")
            self._rows[name] = 0
        self._files[name].write(block.astype(kind[0], copy=False).data)
        self._rows[name] += len(block)

    def append_text(self, name: str, texts: Iterable[str]) -> None:
        """Add texts to a table that `read_strings` reads."""
        self._rows.setdefault(f"{name}.letters", 0)
        if not self._rows[f"{name}.letters"]:
            self.append(f"{name}.offsets", np.zeros(1, np.int64))
        for text in texts:
            self.append(f"{name}.letters", np.frombuffer(text.encode(), np.uint8))
            self.append(f"{name}.offsets", np.array([self._rows[f"{name}.letters"]], np.int64))

    def read(self, name: str) -> Column:
        """A column as it stands, in memory."""
        dtype, rest = self._kinds[name]
        self._files[name].flush()
        return np.fromfile(self._folder / name, dtype).reshape(-1, *rest)

    def write(self, path: Path, metadata: Mapping[str, str]) -> None:
        """All columns as one safetensors file."""
        shapes = {name: (dtype, (self._rows[name], *rest)) for name, (dtype, rest) in self._kinds.items()}
        with path.open("wb") as target:
            target.write(header(shapes, metadata))
            for name in _order(shapes):
                source = self._files[name]
                source.seek(0)  # and writes what is left in its buffer
                shutil.copyfileobj(source, target, 1 << 20)

    def close(self) -> None:
        """Let go of the files; the folder is the caller's to remove."""
        for file in self._files.values():
            with suppress(OSError):  # a full disk has no room for what is left in a buffer
                file.close()


def header(shapes: Mapping[str, tuple[np.dtype[Any], tuple[int, ...]]], metadata: Mapping[str, str]) -> bytes:
    """The first bytes of a safetensors file with these columns, up to where their numbers begin."""
    entries: dict[str, object] = {"__metadata__": dict(sorted(metadata.items()))}
    for name, offsets in places(shapes, 0).items():
        dtype, shape = shapes[name]
        entries[name] = {"dtype": _NAMES[dtype], "shape": list(shape), "data_offsets": list(offsets)}
    text = json.dumps(entries, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def places(
    shapes: Mapping[str, tuple[np.dtype[Any], tuple[int, ...]]], begin: int
) -> dict[str, tuple[int, int]]:
    """Where each column's bytes lie in the file, from and to; begin: the length of the header."""
    found = {}
    for name in _order(shapes):
        dtype, shape = shapes[name]
        found[name] = begin, begin + math.prod(shape) * dtype.itemsize
        begin = found[name][1]
    return found


def open_columns(path: Path) -> tuple[dict[str, Column], dict[str, str]]:
    """Columns of a safetensors file as arrays over the mapped file, and its metadata.

    Raises MissingFileError: no such file. DatasetError: it cannot be read, is cut off, or no such
    file as `header` begins.
    """
    try:
        with path.open("rb") as stream:
            size = path.stat().st_size
            entries, begin = _read_header(stream, size, path)
            mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    except FileNotFoundError as error:
        raise MissingFileError(f"{path}: no such file. {REPAIR}") from error
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror or error}). {REPAIR}") from error
    metadata = entries.pop("__metadata__", {})
    columns = dict(_views(mapped, begin, entries, path))
    return columns, metadata


def read_strings(columns: Mapping[str, Column], name: str) -> Strings:
    """The table of texts that `ColumnSpool.append_text` wrote."""
    return Strings(columns[f"{name}.letters"], columns[f"{name}.offsets"])


def _order(shapes: Mapping[str, tuple[np.dtype[Any], tuple[int, ...]]]) -> list[str]:
    """Wide numbers first, so that each column begins where its numbers may."""
    return sorted(shapes, key=lambda name: (-shapes[name][0].itemsize, name))


def _read_header(stream: BinaryIO, size: int, path: Path) -> tuple[dict[str, Any], int]:
    length = int.from_bytes(stream.read(8), "little")
    if not 2 <= length <= min(_MAX_HEADER, max(0, size - 8)):
        raise DatasetError(f"{path}: not a file of columns (its first bytes say {length}). {REPAIR}")
    try:
        entries = json.loads(stream.read(length))
    except ValueError as error:
        raise DatasetError(f"{path}: its header is damaged ({error}). {REPAIR}") from error
    if not isinstance(entries, dict):
        raise DatasetError(f"{path}: its header is damaged (no object). {REPAIR}")
    return entries, 8 + length


def _views(
    mapped: mmap.mmap, begin: int, entries: Mapping[str, Any], path: Path
) -> Iterator[tuple[str, Column]]:
    for name, entry in entries.items():
        try:
            dtype, shape = np.dtype(DTYPES[entry["dtype"]]), tuple(int(n) for n in entry["shape"])
            first, last = (begin + int(n) for n in entry["data_offsets"])
        except (KeyError, TypeError, ValueError) as error:
            raise DatasetError(f"{path}: its header is damaged (column {name}: {error}). {REPAIR}") from error
        count = math.prod(shape)
        if min(shape, default=0) < 0 or first < begin or last - first != count * dtype.itemsize:
            raise DatasetError(f"{path}: its header is damaged (column {name}). {REPAIR}")
        if last > len(mapped):
            raise DatasetError(
                f"{path}: cut off: {len(mapped)} bytes where column {name} ends at {last}. {REPAIR}"
            )
        # numpy reads no array of nothing from the very end of a buffer
        values = np.frombuffer(mapped, dtype, count, first) if count else np.zeros(0, dtype)
        yield name, values.reshape(shape)
