"""People who were never trained on, and how near to them a picture is. Shapes: P people, D_id, F faces."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from adaface.errors import ConfigError
from adaface.face.align import align as align_face
from adaface.face.choose import largest
from adaface.face.detect import YuNet
from adaface.face.differentiable.network import SFace
from adaface.face.types import FaceRecognizer
from adaface.mini.world.data import HELD_OUT, FacePack, load_full

ZOOM = 4  # generated 64-pixel pictures are enlarged before the detector sees them
OTHERS = 10  # photos of a person that score, at most

Row = NDArray[np.float64]
Crops = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """People who were never trained on: one photo makes the identity, the others score it.

    given: rows of `pack` (P,). others: ID embeddings of the other photos, at most ten a person: P tensors
    (n_p, D_id). rows: where those stand in `pack`: P tensors (n_p,).
    """

    pack: FacePack
    given: Tensor
    others: list[Tensor]
    rows: list[Tensor] = dataclasses.field(default_factory=list)

    @property
    def ids(self) -> Tensor:
        """ID embeddings of the given photos: (P, D_id)."""
        return self.pack.ids[self.given]


def held_out(data: str | Path, people: int, seed: int = 0, split: int = HELD_OUT) -> HeldOut:
    """So many people with at least two photos each, drawn by `seed`; the same for every model.

    split: HELD_OUT, or VALIDATION while decisions are made.

    Raises ConfigError: there are fewer, or fewer than two are asked for.
    """
    pack = load_full(data, split=split)
    generator = torch.Generator().manual_seed(seed)
    rows_of = {int(p): (pack.person == p).nonzero()[:, 0] for p in pack.person.unique()}
    names = [p for p, rows in rows_of.items() if len(rows) > 1]
    if not 2 <= people <= len(names):
        raise ConfigError(
            f"people={people} with two photos or more: {data} has {len(names)} such people in that split. "
            f"Give 2 to {len(names)}"
        )
    chosen = [names[i] for i in torch.randperm(len(names), generator=generator)[:people]]
    mixed = [rows_of[p][torch.randperm(len(rows_of[p]), generator=generator)] for p in chosen]
    scored = [rows[1 : 1 + OTHERS] for rows in mixed]
    return HeldOut(
        pack=pack,
        given=torch.stack([rows[0] for rows in mixed]),
        others=[pack.ids[rows] for rows in scored],
        rows=scored,
    )


def seen_by(recognizer: FaceRecognizer, people: HeldOut) -> HeldOut:
    """The same people, their other photos embedded by another recogniser (from the 80-pixel crops)."""
    images = people.pack.images.permute(0, 2, 3, 1).numpy()
    marks = people.pack.landmarks.numpy()
    others = [
        torch.from_numpy(recognizer(np.stack([align_face(images[i], marks[i]) for i in rows])))
        for rows in people.rows
    ]
    return dataclasses.replace(people, others=others)


def margins(vectors: Tensor, found: Tensor, people: HeldOut) -> Row:
    """Per person (P,): mean cosine to other photos of the person, minus to those of all others.

    vectors: (P, D_id) of what was drawn for each. found: (P,) bool; the margin is 0 where no face was found.
    """
    own = torch.stack([(v * o).sum(-1).mean() for v, o in zip(vectors, people.others, strict=True)])
    centres = torch.stack([o.mean(0) for o in people.others])  # mean cosine = cosine with the mean vector
    cosines = vectors @ centres.T
    count = len(vectors)
    strangers = (cosines.sum(1) - cosines.diagonal()) / (count - 1)
    return np.asarray(torch.where(found, own - strangers, torch.zeros(())).double())


def find(pictures: Sequence[Image.Image]) -> tuple[Crops, Tensor]:
    """Aligned crops (N, 112, 112, 3) of the largest faces in enlarged pictures, and where one was found (N,).

    A picture without a face has a black crop.
    """
    detect = YuNet()
    crops, found = [], []
    for picture in pictures:
        large = np.asarray(
            picture.convert("RGB").resize([side * ZOOM for side in picture.size], Image.Resampling.BICUBIC)
        )
        faces = detect(large)
        found.append(bool(faces))
        best = largest(faces)
        crops.append(align_face(large, best.landmarks) if best else np.zeros((112, 112, 3), np.uint8))
    return np.stack(crops), torch.tensor(found)


@torch.no_grad()
def embed_crops(recognizer: SFace, crops: Crops) -> Tensor:
    """Aligned crops (N, 112, 112, 3) -> vectors (N, D_id) on the CPU, computed where the recogniser is."""
    device = next(recognizer.buffers()).device
    faces = torch.from_numpy(crops).permute(0, 3, 1, 2).float()
    return torch.cat([recognizer(chunk.to(device)).cpu() for chunk in faces.split(32)])
