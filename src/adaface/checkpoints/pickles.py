"""Reads the pickled files of torch.save without running anything of them.

Three fences, each of which would do: the opcodes are looked through before any is obeyed (`scan`), only names
of a closed list are known, and a known name is a class of ours that does nothing (`records`).
"""

import io
import math
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor

from adaface.checkpoints import names as known
from adaface.checkpoints.archive import EXPECTED, MAX_PICKLE, PICKLE, Archive
from adaface.checkpoints.names import TENSORS_ONLY, Names
from adaface.checkpoints.records import Call, Frozen, OrderedDict, record_class, settle
from adaface.checkpoints.scan import DISTRUST, check_name, scan, shown
from adaface.errors import FormatError, UnsafeFileError
from adaface.sources.heads import Head, head_of, wrong_kind

MAX_DIMENSIONS = 64  # as torch has it
_SLACK = 4  # times the file's size: the most that all its tensors together may hold; parts may be shared


def read_pickle(path: str | Path, names: Names = TENSORS_ONLY) -> Any:
    """What torch.save wrote, as dicts, lists, tensors, plain values and inert records; nothing is run.

    Tensors are views on a private memory map of the file: they cost no memory until they are read, and what
    is written to them stays in memory. Checksums are tried once, which reads the file through. names: pairs
    (module, name) that the file may use. Raises MissingFileError: no such file. UnsafeFileError: it names,
    claims or does what no checkpoint needs. FormatError: another kind of file, cut off or damaged.
    """
    path = Path(path)
    if (head := head_of(path)) in (Head.PICKLE, Head.LEGACY):
        _refuse_bare(path, head, names)
    with Archive(path) as archive:
        where = f"{path}: record {PICKLE}"
        _check_byte_order(archive)
        data = archive.read(PICKLE, MAX_PICKLE)
        scan(data, where, names)
        reader = _Reader(data, archive, where, names)
        return settle(reader.read(), reader.finish, where)


class _Storage(Frozen):
    """A record of numbers in the archive."""

    __slots__ = ("count", "dtype", "key")

    def __init__(self, key: str, dtype: torch.dtype, count: int) -> None:
        self.key, self.dtype, self.count = key, dtype, count


class _View(Frozen):
    """A tensor to be made, checked to lie within its storage."""

    __slots__ = ("offset", "size", "storage", "stride")

    def __init__(
        self, storage: _Storage, offset: int, size: tuple[int, ...], stride: tuple[int, ...]
    ) -> None:
        self.storage, self.offset, self.size, self.stride = storage, offset, size, stride


class _Reader(pickle.Unpickler):
    """CPython's unpickler without a way to anything: two hooks, and what they give out is ours."""

    def __init__(self, data: bytes, archive: Archive, where: str, names: Names) -> None:
        super().__init__(io.BytesIO(data))
        self._archive, self._where, self._names = archive, where, names
        self._storages: dict[str, tuple[_Storage, torch.UntypedStorage]] = {}
        self._file: Any = None  # the map of the whole file, once a storage is asked for
        self._total = 0  # bytes of all tensors
        calls: dict[tuple[str, str], Callable[..., Any]] = {
            known.TENSOR: _view,
            known.PARAMETER: _parameter,
            known.ORDERED_DICT: OrderedDict,
            known.ENCODE: _encode,
            **dict.fromkeys(known.SETS, _set),
        }
        self._calls = {name: Call(name, run) for name, run in calls.items()}

    def read(self) -> Any:
        """The tree before it is settled. Raises UnsafeFileError or FormatError."""
        try:
            return self.load()
        except UnsafeFileError as error:
            message = str(error)
            if not message.startswith(self._where):
                message = f"{self._where}: {message}. {DISTRUST}"
            raise UnsafeFileError(message) from error
        except _BROKEN as error:
            raise FormatError(
                f"{self._where}: not a pickle that can be read ({type(error).__name__}: {shown(str(error))})."
                " Download or copy it again"
            ) from error

    def find_class(self, module: str, name: str) -> Any:
        """What stands for a name. Raises UnsafeFileError: it is not on the list."""
        check_name(module, name, where=self._where, names=self._names)
        if (module, name) in known.STORAGES:
            return record_class(module, name)
        return self._calls.get((module, name)) or record_class(module, name)

    def persistent_load(self, pid: Any) -> _Storage:
        """The storage that a persistent id means. Raises UnsafeFileError: it is none of torch.save's."""
        if not (isinstance(pid, tuple) and len(pid) == 5 and pid[0] == "storage"):
            raise UnsafeFileError(f"persistent id {_told(pid)} is not one of torch.save")
        _, kind, key, _, count = pid
        dtype = known.STORAGES.get(getattr(kind, "name", ("", "")))
        if dtype is None or not isinstance(key, str) or type(count) is not int:
            raise UnsafeFileError(f"persistent id with {_told(kind)}, {_told(key)} names no storage of torch")
        return self._storage(key, dtype, count)

    def finish(self, leaf: Frozen) -> Tensor:
        """The tensor that a leaf stands for. Raises UnsafeFileError: it is none, or all together are too
        large.
        """
        if not isinstance(leaf, _View):
            raise UnsafeFileError(
                f"{self._where}: {type(leaf).__name__} where a tensor is expected. {DISTRUST}"
            )
        self._total += math.prod(leaf.size) * leaf.storage.dtype.itemsize
        if self._total > _SLACK * self._archive.size:
            raise UnsafeFileError(
                f"{self._where}: its tensors claim more than {_SLACK} times the size of the file. {DISTRUST}"
            )
        storage = self._storages[leaf.storage.key][1]
        return torch.empty(0, dtype=leaf.storage.dtype).set_(storage, leaf.offset, leaf.size, leaf.stride)

    def _storage(self, key: str, dtype: torch.dtype, count: int) -> _Storage:
        record = f"data/{key}"
        if not self._archive.has(record) or not key.isalnum():
            raise UnsafeFileError(f"storage {_told(key)} is not in the archive")
        if key not in self._storages:
            length = self._archive.length(record)
            if count * dtype.itemsize != length:
                raise UnsafeFileError(
                    f"storage {key!r} claims {count} numbers of {dtype.itemsize} bytes, its record has "
                    f"{length} bytes"
                )
            self._archive.verify(record)
            self._storages[key] = _Storage(key, dtype, count), self._map(record, dtype)
        storage = self._storages[key][0]
        if (storage.dtype, storage.count) != (dtype, count):
            raise UnsafeFileError(f"storage {key!r} is described in two ways")
        return storage

    def _map(self, record: str, dtype: torch.dtype) -> torch.UntypedStorage:
        if self._file is None:
            self._file = torch.UntypedStorage.from_file(str(self._archive.path), False, self._archive.size)
        start = self._archive.offset(record)
        part = self._file[start : start + self._archive.length(record)]
        return part if start % dtype.itemsize == 0 else part.clone()


_BROKEN = (
    *(
        pickle.UnpicklingError,
        EOFError,
        AttributeError,
        ImportError,
        IndexError,
        KeyError,
        TypeError,
        ValueError,
    ),
    *(OverflowError, MemoryError, RecursionError),
)


def _view(storage: object, offset: object, size: object, stride: object, *_: object) -> _View:
    """Stands for torch._utils._rebuild_tensor_v2."""
    if not isinstance(storage, _Storage):
        raise TypeError(f"{type(storage).__name__} for a storage")
    sizes, strides = _whole(size), _whole(stride)
    (start,) = _whole((offset,))
    if len(sizes) != len(strides):
        raise ValueError(f"size {sizes}, stride {strides}")
    numbers = math.prod(sizes)
    last = start + sum((n - 1) * step for n, step in zip(sizes, strides, strict=True))
    if numbers > storage.count or (numbers and last >= storage.count) or start > storage.count:
        raise ValueError(f"size {sizes}, stride {strides}, offset {start} in a storage of {storage.count}")
    return _View(storage, start, sizes, strides)


def _whole(values: object) -> tuple[int, ...]:
    if not isinstance(values, tuple | list) or len(values) > MAX_DIMENSIONS:
        raise ValueError(f"{_told(values)} for sizes")
    for value in values:
        if type(value) is not int or not 0 <= value < 2**48:
            raise ValueError(f"{_told(value)} for a size")
    return tuple(values)


def _told(value: object) -> str:
    """A value for a message: text and numbers as they are, of all else the type, since it may be huge."""
    return shown(repr(value)) if isinstance(value, str | int) else type(value).__name__


def _parameter(data: object, *_: object) -> object:
    """Stands for torch._utils._rebuild_parameter; hooks and requires_grad are dropped."""
    if not isinstance(data, _View):
        raise TypeError(f"{type(data).__name__} for a tensor")
    return data


def _encode(text: object, codec: object = None) -> bytes:
    """Stands for _codecs.encode in the one way in which pickles use it."""
    if codec != "latin1" or not isinstance(text, str):
        raise ValueError(f"codec {_told(codec)}")
    return text.encode("latin1")


def _set(items: object = ()) -> set[Any]:
    if not isinstance(items, list | tuple):
        raise TypeError(f"{type(items).__name__} for a list")
    return set(items)


def _check_byte_order(archive: Archive) -> None:
    if archive.has("byteorder") and archive.read("byteorder", 16) != sys.byteorder.encode():
        raise FormatError(
            f"{archive.path}: written on a machine of another byte order. Save it again on a common one"
        )


def _refuse_bare(path: Path, head: Head, names: Names) -> NoReturn:
    """Name what a bare pickle would have run, if it is that kind."""
    if head is Head.PICKLE and path.stat().st_size <= MAX_PICKLE:
        scan(path.read_bytes(), str(path), names)
    raise wrong_kind(path, head, EXPECTED)
