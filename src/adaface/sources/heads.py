"""What a file is by its first bytes, and what to do about one that is not what was asked for."""

import json
import zipfile
from enum import StrEnum
from pathlib import Path
from typing import Any

from adaface.errors import DamagedFileError, FormatError, MissingFileError

HEAD_BYTES = 512
AGAIN = "Copy or download it again"
MAX_HEADER = 100_000_000  # bytes of JSON at the start of a safetensors file; what the library allows
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


def need_whole(path: str | Path) -> Head:
    """What kind of file of weights it is, as far as its head and its end tell.

    Raises MissingFileError: it is not there. FormatError: it is a folder. DamagedFileError: empty, cut off, a
    git-lfs pointer, a web page, a format that is not known, or a pickled file called .safetensors.
    """
    path = Path(path)
    head = head_of(path)
    if lacking := _lacking(path, head):
        raise DamagedFileError(f"{path}: cut off ({lacking}). {AGAIN}")
    if head in NO_WEIGHTS:
        raise DamagedFileError(
            f"{path}: {head.value}; expected here: weights, as safetensors or a .ckpt. {REMEDIES[head]}"
        )
    if head is not Head.SAFETENSORS and path.suffix.lower() == ".safetensors":
        raise DamagedFileError(
            f"{path}: {head.value}, called .safetensors; expected here: what the name says. Get "
            "the real one, or rename this to .ckpt if you know what it is: nothing in it will be executed"
        )
    return head


def need_safetensors(path: str | Path) -> None:
    """Is it a whole safetensors file, as far as head and end tell?

    Raises as `need_whole`, and FormatError: another kind of file.
    """
    if (head := need_whole(path)) is not Head.SAFETENSORS:
        raise FormatError(
            f"{path}: {head.value}; expected here: safetensors, since nothing is unpickled. Give the "
            "safetensors file of the same model (adaface convert and adaface setup write it)"
        )


def need_onnx(path: str | Path) -> None:
    """Can it be an ONNX network, as far as the first bytes tell?

    Raises MissingFileError: it is not there. DamagedFileError or FormatError: it is something else.
    """
    if (head := head_of(path)) is not Head.UNKNOWN:  # ONNX has no sign of its own at its head
        raise wrong_kind(path, head, "an ONNX network")


def _lacking(path: Path, head: Head) -> str:
    """What is missing at the end of a file that begins well, in words; '' if nothing is."""
    if head is Head.ZIP:  # its table of contents stands at the end
        return "" if zipfile.is_zipfile(path) else "a zip file without its end"
    if head not in (Head.SAFETENSORS, Head.UNKNOWN):
        return ""
    size = path.stat().st_size
    with path.open("rb") as handle:
        start = handle.read(9)
    length = int.from_bytes(start[:8], "little")
    if start[8:] != b"{" or length > MAX_HEADER:
        return ""
    if 8 + length > size:
        return f"{size} bytes, of which the header alone needs {8 + length}"
    entries, _, begin = safetensors_header(path)
    whole = begin + max((entry["data_offsets"][1] for entry in entries.values()), default=0)
    return f"{size} of {whole} bytes" if size < whole else ""


def safetensors_header(path: Path) -> tuple[dict[str, Any], dict[str, str], int]:
    """Of a safetensors file: its tensors' entries, its metadata, and where its data begin."""
    try:
        with path.open("rb") as handle:
            length = int.from_bytes(handle.read(8), "little")
            entries: dict[str, Any] = json.loads(handle.read(length))
        metadata = entries.pop("__metadata__", None) or {}
        for entry in entries.values():
            (_, _), _ = entry["data_offsets"], entry["dtype"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedFileError(f"{path}: not the header of a safetensors file ({error}). {AGAIN}") from error
    return entries, metadata, 8 + length


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
