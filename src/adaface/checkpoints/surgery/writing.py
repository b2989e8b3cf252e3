"""Safetensors files written header first, then block after block: memory stays flat; folders, whole."""

import json
import math
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from adaface.checkpoints.tensors import DTYPES, Weights
from adaface.errors import ConfigError, WriteError
from adaface.files import need_room, write_atomic

NAMES = {dtype: name for name, dtype in DTYPES.items()}
Tell = Callable[[int, int], None]  # bytes done, bytes in all


@dataclass(frozen=True)
class Entry:
    """A tensor to be written: what the header says of it, and where its numbers come from."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    blocks: Callable[[], Iterator[Tensor]]  # 1-D pieces in order, of `dtype`

    @property
    def bytes(self) -> int:
        """Its size in the file."""
        return math.prod(self.shape) * self.dtype.itemsize


def copied(weights: Weights, name: str, shape: tuple[int, ...] | None = None) -> Entry:
    """A tensor as it is, bit for bit; `shape`: another one of as many numbers."""
    return Entry(weights.dtype(name), shape or weights.shape(name), lambda: weights.blocks(name))


def write_safetensors(
    path: str | Path, entries: Mapping[str, Entry], metadata: Mapping[str, str], tell: Tell | None = None
) -> int:
    """Write a safetensors file beside its place, then rename it; one block is in memory at a time.

    tell: is told the bytes done and in all. Returns the bytes of the tensors.
    Raises WriteError: no room, or no permission; nothing half-written stays.
    """
    path = Path(path)
    total = sum(entry.bytes for entry in entries.values())
    need_room(path.parent, total)
    write_atomic(path, lambda beside: _write(beside, entries, metadata, total, tell))
    return total


def check_free(path: Path, *, overwrite: bool = False) -> None:
    """Raises ConfigError: something is in a result's place, and it is no file that may be replaced.

    WriteError: what is there cannot be seen.
    """
    try:
        _check_free(path, overwrite)
    except OSError as error:
        raise WriteError(f"{path}: not written ({error.strerror}). Choose another name or place") from error


def _check_free(path: Path, overwrite: bool) -> None:
    if path.is_dir() and any(path.iterdir()):
        raise ConfigError(f"{path}: a folder with something in it. Name a new or an empty one")
    if path.is_dir() and path.samefile(Path.cwd()):  # it is made beside and renamed: the shell would lose it
        raise ConfigError(f"{path}: the folder that you are in. Name a new one, such as {path / 'new'}")
    if path.is_file() and not overwrite:
        raise ConfigError(f"{path}: is there already. Choose another name, or say --overwrite")


@contextmanager
def new_folder(path: str | Path) -> Iterator[Path]:
    """A folder beside `path` to be filled, which gets that name at the end; if anything fails, it is gone.

    Raises WriteError: it cannot be made or renamed. ConfigError: something is in that place.
    """
    path = Path(path)
    check_free(path)
    beside = path.with_name(f".{path.name[:32]}.{secrets.token_hex(8)}")
    try:
        beside.mkdir(parents=True)
        yield beside
        if path.is_dir():
            path.rmdir()  # empty, as was checked
        beside.replace(path)
    except WriteError as error:  # of a file in it, under the name that it has for now
        raise WriteError(str(error).replace(str(beside), str(path))) from error
    except OSError as error:
        reason = error.strerror or str(error)
        if error.filename is not None and not Path(error.filename).is_relative_to(beside):
            reason = f"{error.filename}: {reason}"  # of a file that was to be copied, perhaps
        raise WriteError(f"{path}: not written ({reason}). Free space, or choose another place") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def copy_tree(source: Path, target: Path, keep: Callable[[Path], bool]) -> None:
    """Copy the files below `source` that `keep` is true of; links become what they point to."""
    for root, folders, files in os.walk(source):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            file = Path(root, name)
            if keep(file):
                place = target / file.relative_to(source)
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, place)


def _write(
    path: Path, entries: Mapping[str, Entry], metadata: Mapping[str, str], total: int, tell: Tell | None
) -> None:
    # wide numbers first, as the library orders them, so that each tensor begins where its numbers may
    names = sorted(entries, key=lambda name: (-entries[name].dtype.itemsize, name))
    done = 0
    with path.open("wb") as handle:
        handle.write(_header(names, entries, metadata))
        for name in names:
            begin = done
            for block in entries[name].blocks():
                done += handle.write(_raw(block))
                if tell:
                    tell(done, total)
            if done - begin != entries[name].bytes:
                raise AssertionError(
                    f"{name}: {done - begin} bytes where {entries[name].bytes} were announced"
                )


def _header(names: list[str], entries: Mapping[str, Entry], metadata: Mapping[str, str]) -> bytes:
    header: dict[str, object] = {"__metadata__": {"format": "pt", **metadata}}
    at = 0
    for name in names:
        entry = entries[name]
        header[name] = {
            "dtype": NAMES[entry.dtype],
            "shape": list(entry.shape),
            "data_offsets": [at, at + entry.bytes],
        }
        at += entry.bytes
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _raw(block: Tensor) -> memoryview:
    return block.contiguous().view(torch.uint8).numpy().data
