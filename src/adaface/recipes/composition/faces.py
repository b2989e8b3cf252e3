"""Faces in pictures that are being learned: where they are, and how unlike the person. B, S pixels, h, w."""

from collections.abc import Sequence

import torch
from torch import Tensor

from adaface.face.differentiable.network import SFace, embed
from adaface.recipes.base.drawn import changed, landmarks_in
from adaface.training.plan import sample_generator

REACH = 1.25  # of a face, in units of the distance from between the eyes to between the mouth's corners


def face_places(landmarks: Tensor, rows: Tensor, count: int, size: int, side: tuple[int, int]) -> Tensor:
    """Where the faces are: (B, 1, h, w), 1 within `REACH` of a face's middle, fading over one place; 0 else.

    landmarks: (F, 5, 2) in pixels of pictures of `size`. rows: (F,), whose they are, of `count` pictures.
    """
    eyes, mouth = landmarks[:, :2].mean(1), landmarks[:, 3:].mean(1)  # (F, 2)
    middle, reach = (eyes + mouth) / 2, REACH * (eyes - mouth).norm(dim=-1)
    high, wide = side
    y, x = torch.meshgrid(
        (torch.arange(high) + 0.5) * size / high, (torch.arange(wide) + 0.5) * size / wide, indexing="ij"
    )
    places = torch.zeros(count, 1, high, wide)
    for row, (left, top), far in zip(rows.tolist(), middle.tolist(), reach.tolist(), strict=True):
        distance = ((x - left) ** 2 + (y - top) ** 2).sqrt()
        places[row, 0] = (0.5 + (far - distance) * high / size).clamp(0, 1)
    return places


def unlike(recognizer: SFace, pictures: Tensor, faces: Tensor, mean: Tensor, seeds: Sequence[int]) -> Tensor:
    """1 - likeness of pictures (B, 3, S, S) in -1..1 to ID embeddings (B, D_id): (B,).

    Likeness: the cosine to the own embedding minus that to `mean` (D_id,), as `adaface.recipes.base.drawn`
    has it. The recogniser sees each face a little changed, by the sample's own seed. Without a face: 1, and a
    gradient of zeros.
    """
    landmarks, rows = landmarks_in(pictures)
    result = 1 + 0 * pictures.mean((1, 2, 3))  # with a gradient of nothing where no face was found
    if not len(rows):
        return result
    pairs = [
        changed(pictures[[row]], marks[None].to(pictures.device), sample_generator(seeds[row]))
        for row, marks in zip(rows.tolist(), landmarks, strict=True)
    ]
    seen, marks = (torch.cat(parts) for parts in zip(*pairs, strict=True))
    likeness = (embed(recognizer, seen, marks) * (faces[rows] - mean)).sum(-1)
    return result.index_put((rows.to(result.device),), 1 - likeness.to(result))
