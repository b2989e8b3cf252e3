"""Real photos as the cells' words say: what a drawn picture would be at its best. P people, S pixels."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from adaface.data.prepare.looking.crop import cut, head_frame, moved
from adaface.face.types import Face, Pixels
from adaface.mini.evidence.design import Cells
from adaface.mini.gates import composed
from adaface.mini.measuring import load_segmenter
from adaface.mini.recipes.latents import World
from adaface.mini.world.data import FacePack
from adaface.mini.world.geometry import SIZE
from adaface.pipelines.stack import Stack

WIDE = 80  # pixels of a pack's crops, whose central 64 are FFHQ's frame


def composed_cells(
    cells: Cells, pack: FacePack, stack: Stack, given: Sequence[Image.Image], seed: int
) -> list[Image.Image]:
    """The photos (P,) of a pack as each cell's words say; `given`, the photos themselves, for plain cells."""
    world = World(
        pack, pack.take(torch.arange(0)), load_segmenter(stack.path("world") / "segmenter.safetensors")
    )
    generator = torch.Generator().manual_seed(seed)
    made = [given[cell.person] for cell in cells.cells]
    for kind, facts in cells.scenes.items():
        some = cells.of(kind)
        rows = torch.tensor([cells.cells[n].person for n in some])
        for n, picture in zip(some, composed(world, rows, facts, generator), strict=True):
            made[n] = picture
    return made


def pack_of(photo: Pixels, face: Face) -> FacePack:
    """One photo (H, W, 3) as a pack of one, framed as the packs' are."""
    matrix = head_frame(face.landmarks, WIDE / SIZE).matrix(WIDE)
    unknown = torch.tensor([-1])
    return FacePack(
        images=torch.from_numpy(cut(photo, matrix, WIDE)).permute(2, 0, 1)[None],
        landmarks=torch.from_numpy(moved(face.landmarks, matrix))[None],
        ids=torch.from_numpy(face.id_embedding)[None],
        person=torch.zeros(1, dtype=torch.long),
        age=unknown,
        gender=unknown,
    )


def framed(pack: FacePack) -> list[Image.Image]:
    """A pack's photos (P,) in FFHQ's frame, as its pictures are drawn."""
    edge = (WIDE - SIZE) // 2
    side = slice(edge, edge + SIZE)
    return [Image.fromarray(one.permute(1, 2, 0).numpy()) for one in pack.images[:, :, side, side]]


def images_of(pictures: Tensor) -> list[Image.Image]:
    """Pictures (N, 3, S, S) in -1..1."""
    pixels: NDArray[np.uint8] = (
        ((pictures.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
    )
    return [Image.fromarray(one) for one in pixels]
