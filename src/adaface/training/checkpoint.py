"""Checkpoints: folders that appear whole or not at all, with the hashes of their files.

`RUN/checkpoints/step-000000123/`: `weights.safetensors`, `averages.safetensors` (with an average),
`optimizer.pt` (read by the weights-only loader), `state.json`, what a recipe adds, and `hashes.json`.
"""

import io
import json
import logging
import math
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from adaface.errors import (
    ConfigError,
    DamagedFileError,
    FormatError,
    MissingFileError,
    UnsafeFileError,
    WriteError,
)
from adaface.files import held, sha256
from adaface.training.state import RunState, Weights

log = logging.getLogger(__name__)
FOLDER, FAILED, HASHES, STATE = "checkpoints", "failed", "hashes.json", "state.json"
_OURS, _LEFT = re.compile(r"step-\d{9}"), re.compile(r"\.(gone-)?step-\d{9}")  # whole; left by a kill
WEIGHTS, AVERAGES, OPTIMIZER = "weights.safetensors", "averages.safetensors", "optimizer.pt"


def folder_of(run: Path, step: int) -> Path:
    """Where the checkpoint after so many steps is."""
    return run / FOLDER / f"step-{step:09d}"


def checkpoints(run: str | Path) -> list[Path]:
    """The checkpoints of a run, oldest first; what else lies there is somebody else's."""
    return _named(Path(run) / FOLDER, _OURS)


def failed(run: str | Path) -> list[Path]:
    """The reports of the steps that stopped a run, by their number."""
    return _named(Path(run) / FAILED, _OURS)


def latest(run: str | Path) -> Path | None:
    """The newest checkpoint of a run that is whole; None: there is none yet.

    Damaged ones are passed over with a warning. Raises DamagedFileError: all of them are damaged.
    """
    trouble: DamagedFileError | None = None
    for folder in reversed(checkpoints(run)):
        try:
            verify(folder)
        except DamagedFileError as error:
            log.warning("%s. Passed over", error)
            trouble = trouble or error
        else:
            return folder
    if trouble is not None:
        raise trouble
    return None


def best(run: str | Path) -> Path | None:
    """The checkpoint with the best (lowest) figure that is whole; None: there is none."""
    for folder in sorted(checkpoints(run), key=_figure):
        with suppress(DamagedFileError):
            verify(folder)
            return folder
    return None


def verify(folder: Path) -> None:
    """Raises DamagedFileError: a file is missing or is not what was written."""
    try:
        hashes = dict(json.loads((folder / HASHES).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise DamagedFileError(f"{folder / HASHES}: cannot be read ({error})") from error
    for name, digest in hashes.items():
        path = folder / name
        if not path.is_file():
            raise DamagedFileError(f"{path}: missing from its checkpoint")
        if sha256(path) != digest:
            raise DamagedFileError(f"{path}: not what was written, by its hash")


def read_state(folder: Path) -> RunState:
    """A checkpoint's `state.json`. Raises DamagedFileError: it is none."""
    try:
        return RunState.from_json(json.loads((folder / STATE).read_text(encoding="utf-8")))
    except (OSError, ValueError, FormatError) as error:
        raise DamagedFileError(f"{folder / STATE}: cannot be read ({error})") from error


def _tensors(path: Path) -> dict[str, Tensor]:
    """Raises DamagedFileError: no safetensors file."""
    try:
        return dict(load_file(path))
    except (OSError, SafetensorError) as error:
        raise DamagedFileError(f"{path}: cannot be read ({error})") from error


def read_weights(folder: Path, weights: Weights) -> None:
    """Put a checkpoint's weights, buffers and averages in place. Raises FormatError: of other sizes."""
    tensors, averages = _tensors(folder / WEIGHTS), {}
    if weights.averages:  # a run that had none begins its average here
        path = folder / AVERAGES
        averages = (
            _tensors(path) if path.is_file() else {n: tensors[n] for n in weights.averages if n in tensors}
        )
    try:
        weights.load(tensors, averages)
    except FormatError as error:
        raise FormatError(f"{folder}: {error}") from error


def read_optimizer(folder: Path) -> dict[str, Any]:
    """A checkpoint's optimiser, by the loader that runs nothing of a file.

    Raises UnsafeFileError: there is more in it than tensors and numbers, or it is no such file.
    """
    path = folder / OPTIMIZER
    try:
        return dict(torch.load(path, weights_only=True, map_location="cpu"))
    except Exception as error:
        raise UnsafeFileError(
            f"{path}: the weights-only loader refuses it; nothing of it was run. Do not go on with this run: "
            "begin a new one from its weights (init_from)"
        ) from error


@torch.no_grad()
def load_weights(place: str | Path, modules: Mapping[str, nn.Module], *, averages: bool = True) -> Path:
    """Put trained weights into modules: a new run starts from them, with everything else anew.

    place: a run (its newest checkpoint), or one checkpoint. averages: theirs, where there are some.
    Returns the checkpoint. Raises MissingFileError: no checkpoint there. DamagedFileError: a damaged one.
    FormatError: of other names or sizes.
    """
    place = Path(place)
    folder = place if (place / WEIGHTS).is_file() else latest(place)
    if folder is None:
        raise MissingFileError(f"{place}: no checkpoint in it. Give a run's folder or one of its checkpoints")
    if folder == place:
        verify(folder)
    tensors = _tensors(folder / WEIGHTS)
    if averages and (folder / AVERAGES).is_file():
        tensors |= _tensors(folder / AVERAGES)
    weights = Weights(modules, averaged=False)
    try:
        weights.load(tensors, {})
    except FormatError as error:
        raise FormatError(f"{folder}: {error}") from error
    return folder


def write_optimizer(state: Mapping[str, Any], path: Path) -> None:
    """Raises OSError: disk trouble.

    By way of memory: torch's own writer, which tidies up once more after a failed write, can end the process
    on a full disk.
    """
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    path.write_bytes(buffer.getbuffer())


def write(final: Path, fill: Callable[[Path], None]) -> None:
    """Let `fill` write files into a folder beside `final`, hash them, and rename it to `final`.

    Raises WriteError: disk trouble; nothing half-written stays, and other checkpoints are as they were.
    """
    beside = final.parent / f".{final.name}"
    try:
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        fill(beside)
        hashes = {path.relative_to(beside).as_posix(): sha256(path) for path in _files(beside)}
        (beside / HASHES).write_text(json.dumps(hashes, indent=2) + "\n", encoding="utf-8")
        for path in [*_files(beside), *_folders(beside), beside]:
            _to_disk(path)
        drop(final)  # there is one only if it is damaged
        beside.rename(final)
        _to_disk(final.parent)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise WriteError(
            f"{final}: not saved ({reason}). Free some space and go on with the run: what it saved before "
            "is whole"
        ) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def forget_after(run: Path, newest: Path) -> None:
    """Remove the checkpoints after the newest whole one: they are damaged, and their steps are done again.

    Raises WriteError: they cannot be removed.
    """
    for folder in checkpoints(run):
        if folder.name > newest.name:
            try:
                drop(folder)
            except OSError as error:
                raise WriteError(f"{folder}: damaged, not removed ({error.strerror}). Do it") from error


def prune(run: Path, *, keep_last: int, keep_best: int) -> None:
    """Remove all checkpoints but the last ones and the best ones."""
    there = checkpoints(run)
    good = [folder for folder in there if math.isfinite(_figure(folder))]
    kept = {*there[-keep_last:], *sorted(good, key=_figure)[:keep_best]}
    for folder in there:
        if folder not in kept:
            drop(folder)


def drop(folder: Path) -> None:
    """Remove a folder; a kill in the middle leaves no half of it under its name."""
    if folder.exists():
        gone = folder.parent / f".gone-{folder.name}"
        shutil.rmtree(gone, ignore_errors=True)
        folder.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)


@contextmanager
def alone(run: Path) -> Iterator[None]:
    """Nobody else trains in this folder meanwhile; a kill frees it. A folder that stays empty goes again.

    Raises ConfigError: somebody does, or it is a file. WriteError: it cannot be made.
    """
    new = not run.exists()
    try:
        run.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise ConfigError(f"{run}: a file is in the way. Give a folder for the run") from error
    except OSError as error:
        raise WriteError(f"{run}: not made ({error.strerror}). Give a folder that you may write") from error
    try:
        with held(run) as ours:
            if not ours:
                log.warning("%s cannot be locked: see to it that nothing else trains in it", run)
            yield
    except BlockingIOError as error:
        raise ConfigError(f"{run}: another process trains in it. Wait for it, or stop it") from error
    finally:
        if new:
            with suppress(OSError):  # it holds a run by now
                run.rmdir()


def tidy(run: Path) -> None:
    """Remove what a kill left half-written, by the names that `write` and `drop` give it."""
    for within in (FOLDER, FAILED):
        for path in _named(run / within, _LEFT):
            shutil.rmtree(path, ignore_errors=True)


def _named(folder: Path, pattern: re.Pattern[str]) -> list[Path]:
    """The folders in it of such a name, in order."""
    return sorted(path for path in folder.glob("*") if pattern.fullmatch(path.name) and path.is_dir())


def _figure(folder: Path) -> float:
    try:
        figure = read_state(folder).figure
    except DamagedFileError:
        return math.inf
    return math.inf if figure is None or math.isnan(figure) else figure


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def _folders(path: Path) -> Iterator[Path]:
    return (inner for inner in sorted(path.rglob("*"), reverse=True) if inner.is_dir())


def _to_disk(path: Path) -> None:
    """A rename may reach the disk before the bytes do. Systems that open no folders need it not."""
    with suppress(PermissionError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
