"""The face packs in one archive below a size: fewer fields, fewer close-ups."""

import io
import zipfile
from pathlib import Path

import numpy as np

from adaface.errors import ConfigError, MissingFileError
from adaface.files import write_atomic
from adaface.mini.world.data import CLOSE_PACK, FULL_PACKS, MIN_VALID
from adaface.mini.world.segment import PORTRAITS

FIELDS = ("lm", "emb", "valid", "split", "sim_own", "pid", "age", "gender")
DIRECTORY = 4096  # bytes, at most, of the archive's own lists


def write_pack(data: str | Path, file: str | Path, limit: int) -> int:
    """Write the archive; returns its size in bytes. Unzipped, it is a data folder like the one it came from.

    limit: bytes. What training uses of LFW and CelebA, the held-out people and the portraits go in; close-ups
    fill the rest.
    Raises MissingFileError: a pack is not in `data`. ConfigError: the limit leaves no room for close-ups.
    """
    data = Path(data)
    _check(data)
    parts = {}
    for name in FULL_PACKS:
        with np.load(data / f"{name}.npz", allow_pickle=False) as pack:
            keep = (pack["split"] == 1) | (pack["valid"] > MIN_VALID)
            parts[name] = _thin(pack, np.flatnonzero(keep))
    portraits = (data / PORTRAITS).read_bytes()
    taken = len(portraits) + sum(map(len, parts.values())) + DIRECTORY
    parts[CLOSE_PACK] = _close_ups(data, limit, taken)

    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
            for name, part in parts.items():
                archive.writestr(f"{name}.npz", part)
            archive.writestr(PORTRAITS, portraits)

    return write_atomic(file, write).stat().st_size


def _check(data: Path) -> None:
    for name in (*FULL_PACKS, CLOSE_PACK):
        if not (data / f"{name}.npz").is_file():
            raise MissingFileError(f"{data / name}.npz: no such face pack")
    if not (data / PORTRAITS).is_file():
        raise MissingFileError(f"{data / PORTRAITS}: no such archive")


def _close_ups(data: Path, limit: int, taken: int) -> bytes:
    """As many close-ups as fit below `limit` bytes beside those that are taken.

    They stand in order of age, so every so many-th is kept: all ages keep their shares.
    """
    with np.load(data / f"{CLOSE_PACK}.npz", allow_pickle=False) as pack:
        rows = np.flatnonzero(pack["valid"] > MIN_VALID)
        part = _thin(pack, rows)
        count = len(rows)
        while len(part) > limit - taken:
            count = int(count * min(0.98, (limit - taken) / len(part)))
            if count < 1:
                raise ConfigError(f"{limit} bytes are too few: {taken} are taken without close-ups")
            part = _thin(pack, rows[np.arange(count) * len(rows) // count])
        return part


def _thin(pack: "np.lib.npyio.NpzFile", rows: np.ndarray) -> bytes:
    """An .npz of these rows with the fields that training reads."""
    raw, off = pack["data"], pack["off"]
    pieces = [raw[off[i] : off[i + 1]] for i in rows]
    ends = np.cumsum([0, *(len(piece) for piece in pieces)]).astype(np.int64)
    fields = {name: pack[name][rows] for name in FIELDS if name in pack.files}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, data=np.concatenate(pieces), off=ends, **fields)
    return buffer.getvalue()
