"""Face packs -> training crops with landmarks and ID embeddings. Shapes: N pictures, S=80 or 64 pixels."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from adaface.errors import MissingFileError

FULL_PACKS = ("lfw_64", "celeba_wild_64")  # FFHQ framing in the central 64 of 80 pixels
CLOSE_PACK = "utkface_64"  # tighter framing, with age and gender labels
MIN_VALID = 0.9  # share of the core square that lies inside the photo
TRAIN, HELD_OUT, VALIDATION = range(3)  # splits; the packs themselves know the first two
EVERY = 12  # of the people to train on with two photos or more, every twelfth is kept for validation
WRONG_LABEL = 0.3  # cosine to the person's other photos below which the label is doubted


@dataclass(frozen=True, kw_only=True)
class FacePack:
    """Crops of one framing.

    images: (N, 3, S, S) uint8. landmarks: (N, 5, 2) float32, crop pixels, image-left eye first.
    ids: (N, D_id) float32 unit vectors of the full-size photos. person: (N,) int64, -1 where nobody is named.
    age, gender: (N,) int64, -1 unknown; gender 0 male, 1 female.
    """

    images: Tensor
    landmarks: Tensor
    ids: Tensor
    person: Tensor
    age: Tensor
    gender: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def take(self, rows: Tensor) -> "FacePack":
        """The pack of these rows, in this order."""
        return FacePack(**{name: getattr(self, name)[rows] for name in self.__dataclass_fields__})


def load_full(folder: str | Path, *, split: int, clean: bool = True) -> FacePack:
    """LFW and CelebA crops of 80 pixels.

    split: TRAIN; VALIDATION, people to look at while decisions are made; HELD_OUT, people to look at last.
    Neither of the two is trained on. clean: leave out crops that reach beyond their photo, and photos that do
    not look like their person.
    Raises MissingFileError: a pack is not in `folder`.
    """
    parts, offset = [], 0
    for name in FULL_PACKS:
        pack = _open(folder, name)
        keep = np.flatnonzero(_keep(pack, HELD_OUT if split == HELD_OUT else TRAIN, clean))
        person = pack["pid"].astype(np.int64) + offset
        offset = int(person.max()) + 1
        parts.append(_pack(pack, keep, person))
    everyone = _join(parts)
    if split == HELD_OUT:
        return everyone
    photos = torch.bincount(everyone.person)[everyone.person]
    validation = (everyone.person % EVERY == 0) & (photos > 1)
    return everyone.take((validation if split == VALIDATION else ~validation).nonzero()[:, 0])


def load_close(folder: str | Path) -> FacePack:
    """UTKFace chips of 64 pixels with age and gender labels; nobody in them is named.

    Raises MissingFileError: the pack is not in `folder`.
    """
    pack = _open(folder, CLOSE_PACK)
    keep = np.flatnonzero(pack["valid"] > MIN_VALID)
    return _pack(pack, keep, np.full(len(pack["valid"]), -1, np.int64))


def _open(folder: str | Path, name: str) -> dict[str, np.ndarray]:
    path = Path(folder) / f"{name}.npz"
    if not path.is_file():
        raise MissingFileError(f"{path}: no such face pack. Give --data the folder that holds {name}.npz")
    with np.load(path, allow_pickle=False) as pack:
        return {key: pack[key] for key in pack.files}


def _keep(pack: dict[str, np.ndarray], split: int, clean: bool) -> np.ndarray:
    keep: np.ndarray = pack["split"] == split
    if clean:
        doubted = pack["sim_own"].astype(np.float32) < WRONG_LABEL  # NaN (single photos) compares False
        keep &= (pack["valid"] > MIN_VALID) & ~doubted
    return keep


def _pack(pack: dict[str, np.ndarray], keep: np.ndarray, person: np.ndarray) -> FacePack:
    raw, off = pack["data"], pack["off"]
    images = np.stack([_decode(raw[off[i] : off[i + 1]]) for i in keep])
    ids = torch.from_numpy(pack["emb"][keep].astype(np.float32))
    unknown = np.full(len(pack["off"]) - 1, -1, np.int64)
    return FacePack(
        images=torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(),
        landmarks=torch.from_numpy(pack["lm"][keep].astype(np.float32)),
        ids=torch.nn.functional.normalize(ids, dim=-1),
        person=torch.from_numpy(person[keep]),
        age=torch.from_numpy(pack.get("age", unknown)[keep].astype(np.int64)),
        gender=torch.from_numpy(pack.get("gender", unknown)[keep].astype(np.int64)),
    )


def _decode(data: np.ndarray) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data.tobytes())).convert("RGB"))


def _join(parts: Sequence[FacePack]) -> FacePack:
    return FacePack(
        **{name: torch.cat([getattr(p, name) for p in parts]) for name in FacePack.__dataclass_fields__}
    )
