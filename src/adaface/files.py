"""Files, written beside their place and renamed: a crash or a full disk leaves no half-written one."""

import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path, PurePosixPath

from safetensors import SafetensorError

from adaface.errors import MissingFileError, WriteError

_RANDOM = 16 * "[0-9a-f]"  # in the name of a file that is not whole yet


def write_atomic(path: str | Path, write: Callable[[Path], object]) -> Path:
    """Let `write` fill a file beside `path`, then rename it to `path`.

    Raises WriteError: the folder cannot be made or written, or the disk is full; an older file stays.
    """
    path = Path(path)
    beside = path.with_name(f".{path.stem[:32]}.{secrets.token_hex(8)}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # ours alone, with the permissions that the process gives to any new file
        os.close(os.open(beside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        mode = beside.stat().st_mode
        write(beside)
        beside.chmod(mode)  # a writer that renames in turn, as safetensors does, leaves its own
        _to_disk(beside)
        beside.replace(path)
    except (OSError, SafetensorError) as error:  # safetensors wraps a full disk in an error of its own
        reason = getattr(error, "strerror", None) or error
        raise WriteError(f"{path}: not written ({reason}). Free space, or choose another place") from error
    finally:
        _drop(beside)
    return path


def write_text(path: str | Path, text: str) -> Path:
    """Write a text file in UTF-8, whole or not at all; half a surrogate, as a file's name may have, is
    escaped. Raises WriteError.
    """
    return write_atomic(path, lambda beside: beside.write_text(text, "utf-8", errors="backslashreplace"))


def half_written(path: Path) -> list[Path]:
    """What `write_atomic` of this path has left beside it where its process was killed."""
    return list(path.parent.glob(f".{escape(path.stem[:32])}.{_RANDOM}{escape(path.suffix)}"))


def slug(text: str, longest: int = 48, *, empty: str = "picture") -> str:
    """A text as part of a file name: plain small letters, digits and dashes; `empty` where none are left."""
    words = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    return words[:longest].rstrip("-") or empty


def need_room(folder: Path, count: int, advice: str = "Free space, or choose another place") -> None:
    """Raises WriteError: the disk that `folder` is on, or will be on, has less than `count` bytes free."""
    there = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    try:
        free = shutil.disk_usage(there).free
    except OSError:  # the write itself will say what is wrong
        return
    if free < count:
        raise WriteError(
            f"{folder}: {count / 1e9:.2f} GB are to be written, {free / 1e9:.2f} GB are free. {advice}"
        )


@contextmanager
def held(place: Path) -> Iterator[bool]:
    """Hold a folder as it is, or else a lock file, which is made and taken away, against other processes.

    Gives whether it is held: False where the system, or the file system, has no locks. It ends with the
    process, however that ends. Raises BlockingIOError: another one holds it. OSError: it cannot be opened.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield False
        return
    is_folder = place.is_dir()
    handle = os.open(place, os.O_RDONLY if is_folder else os.O_WRONLY | os.O_CREAT, 0o666)
    ours = False
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            ours = True
        except BlockingIOError:
            raise
        except OSError:  # a file system without locks
            ours = False
        if ours and not is_folder and not _is_at(place, handle):
            # who had it has just ended and taken the file away, and a third one may hold the next
            ours = False
            raise BlockingIOError(f"{place}: held by another process")
        yield ours
    finally:
        if ours and not is_folder:
            place.unlink(missing_ok=True)
        os.close(handle)


def _is_at(path: Path, handle: int) -> bool:
    """Whether the file at `path` is the one that is open."""
    with suppress(OSError):
        return os.path.samestat(path.stat(), os.fstat(handle))
    return False


def sha256(path: str | Path) -> str:
    """Hex digest of a file, or of a folder: `digest` of the files in it.

    Raises MissingFileError: nothing is there.
    """
    path = Path(path)
    if path.is_file():
        with path.open("rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    if not path.is_dir():
        raise MissingFileError(f"{path}: no such file or folder. Check the path")
    return digest({p.relative_to(path).as_posix(): sha256(p) for p in path.rglob("*") if p.is_file()})


def digest(hashes: Mapping[str, str]) -> str:
    """One hex digest for files: of their sorted relative POSIX names and their own digests."""
    total = hashlib.sha256()
    for name in sorted(hashes, key=PurePosixPath):
        total.update(f"{name}\0{hashes[name]}\n".encode())
    return total.hexdigest()


def _to_disk(path: Path) -> None:
    """A rename may reach the disk before the bytes do: a power cut would leave an empty file."""
    handle = os.open(path, os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _drop(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:  # its folder is a file, or cannot be written: then it was never made
        return
