"""How like a person a picture is that is being learned, with gradients. Shapes: B, S pixels, D_id."""

from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from adaface.data.dataset import FaceDataset
from adaface.errors import ConfigError
from adaface.face.choose import largest
from adaface.face.detect import YuNet
from adaface.face.differentiable.network import SFace, embed
from adaface.face.differentiable.warp import MIRRORED
from adaface.face.recognize import SFACE
from adaface.pipelines.recognition import recognizer_name
from adaface.pipelines.stack import Stack
from adaface.recipes.base.chance import derived, normal, uniform

SEEN_PX = 256  # smaller pictures are enlarged to this before the detector sees them
_LOOK, _GRAIN, _HAND = range(3)  # what a picture's own numbers are for when it is changed


def likeness(
    recognizer: SFace,
    pictures: Tensor,
    ids: Tensor,
    mean: Tensor,
    seeds: Sequence[int] | None = None,
) -> Tensor:
    """How far pictures (B, 3, S, S) in -1..1 are like their ID embeddings (B, D_id): (B,), 0 without a face.

    The cosine to the person's own embedding minus that to `mean` (D_id,), which all faces share: a picture
    gains by what sets its person apart. seeds: one a picture; the recogniser sees the faces a little changed,
    so that marks that only it reads gain little. None: as they are.
    """
    landmarks, rows = landmarks_in(pictures)
    found = 0 * pictures.mean((1, 2, 3))  # a gradient of nothing where no face was found
    if not len(rows):
        return found
    faces, landmarks, rows = pictures[rows], landmarks.to(pictures.device), rows.to(pictures.device)
    if seeds is not None:
        faces, landmarks = changed(faces, landmarks, [seeds[row] for row in rows.tolist()])
    apart = (embed(recognizer, faces, landmarks) * (ids[rows] - mean)).sum(-1)
    return found.index_put((rows,), apart.to(found))


def changed(pictures: Tensor, landmarks: Tensor, seeds: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Pictures (B, 3, S, S) and landmarks (B, 5, 2): other colours, noise, a shaken hand, half mirrored.

    Each by its own seed alone.
    """
    look = uniform(derived(seeds, _LOOK), 7).to(pictures)
    grain = normal(derived(seeds, _GRAIN), *pictures.shape[1:]).to(pictures)
    hand = normal(derived(seeds, _HAND), *landmarks.shape[1:]).to(landmarks)
    gain, shift, coin = look[:, :3, None, None], look[:, 3:6, None, None], look[:, 6]
    pictures = pictures * (0.75 + 0.5 * gain) + 0.3 * (shift - 0.5) + 0.06 * grain
    landmarks = landmarks + 0.6 * hand
    mirrored = coin < 0.5
    turned = torch.stack([pictures.shape[-1] - 1 - landmarks[..., 0], landmarks[..., 1]], -1)[:, MIRRORED]
    return (
        torch.where(mirrored[:, None, None, None], pictures.flip(-1), pictures),
        torch.where(mirrored[:, None, None], turned, landmarks),
    )


def landmarks_in(pictures: Tensor) -> tuple[Tensor, Tensor]:
    """Landmarks (F, 5, 2) of the largest faces in pictures (B, 3, S, S) in -1..1, and whose rows (F,)."""
    detect = _detector()
    zoom = max(1.0, SEEN_PX / pictures.shape[-1])
    large = F.interpolate(pictures.detach().float(), scale_factor=zoom, mode="bicubic")
    arrays = ((large.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    faces = [largest(detect(array)) for array in arrays]
    rows = [row for row, face in enumerate(faces) if face is not None]
    marks = [torch.from_numpy(face.landmarks).float() / zoom for face in faces if face is not None]
    return torch.stack(marks) if marks else torch.zeros(0, 5, 2), torch.tensor(rows, dtype=torch.long)


@cache
def _detector() -> YuNet:
    """Opened once: it takes as long as to look at a picture, and a training step looks at few."""
    return YuNet()


def open_recognizer(stack: Stack, device: torch.device, setting: str) -> SFace:
    """The stack's recogniser, with gradients. Raises ConfigError: `setting` needs one, and it has none."""
    name = recognizer_name(stack)
    if name != SFACE.name:
        raise ConfigError(
            f'{setting}: of the recognisers, only "{SFACE.name}" gives gradients here, and stack '
            f'"{stack.name}" has "{name}". Give {setting}=0'
        )
    return SFace().to(device)


def mean_face(dataset: FaceDataset, device: torch.device) -> Tensor:
    """What all people of a data set share: the mean of their ID embeddings (D_id,)."""
    mean = np.asarray(dataset.id_embeddings).mean(0, dtype=np.float32)
    return torch.from_numpy(mean).to(device)
