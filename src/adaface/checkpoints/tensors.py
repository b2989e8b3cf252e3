"""A file of weights as a lazy mapping, name -> tensor: safetensors, or pickled ones by the safe reader."""

import weakref
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from adaface.checkpoints.names import LIGHTNING
from adaface.checkpoints.pickles import read_pickle
from adaface.checkpoints.scan import DISTRUST
from adaface.errors import DamagedFileError, FormatError, UnsafeFileError
from adaface.sources.heads import AGAIN, Head, need_whole, safetensors_header

BLOCK = 1 << 22  # numbers that are in memory at a time where a tensor is streamed
DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8,
    "BOOL": torch.bool, "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2,
}  # fmt: skip


class Weights(Mapping[str, Tensor]):
    """Tensors by name. Names, shapes and dtypes cost nothing; a tensor is read when it is asked for."""

    def __init__(self, path: Path, metadata: Mapping[str, str]) -> None:
        """path: where they are from. metadata: of a safetensors file's header; empty for pickled files."""
        self.path = path
        self.metadata = dict(metadata)

    @abstractmethod
    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor. Raises KeyError: there is none of that name."""

    @abstractmethod
    def dtype(self, name: str) -> torch.dtype:
        """Data type of a tensor. Raises KeyError: there is none of that name."""

    @abstractmethod
    def blocks(self, name: str, numbers: int = BLOCK) -> Iterator[Tensor]:
        """A tensor's numbers in order as 1-D pieces of `numbers` (the last one less); to be read only.

        Raises FormatError: the file was changed since it was opened.
        """


class SafetensorsWeights(Weights):
    """Of a safetensors file. Read, not mapped: memory holds what is asked for, and nothing else."""

    def __init__(self, path: Path) -> None:
        """path: of a file that begins as a safetensors file.

        Raises DamagedFileError: its header contradicts itself. FormatError: a data type that is not known.
        """
        try:
            with safe_open(path, framework="pt"):  # the library checks offsets, shapes and sizes
                pass
        except (SafetensorError, OSError, ValueError) as error:
            raise DamagedFileError(f"{path}: not a whole safetensors file ({error}). {AGAIN}") from error
        self._entries, metadata, self._start = safetensors_header(path)
        super().__init__(path, metadata)
        for name, entry in self._entries.items():
            if entry["dtype"] not in DTYPES:
                known = ", ".join(DTYPES)
                raise FormatError(f"{path}: {name} is {entry['dtype']}; known are {known}. Convert it first")
        # one handle for all reads: a file that is replaced meanwhile stays the one that was opened
        self._handle: BinaryIO = path.open("rb", buffering=0)
        weakref.finalize(self, self._handle.close)

    def __getitem__(self, name: str) -> Tensor:
        """A tensor of its own memory. Raises KeyError: there is none of that name."""
        begin, end = self._entries[name]["data_offsets"]
        return self._read(begin, end, self.dtype(name)).reshape(self.shape(name))

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor. Raises KeyError: there is none of that name."""
        return tuple(self._entries[name]["shape"])

    def dtype(self, name: str) -> torch.dtype:
        """Data type of a tensor. Raises KeyError: there is none of that name."""
        return DTYPES[self._entries[name]["dtype"]]

    def blocks(self, name: str, numbers: int = BLOCK) -> Iterator[Tensor]:
        """A tensor's numbers in order as 1-D pieces. Raises FormatError: the file was changed meanwhile."""
        dtype, (begin, end) = self.dtype(name), self._entries[name]["data_offsets"]
        step = numbers * dtype.itemsize
        for at in range(begin, end, step):
            yield self._read(at, min(at + step, end), dtype)

    def _read(self, begin: int, end: int, dtype: torch.dtype) -> Tensor:
        if begin == end:
            return torch.empty(0, dtype=dtype)
        memory = bytearray(end - begin)
        view, done = memoryview(memory), 0
        self._handle.seek(self._start + begin)
        while done < len(memory):
            count = self._handle.readinto(view[done:])  # type: ignore[attr-defined]
            if not count:
                raise FormatError(f"{self.path}: became shorter while it was read. {AGAIN}")
            done += count
        return torch.frombuffer(memory, dtype=dtype)


class PickledWeights(Weights):
    """Of a pickled file that the safe reader has read: its tensors lie on a map of the file."""

    def __init__(self, path: Path) -> None:
        """path: of a file that torch has written.

        Raises FormatError: it holds no tensors. UnsafeFileError: something that is not to be rebuilt (nothing
        is executed), or a name that no tensor has.
        """
        super().__init__(path, {})
        tree = read_pickle(path, LIGHTNING)
        while isinstance(tree, Mapping) and isinstance(tree.get("state_dict"), Mapping):
            tree = tree["state_dict"]
        self._tensors = dict(_tensors_in(tree))
        if not self._tensors:
            raise FormatError(f"{path}: holds no tensors by name. Give a checkpoint's state dict")
        if odd := [name for name in self._tensors if not _may_be_a_name(name)]:
            raise UnsafeFileError(
                f"{path}: a tensor is called {odd[0]!r}, as no checkpoint has it. {DISTRUST}"
            )

    def __getitem__(self, name: str) -> Tensor:
        """A tensor of its own memory. Raises KeyError: there is none of that name."""
        return self._tensors[name].clone(memory_format=torch.contiguous_format)

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor. Raises KeyError: there is none of that name."""
        return tuple(self._tensors[name].shape)

    def dtype(self, name: str) -> torch.dtype:
        """Data type of a tensor. Raises KeyError: there is none of that name."""
        return self._tensors[name].dtype

    def blocks(self, name: str, numbers: int = BLOCK) -> Iterator[Tensor]:
        """A tensor's numbers in order as 1-D pieces, to be read only."""
        flat = self._tensors[name].reshape(-1)
        for at in range(0, len(flat), numbers):
            yield flat[at : at + numbers]


class ManyWeights(Weights):
    """Several files as one, as the shards of a large model."""

    def __init__(self, parts: list[Weights]) -> None:
        """parts: at least one; no name stands in two of them."""
        super().__init__(parts[0].path, parts[0].metadata)
        self.parts = parts
        self._home = {name: part for part in parts for name in part}

    def __getitem__(self, name: str) -> Tensor:
        """A tensor of its own memory. Raises KeyError: there is none of that name."""
        return self._home[name][name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._home)

    def __len__(self) -> int:
        return len(self._home)

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor. Raises KeyError: there is none of that name."""
        return self._home[name].shape(name)

    def dtype(self, name: str) -> torch.dtype:
        """Data type of a tensor. Raises KeyError: there is none of that name."""
        return self._home[name].dtype(name)

    def blocks(self, name: str, numbers: int = BLOCK) -> Iterator[Tensor]:
        """A tensor's numbers in order as 1-D pieces. Raises FormatError: the file was changed meanwhile."""
        return self._home[name].blocks(name, numbers)


def open_tensors(path: str | Path) -> Weights:
    """Open a file of weights by what its bytes are: safetensors, or what torch pickled (nothing is executed).

    A dict under `state_dict` is taken for the whole; deeper dicts become names with dots.
    Raises MissingFileError: it is not there. DamagedFileError: see `need_whole`. UnsafeFileError or
    FormatError: no tensors, or something that is not to be rebuilt.
    """
    path = Path(path)
    return SafetensorsWeights(path) if need_whole(path) is Head.SAFETENSORS else PickledWeights(path)


def _tensors_in(tree: object, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    if not isinstance(tree, Mapping):
        return
    for key, value in tree.items():
        if isinstance(value, Tensor):
            yield f"{prefix}{key}", value
        else:
            yield from _tensors_in(value, f"{prefix}{key}.")


def _may_be_a_name(name: str) -> bool:
    """Whether a safetensors file can hold it: one word is its header's own, and a header is UTF-8."""
    return name != "__metadata__" and not any("\ud800" <= letter <= "\udfff" for letter in name)
