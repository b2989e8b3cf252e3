"""Pictures as cached latents: k fixed augmentations of each, encoded once and read often.

One safetensors file beside the index, mapped; each latent is checked when it is read. Letters: N rows, k
augmentations a picture, B batch, C channels, S side of a picture, h x w size of a latent.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from adaface.data.augment import SCALE, Augment
from adaface.data.dataset import FaceDataset, Sample
from adaface.data.index import Column, header, open_columns, places
from adaface.errors import ConfigError, DatasetError, MissingFileError, ShapeError, WriteError
from adaface.files import half_written, need_room, write_atomic

LATENTS = "latents.safetensors"
KIND, VERSION = "adaface-latents", "1"
SAVE_S = 20.0  # seconds between two notes of how far it is: what a crash costs at most
_HALF, _NOTE = ".latents.half", ".latents.json"
_AGAIN = "Encode them again: adaface prepare ... --latents K --stack STACK"

Encode = Callable[[Tensor], Tensor]  # (B, 3, S, S) in [-1, 1] -> (B, C, h, w)
Tell = Callable[[int, int], None]  # rows done, rows in all


@dataclass(frozen=True, eq=False)
class CachedLatent:
    """One augmentation of a picture, as the denoiser sees it.

    latent: (C, h, w) float32, scaled as the VAE's config says. mask: (1, h, w) uint8, 1 where most of the
    pixels show the person. valid: (1, h, w) uint8, 1 where all pixels are photo. augment: the coins.
    """

    latent: Tensor
    mask: Tensor
    valid: Tensor
    augment: Augment


def vae_encode(vae: Any) -> Encode:
    """The encoder of a diffusers AutoencoderKL: mean of its posterior, shifted and scaled as its config says.

    The mean: what the posterior adds is noise far below that of any diffusion step.
    """
    return lambda images: vae_latents(vae, images)


@torch.no_grad()
def vae_latents(vae: Any, images: Tensor, noise: Tensor | None = None) -> Tensor:
    """What a diffusers AutoencoderKL makes of images (B, 3, S, S) in [-1, 1]: (B, C, h, w) float32, shifted
    and scaled as its config says.

    noise: of the posterior, (B, C, h, w); without it, the posterior's mean.
    """
    posterior = vae.encode(images.to(vae.device, vae.dtype)).latent_dist
    latents: Tensor = posterior.mean.float()
    if noise is not None:
        latents = latents + posterior.std.float() * noise.to(latents)
    shift = getattr(vae.config, "shift_factor", None) or 0.0
    return (latents - shift) * float(vae.config.scaling_factor)


def fixed_augments(key: str, count: int, seed: int, scale: tuple[float, float] = SCALE) -> list[Augment]:
    """The coins of a picture: of its name and the seed alone, so that they do not depend on its row.

    scale: least and most of `Augment.scale`.
    """
    number = int.from_bytes(hashlib.sha256(f"{seed}\0{key}".encode()).digest()[:8], "little")
    generator = torch.Generator().manual_seed(number % 2**63)
    return [_as_stored(Augment.draw(generator, scale=scale)) for _ in range(count)]


def encode_latents(
    dataset: FaceDataset,
    encode: Encode,
    *,
    count: int,
    seed: int,
    vae: str,
    batch_size: int = 8,
    scale: tuple[float, float] = SCALE,
    tell: Tell | None = None,
) -> Path:
    """Encode `count` augmentations of every picture into the data set's folder; an interrupted call goes on.

    encode: deterministic; as `vae_encode` gives. vae: names it, so that another one's latents are not taken
    for its. batch_size: pictures encoded at once. scale: of the augmentations, as of `fixed_augments`. tell:
    is told after each batch of rows.
    Raises ConfigError: a count or size below 1. ShapeError: what `encode` gives is no (B, C, h, w).
    WriteError: no room; what is done stays for the next call. And what reading a sample raises.
    """
    if count < 1 or batch_size < 1:
        raise ConfigError(f"count={count}, batch_size={batch_size}: give 1 or more")
    metadata = {"kind": KIND, "version": VERSION, "data": dataset.hash, "vae": vae, "seed": str(seed)}
    if scale != SCALE:
        metadata["scale"] = json.dumps(scale)
    step = max(1, batch_size // count)

    def columns_of(rows: Sequence[int]) -> dict[str, Column]:
        augments = [coins for row in rows for coins in fixed_augments(dataset.key(row), count, seed, scale)]
        with torch.no_grad():
            return _encoded(dataset, rows, augments, encode, batch_size)

    first = columns_of(range(min(step, len(dataset))))
    try:
        with _HalfFile(dataset.folder, len(dataset), first, metadata) as file:
            for row in range(file.done, len(dataset), step):
                rows = range(row, min(row + step, len(dataset)))
                file.write(row, columns_of(rows) if row else first)
                if tell:
                    tell(rows.stop, len(dataset))
    except OSError as error:
        raise WriteError(
            f"{dataset.folder / LATENTS}: not written ({error.strerror or error}). Free space and run again: "
            "it goes on where it was"
        ) from error
    return dataset.folder / LATENTS


class LatentCache:
    """What `encode_latents` wrote, open for reading; goes to another process as its data set.

    Raises MissingFileError: there are no latents. DatasetError: cut off, damaged, or of another data set.
    """

    def __init__(self, dataset: FaceDataset) -> None:
        path = dataset.folder / LATENTS
        if not path.is_file():
            raise MissingFileError(f"{path}: no latents here. Encode them: adaface prepare ... --latents K")
        self._dataset, self._path = dataset, path
        self._columns, metadata = open_columns(path)
        if metadata.get("kind") != KIND or metadata.get("version") != VERSION:
            raise DatasetError(f"{path}: not latents that this adaface reads. {_AGAIN}")
        if metadata.get("data") != dataset.hash:
            raise DatasetError(f"{path}: of another data set than {dataset.folder} holds now. {_AGAIN}")
        lacking = {"latent", "mask", "valid", "coins", "sha256"} - self._columns.keys()
        shape = () if lacking else self._columns["latent"].shape
        if len(shape) != 5 or shape[0] != len(dataset):
            raise DatasetError(f"{path}: its header is damaged (latent {shape}). {_AGAIN}")
        self.vae = metadata.get("vae", "")  # with which they were encoded
        self.count = int(shape[1])  # k
        self.shape: tuple[int, int, int] = (int(shape[2]), int(shape[3]), int(shape[4]))  # C, h, w

    @staticmethod
    def there(dataset: FaceDataset) -> bool:
        """Whether a data set has latents: its own, not those of one that lay in its folder before.

        Raises DatasetError: they are cut off or damaged.
        """
        path = dataset.folder / LATENTS
        return path.is_file() and open_columns(path)[1].get("data") == dataset.hash

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, place: tuple[int, int]) -> CachedLatent:
        """place: row, number of the augmentation.

        Raises IndexError: no such row or augmentation. DatasetError: it is not what was written.
        """
        row, k = place
        if not (-len(self) <= row < len(self) and 0 <= k < self.count):
            raise IndexError(f"row {row}, augmentation {k} of {len(self)}, {self.count}")
        latent, mask, valid, coins = (self._columns[name][row, k].copy() for name in _PARTS)
        if _digest([latent, mask, valid, coins]) != self._columns["sha256"][row, k].tobytes():
            raise DatasetError(
                f"{self._path}: the latent of {self._dataset.key(row)} (row {row}, augmentation {k}) is not "
                f"what was written. {_AGAIN}"
            )
        flip, scale, x, y = coins.tolist()
        return CachedLatent(
            latent=torch.from_numpy(latent).float(),
            mask=torch.from_numpy(mask)[None],
            valid=torch.from_numpy(valid)[None],
            augment=Augment(flip=bool(flip), scale=scale, shift_x=x, shift_y=y),
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._dataset,)


_PARTS = ("latent", "mask", "valid", "coins")


class _HalfFile:
    """The file while it grows, and a note of how far it is; it gets its name when it is whole."""

    def __init__(
        self, folder: Path, rows: int, first: Mapping[str, Column], metadata: Mapping[str, str]
    ) -> None:
        """first: the first rows of each column, for their types and shapes."""
        shapes = {name: (block.dtype, (rows, *block.shape[1:])) for name, block in first.items()}
        self._path, self._note, self._rows = folder / _HALF, folder / _NOTE, rows
        self._head, self._final = header(shapes, metadata), folder / LATENTS
        self._places = places(shapes, len(self._head))
        self._same = hashlib.sha256(self._head).hexdigest()  # a note about another job is none
        self.done, self._saved, self._handle = 0, time.monotonic(), -1

    def __enter__(self) -> Self:
        size = max(end for _, end in self._places.values())
        if self._finished(size):
            self.done = self._rows
            return self
        self.done = self._noted(size)
        if not self.done:
            need_room(self._final, size, "Free space and run again")
            self._path.write_bytes(self._head)
            os.truncate(self._path, size)
        self._handle = os.open(self._path, os.O_RDWR)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._handle < 0:  # it was finished before
            return
        try:
            if self.done:
                self._save()
            if kind is None:
                self._path.replace(self._final)
                self._note.unlink(missing_ok=True)
                for left in half_written(self._note):  # by a call that was killed
                    left.unlink()
            elif not self.done:
                self._path.unlink(missing_ok=True)
        finally:
            os.close(self._handle)

    def write(self, row: int, columns: Mapping[str, Column]) -> None:
        for name, block in columns.items():
            begin, end = self._places[name]
            data = memoryview(block.tobytes())
            at = begin + row * ((end - begin) // self._rows)
            while data:
                written = os.pwrite(self._handle, data, at)
                data, at = data[written:], at + written
        self.done = row + len(columns["latent"])
        if time.monotonic() - self._saved > SAVE_S:
            self._save()

    def _save(self) -> None:
        os.fsync(self._handle)
        text = json.dumps({"done": self.done, "same": self._same})
        write_atomic(self._note, lambda beside: beside.write_text(text))
        self._saved = time.monotonic()

    def _finished(self, size: int) -> bool:
        """Whether the very same latents are there already."""
        if not self._final.is_file() or self._final.stat().st_size != size:
            return False
        with self._final.open("rb") as stream:
            return stream.read(len(self._head)) == self._head

    def _noted(self, size: int) -> int:
        """Rows that an interrupted call has written, if it was about the same."""
        try:
            note = json.loads(self._note.read_text())
            if note["same"] == self._same and self._path.stat().st_size == size:
                return int(note["done"])
        except (OSError, ValueError, KeyError, TypeError):
            return 0
        return 0


def _encoded(
    dataset: FaceDataset, rows: Sequence[int], augments: Sequence[Augment], encode: Encode, batch_size: int
) -> dict[str, Column]:
    """Columns of some rows, (rows, k, ...). augments: k of each row, row by row."""
    samples: list[Sample] = []
    count = len(augments) // len(rows)
    for n, row in enumerate(rows):
        sample = dataset[row]
        samples += [coins.apply(sample) for coins in augments[n * count : (n + 1) * count]]
    latents = torch.cat(
        [_batch(encode, samples[at : at + batch_size]) for at in range(0, len(samples), batch_size)]
    )
    size = (latents.shape[-2], latents.shape[-1])
    masks, valids = (torch.stack([getattr(s, name) for s in samples]).float() for name in ("mask", "valid"))
    blocks: dict[str, Column] = {
        "latent": latents.to("cpu", torch.float16).numpy(),
        "mask": (F.adaptive_avg_pool2d(masks, size) >= 0.5)[:, 0].numpy().astype(np.uint8),
        "valid": (F.adaptive_avg_pool2d(valids, size) >= 1)[:, 0].numpy().astype(np.uint8),
        "coins": np.array([astuple(coins) for coins in augments], np.float32),
    }
    digests = [_digest([blocks[name][n] for name in _PARTS]) for n in range(len(samples))]
    blocks["sha256"] = np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 32)
    return {name: block.reshape(len(rows), count, *block.shape[1:]) for name, block in blocks.items()}


def _batch(encode: Encode, samples: Sequence[Sample]) -> Tensor:
    images = torch.stack([sample.image for sample in samples]).float() / 127.5 - 1
    latents = encode(images)
    if latents.ndim != 4 or len(latents) != len(images):
        raise ShapeError(f"encode: {tuple(latents.shape)} for {len(images)} pictures. Give (B, C, h, w)")
    return latents


def _digest(arrays: Sequence[Column]) -> bytes:
    total = hashlib.sha256()
    for array in arrays:
        total.update(np.ascontiguousarray(array).data)
    return total.digest()


def _as_stored(coins: Augment) -> Augment:
    """With numbers that float32 holds, as the file does."""
    numbers = (float(np.float32(n)) for n in (coins.scale, coins.shift_x, coins.shift_y))
    scale, x, y = numbers
    return Augment(flip=coins.flip, scale=scale, shift_x=x, shift_y=y)
