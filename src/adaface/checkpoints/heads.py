"""What a file is by its first bytes, and what to do about one that is not what was asked for."""

from enum import StrEnum
from pathlib import Path

from adaface.errors import DamagedFileError, FormatError, MissingFileError

HEAD_BYTES = 512
LEGACY_MAGIC = bytes.fromhex("8a0a6cfc9c46f9206aa85019")  # torch's number, as the first thing of an old file


class Head(StrEnum):
    """Kinds of files that are told apart by how they begin."""

    ZIP = "a zip file"  # what torch.save writes since torch 1.6
    SAFETENSORS = "a safetensors file"
    PICKLE = "a bare pickle"
    LEGACY = "a file in the legacy format of torch.save (before torch 1.6)"
    TAR = "a file in the legacy tar format of torch.save (before torch 0.1.10), or another tar archive"
    LFS = "a git-lfs pointer: the address of the weights, not the weights"
    HTML = "a web page, as servers send it in the place of a file"
    EMPTY = "empty"
    UNKNOWN = "no weights file that is known here"


REMEDIES = {
    Head.ZIP: "Give it a name that ends with .pt, .bin or .ckpt if torch.save wrote it",
    Head.SAFETENSORS: "Nothing is pickled in it: give it where safetensors are expected",
    Head.PICKLE: "Ask its author for a file that torch.save wrote, or for safetensors",
    Head.LEGACY: "Have its author load it and save it again with torch 1.6 or newer, or as safetensors",
    Head.TAR: "Unpack it if it is an archive, or have its author save it again with torch 1.6 or newer",
    Head.LFS: "Run `git lfs pull` in the folder that it was cloned to, or download the file itself",
    Head.HTML: "Download it again: log in or accept the licence where the page asks for it",
    Head.EMPTY: "Download or copy it again, and look if the disk is full",
    Head.UNKNOWN: "Check that it is the right file, and download or copy it again",
}

NO_WEIGHTS = (Head.LFS, Head.HTML, Head.EMPTY, Head.UNKNOWN)


def head_of(path: str | Path) -> Head:
    """What the file is by its first bytes; a name's ending counts nothing.

    Raises MissingFileError: it is not there, or cannot be read. FormatError: it is a folder.
    """
    path = Path(path)
    if is_folder(path):
        raise FormatError(f"{path}: a folder; a file is expected here. Give one of the files in it")
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file. Check the path")
    try:
        with path.open("rb") as handle:
            return _kind(handle.read(HEAD_BYTES), path.stat().st_size)
    except OSError as error:
        raise MissingFileError(
            f"{path}: cannot be read ({error.strerror}). Check that you may read it"
        ) from error


def is_folder(path: Path) -> bool:
    """Is it a folder? False if nothing is there.

    Raises MissingFileError: it cannot be reached, as in a folder that may not be read, or under a name that
    is too long.
    """
    try:
        return path.is_dir()
    except OSError as error:
        raise MissingFileError(
            f"{path}: cannot be reached ({error.strerror}). Check the name, and that you may read its folder"
        ) from error


def wrong_kind(path: str | Path, found: Head, expected: str) -> FormatError:
    """The error for a file that is not `expected`: file, what it is, what is expected, what to do."""
    kind = DamagedFileError if found in NO_WEIGHTS else FormatError
    return kind(f"{path}: {found.value}; expected here: {expected}. {REMEDIES[found]}")


def _kind(start: bytes, size: int) -> Head:
    if not start:
        return Head.EMPTY
    if start.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return Head.ZIP
    if 2 <= int.from_bytes(start[:8], "little") <= size - 8 and start[8:9] == b"{":
        return Head.SAFETENSORS
    if start[0] == 0x80 and len(start) > 1 and start[1] <= 5:
        return Head.LEGACY if start[2:].startswith(LEGACY_MAGIC) else Head.PICKLE
    if start[257:262] == b"ustar":
        return Head.TAR
    return _text_kind(start)


def _text_kind(start: bytes) -> Head:
    if start.startswith(b"version https://git-lfs"):
        return Head.LFS
    if (
        start.removeprefix(b"\xef\xbb\xbf")
        .lstrip()
        .lower()
        .startswith((b"<!doctype", b"<html", b"<?xml", b"<head"))
    ):
        return Head.HTML
    return Head.UNKNOWN
