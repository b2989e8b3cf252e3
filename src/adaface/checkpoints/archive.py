"""The container of torch.save: a zip file of stored records, checked before anything in it is believed."""

import zipfile
import zlib
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import Self

from adaface.checkpoints.scan import shown
from adaface.errors import DamagedFileError, FormatError
from adaface.sources.heads import Head, head_of, wrong_kind

EXPECTED = "a file that torch.save wrote"
PICKLE = "data.pkl"
MAX_PICKLE = 32 * 2**20  # bytes; a checkpoint with two whole tokenizers in it has some 8 MiB
_LOCAL_HEADER = 30  # bytes before a record's name
_CHUNK = 2**20


class Archive:
    """Names and places of the records of one file; nothing is ever unpacked to disk."""

    def __init__(self, path: str | Path) -> None:
        """Raises MissingFileError: no such file. DamagedFileError: cut off. FormatError: it
        is something else, or ambiguous.
        """
        self.path = Path(path)
        if (head := head_of(self.path)) is not Head.ZIP:
            raise wrong_kind(self.path, head, EXPECTED)
        self.size = self.path.stat().st_size
        try:
            self._zip = zipfile.ZipFile(self.path)
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            raise DamagedFileError(
                f"{self.path}: a zip file without a readable end, so cut off or damaged ({error}). "
                "Download or copy it again"
            ) from error
        try:
            self._root = self._check_records()
        except FormatError:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._zip.close()

    def has(self, name: str) -> bool:
        """Is there a record of that name, below the archive's one root folder?"""
        return self._root + name in self._zip.NameToInfo

    def length(self, name: str) -> int:
        """Bytes of a record."""
        return self._zip.NameToInfo[self._root + name].file_size

    def read(self, name: str, limit: int) -> bytes:
        """The bytes of a record, their checksum tried. Raises DamagedFileError: it is longer than
        `limit`, or does not fit its checksum.
        """
        if self.length(name) > limit:
            raise self.damaged(name, f"{self.length(name)} bytes, more than the {limit} that are read of it")
        self.verify(name)
        return self._zip.read(self._root + name)

    def verify(self, name: str) -> None:
        """Read a record piece by piece and compare its checksum. Raises DamagedFileError: it differs."""
        try:
            with self._zip.open(self._root + name) as record:
                while record.read(_CHUNK):
                    pass
        except (zipfile.BadZipFile, EOFError, OSError, RuntimeError, zlib.error) as error:
            raise self.damaged(name, str(error)) from error

    def offset(self, name: str) -> int:
        """Where a record's bytes begin in the file. Raises DamagedFileError: its header is not there."""
        info = self._zip.NameToInfo[self._root + name]
        with self.path.open("rb") as handle:
            handle.seek(info.header_offset)
            header = handle.read(_LOCAL_HEADER)
        if len(header) < _LOCAL_HEADER or not header.startswith(b"PK\x03\x04"):
            raise self.damaged(name, "no header where the table of contents says")
        lengths = (int.from_bytes(header[at : at + 2], "little") for at in (26, 28))  # of name, extra field
        start = info.header_offset + _LOCAL_HEADER + sum(lengths)
        if start + info.file_size > self.size:
            raise self.damaged(name, "it reaches past the end of the file")
        return start

    def damaged(self, name: str, why: str) -> DamagedFileError:
        """The error for a record that cannot be believed."""
        return DamagedFileError(f"{self.path}: record {self._root + name}: {why}. Download or copy it again")

    def _check_records(self) -> str:
        infos = self._zip.infolist()
        for info in infos:
            name, parts = shown(info.filename), PurePosixPath(info.filename).parts
            if name != info.filename:
                raise self._refused(f"record {name} has a name that no record has")
            if ".." in parts or name.startswith("/") or "\\" in name or ":" in name:
                raise self._refused(f"record {name} has a name that leads out of the archive")
            if info.flag_bits & 0x1:
                raise self._refused(f"record {name} is encrypted, which torch.save never does")
        if packed := [
            info.filename for info in infos if info.compress_type or info.file_size != info.compress_size
        ]:
            raise self._refused(f"compressed records, which torch.save never writes: {', '.join(packed[:5])}")
        if sum(info.file_size for info in infos) > self.size:
            raise self._refused("its records overlap")
        if twice := [name for name, n in Counter(info.filename for info in infos).items() if n > 1]:
            raise self._refused(f"record {twice[0]} is there twice; readers differ in which they take")
        return self._root_of([info.filename for info in infos])

    def _root_of(self, names: list[str]) -> str:
        """The one folder that all records are in, with a slash at its end."""
        pickles = [name for name in names if PurePosixPath(name).name == PICKLE and name.count("/") == 1]
        if not pickles:
            raise self._refused(f"no record ROOT/{PICKLE} in it, so it is no file of torch.save")
        root = pickles[0].removesuffix(PICKLE)
        if outside := [name for name in names if not name.startswith(root)]:
            raise self._refused(f"an ambiguous archive: {outside[0]} beside {pickles[0]}")
        return root

    def _refused(self, why: str) -> FormatError:
        return FormatError(
            f"{self.path}: {why}; expected here: {EXPECTED}. Get it from a source that you trust"
        )
