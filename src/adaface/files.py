"""Files, written beside their place and renamed: a crash or a full disk leaves no half-written one."""

import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError

from adaface.errors import MissingFileError, WriteError


def write_atomic(path: str | Path, write: Callable[[Path], object]) -> Path:
    """Let `write` fill a file beside `path`, then rename it to `path`.

    Raises WriteError: the folder cannot be made or written, or the disk is full; an older file stays.
    """
    path = Path(path)
    beside: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent)
        os.close(handle)
        beside = Path(name)
        write(beside)
        beside.chmod(0o666 & ~_umask())
        beside.replace(path)
    except (OSError, SafetensorError) as error:  # safetensors wraps a full disk in an error of its own
        reason = getattr(error, "strerror", None) or error
        raise WriteError(f"{path}: not written ({reason}). Free space, or choose another place") from error
    finally:
        if beside is not None:
            beside.unlink(missing_ok=True)
    return path


def sha256(path: str | Path) -> str:
    """Hex digest of a file, or of a folder: the digest of its sorted relative names and their digests.

    Raises MissingFileError: nothing is there.
    """
    path = Path(path)
    if path.is_file():
        with path.open("rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    if not path.is_dir():
        raise MissingFileError(f"{path}: no such file or folder")
    digest = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()):
        digest.update(f"{file.relative_to(path).as_posix()}\0{sha256(file)}\n".encode())
    return digest.hexdigest()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
