"""Where faces are in the latents of pictures that are being learned. B, F faces, S pixels, h, w."""

import torch
from torch import Tensor

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
