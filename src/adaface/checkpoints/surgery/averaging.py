"""The mean of several checkpoints, or of several models of one kind; the inputs stay as they are."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from adaface.checkpoints.kinds import Kind, read_json
from adaface.checkpoints.parts import ALONE, Part, Source, listing, match
from adaface.checkpoints.surgery.common import CHECKPOINTS, SOURCES, SUFFIX, Written, check_out, origin
from adaface.checkpoints.surgery.folders import (
    copy_rest,
    need_like_config,
    write_json,
    write_part,
)
from adaface.checkpoints.surgery.writing import Entry, Tell, copied, new_folder, write_safetensors
from adaface.checkpoints.tensors import Weights, open_tensors
from adaface.errors import ConfigError, FormatError

BLOCK = 1 << 20  # numbers of each input that are in memory at a time, in float64 too
ORIGIN_KEY = "origin"  # of an encoder's config.json


def average(
    paths: Sequence[str | Path],
    out: str | Path,
    shares: Sequence[float] | None = None,
    *,
    overwrite: bool = False,
    tell: Tell | None = None,
) -> Written:
    """Write the mean of several checkpoints, or of several models of one kind; the first one gives the form.

    paths: two or more LDM files or diffusers folders (mixed as you like), files or folders of one model, or
    folders of AdaFace encoders. shares: of each in the mean, 0 or more, made to sum to 1; equal if None.
    Sums are float64; the dtype is the first one's. What is no weight (schedules, tokenizers) is the first
    one's; averages over its training (`model_ema.`) are left out, since they are of another model.
    Raises ConfigError: shares that make no mean, or `out` does not do. WrongModelError, FormatError,
    WriteError: as `swap`.
    """
    parts_of_mean = _shares(shares, len(paths))
    check_out(Path(paths[0]), Path(out), overwrite)
    first = Source(paths[0], *CHECKPOINTS, *ALONE, Kind.ADAFACE_ENCODER)
    if first.kind is Kind.ADAFACE_ENCODER:
        return _average_encoders([Path(path) for path in paths], Path(out), parts_of_mean, tell)
    like = (first.kind, *(SOURCES[ALONE[first.kind]] if first.kind in ALONE else ()))
    sources = [first, *(Source(path, *like) for path in paths[1:])]
    means = {role: _mean_of_role(sources, role, parts_of_mean) for role in first.roles()}
    if not means:
        raise FormatError(f"{first.path}: names no model in its model_index.json. Copy it again")
    if first.is_folder:
        return _write_folder(first.path, Path(out), means, parts_of_mean, tell)
    named = {mean.parts[0].names[plain]: e for mean in means.values() for plain, e in mean.entries.items()}
    left_out = tuple(name for name in first.weights if name.startswith("model_ema."))
    kept = {name: copied(first.weights, name) for name in first.weights if name not in left_out}
    inputs = [part.weights for mean in means.values() for part in mean.parts]
    size = write_safetensors(out, kept | named, origin("average", *inputs, shares=parts_of_mean), tell)
    return Written(Path(out), size, len(kept | named), len(named), left_out)


@dataclass(frozen=True)
class _Mean:
    parts: Sequence[Part]
    entries: Mapping[str, Entry]  # by the first part's names inside the model


def _shares(shares: Sequence[float] | None, count: int) -> list[float]:
    if count < 2:
        raise ConfigError("one checkpoint: its average is itself. Name two or more")
    shares = list(shares or [1.0] * count)
    if len(shares) != count:
        raise ConfigError(f"{len(shares)} weights for {count} checkpoints. Give one for each")
    if not all(0 <= share < float("inf") for share in shares) or not any(shares):
        raise ConfigError(f"weights {shares}: not those of an average. Give numbers of 0 or more, not all 0")
    shares = [share / max(shares) for share in shares]  # first, since the sum of huge ones is infinite
    return [share / sum(shares) for share in shares]


def _mean_of_role(sources: Sequence[Source], role: str, shares: Sequence[float]) -> _Mean:
    mean = _mean([source.part(role) for source in sources], shares)
    for other in sources[1:]:
        need_like_config(role, sources[0].config(role), other.config(role))
    return mean


def _mean(parts: Sequence[Part], shares: Sequence[float]) -> _Mean:
    first, pairs = parts[0], [match(parts[0], part) for part in parts]
    entries = {}
    for plain, name in first.names.items():
        places = [(part.weights, part.names[to[plain]]) for part, to in zip(parts, pairs, strict=True)]
        entries[plain] = mean_entry(places, shares, first.weights.shape(name))
    return _Mean(parts, entries)


def mean_entry(
    places: Sequence[tuple[Weights, str]], shares: Sequence[float], shape: tuple[int, ...]
) -> Entry:
    """The weighted mean of one tensor in several files, summed in float64, in the first one's dtype.

    Tensors that are not of floating point are the first one's.
    """
    weights, name = places[0]
    dtype = weights.dtype(name)
    if not dtype.is_floating_point:
        return copied(weights, name, shape)

    def blocks() -> Iterator[Tensor]:
        for pieces in zip(*(w.blocks(n, BLOCK) for w, n in places), strict=True):
            total = torch.zeros(len(pieces[0]), dtype=torch.float64)
            for share, piece in zip(shares, pieces, strict=True):
                if share:  # 0 times what is not a number is none either
                    total.add_(piece.double(), alpha=share)
            yield total.to(dtype)

    return Entry(dtype, shape, blocks)


def _write_folder(
    first: Path, out: Path, means: Mapping[str, _Mean], shares: Sequence[float], tell: Tell | None
) -> Written:
    size, count = 0, 0
    with new_folder(out) as folder:
        if whole := (first / "model_index.json").is_file():
            copy_rest(first, folder, list(means))
        else:
            write_json(folder / "config.json", read_json(first / "config.json"))
        for role, mean in means.items():
            metadata = origin("average", *(part.weights for part in mean.parts), shares=shares)
            size += write_part(folder / role if whole else folder, role, mean.entries, metadata, tell)
            count += len(mean.entries)
    return Written(out, size, count, count)


def _average_encoders(
    paths: Sequence[Path], out: Path, shares: Sequence[float], tell: Tell | None
) -> Written:
    for path in paths:
        if not Source(path, Kind.ADAFACE_ENCODER).is_folder:
            raise ConfigError(f"{path}: an encoder is a folder with a config.json. Name the folder")
    config = read_json(paths[0] / "config.json")
    origins = [config.pop(ORIGIN_KEY, None)]  # which file one came of says nothing about what it is
    for path in paths[1:]:
        other = read_json(path / "config.json")
        origins.append(other.pop(ORIGIN_KEY, None))
        apart = sorted(k for k in config.keys() | other.keys() if config.get(k) != other.get(k))
        if apart:
            raise FormatError(
                f"{path}: another encoder than {paths[0]}: {listing(apart)} differ in config.json. "
                "Average encoders of one architecture, recogniser and base"
            )
    whole = [open_tensors(path / f"model{SUFFIX}") for path in paths]
    mean = _mean([Part("encoder", False, w, {name: name for name in w}) for w in whole], shares)
    with new_folder(out) as folder:
        metadata = origin("average", *whole, shares=shares)
        told = {"average": json.dumps(origins), "shares": json.dumps(list(shares))} if any(origins) else {}
        write_json(folder / "config.json", config | {ORIGIN_KEY: told})
        size = write_safetensors(folder / f"model{SUFFIX}", mean.entries, metadata, tell)
    return Written(out, size, len(mean.entries), len(mean.entries))
