"""Pictures that a model draws from noise while it trains, and how like the person they are. Shapes: B, T, D.

A photo's noisy latents still show whose they are: a loss on what is predicted from them falls without the
context being read. Here only the context says who it is. Training through few-step drawings is PuLID's idea.
"""

from functools import cache, partial
from itertools import pairwise

import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from torch import Generator, Tensor

from adaface.face.choose import largest
from adaface.face.detect import YuNet
from adaface.face.differentiable.network import SFace, embed
from adaface.face.differentiable.warp import MIRRORED
from adaface.recipes.base.predictions import ddim_step

COARSE = 110  # timesteps that a step without gradients goes
HIGH, LOW = (450, 950), (120, 500)  # timesteps of the two predictions that have gradients
APART = 150  # that they are apart, at least
SEEN_PX = 256  # smaller pictures are enlarged to this before the detector sees them


def draw_latents(
    unet: UNet2DConditionModel,
    alphas: Tensor,
    context: Tensor,
    empty: Tensor,
    generator: Generator,
    *,
    guidance: float = 2.0,
    layout: Tensor | None = None,
) -> Tensor:
    """Clean latents (B, C, h, w) for contexts (B, T, D): guided DDIM from noise, in a few steps.

    Gradients flow through the last two of them, one where the picture is laid out and one where it is nearly
    sharp; their timesteps are drawn anew in each call. unet: one that predicts velocities. alphas: cumulative
    products of its schedule (steps,). empty: context (1, T, D) to be guided away from, without gradients.
    layout: (B,) bool, the pictures that get gradients through the first of the two as well; default: all.
    """
    empty = empty.detach().expand(len(context), -1, -1)
    both = torch.cat([empty, context.detach()])

    def guided(away: Tensor, towards: Tensor) -> Tensor:
        return away.float() + guidance * (towards.float() - away.float())

    @torch.no_grad()
    def coarse(latents: Tensor, timestep: int) -> Tensor:  # one call for both: small batches cost as much
        return guided(*unet(torch.cat([latents] * 2), timestep, both).sample.chunk(2))

    def learning(latents: Tensor, timestep: int) -> Tensor:
        with torch.no_grad():
            away: Tensor = unet(latents, timestep, empty).sample
        return guided(away, unet(latents, timestep, context).sample)

    step = partial(ddim_step, "v_prediction")
    high, low = _timesteps(generator)
    count = max(1, round((len(alphas) - 1 - high) / COARSE))
    first = [round(len(alphas) - 1 - (len(alphas) - 1 - high) * k / count) for k in range(count + 1)]
    size = unet.config.sample_size
    latents = torch.randn(len(context), unet.config.in_channels, size, size, generator=generator).to(context)
    for now, then in pairwise(first):
        latents = step(latents, coarse(latents, now), alphas[now], alphas[then])
    latents = step(latents, learning(latents, high), alphas[high], alphas[low])
    if layout is not None:
        latents = torch.where(layout.to(latents.device)[:, None, None, None], latents, latents.detach())
    return step(latents, learning(latents, low), alphas[low], torch.ones_like(alphas[low]))


def likeness(
    recognizer: SFace, pictures: Tensor, ids: Tensor, mean: Tensor, generator: Generator | None = None
) -> Tensor:
    """How far pictures (B, 3, S, S) in -1..1 are like their ID embeddings (B, D_id): (B,), 0 without a face.

    The cosine to the person's own embedding minus that to `mean` (D_id,), which all faces share: a picture
    gains by what sets its person apart. generator: the recogniser sees the faces a little changed, so that
    marks that only it reads gain little; None: as they are.
    """
    landmarks, rows = landmarks_in(pictures)
    found = torch.zeros(len(pictures), device=pictures.device)
    if not len(rows):
        return found
    faces, landmarks, rows = pictures[rows], landmarks.to(pictures.device), rows.to(pictures.device)
    if generator is not None:
        faces, landmarks = changed(faces, landmarks, generator)
    apart = (embed(recognizer, faces, landmarks) * (ids[rows] - mean)).sum(-1)
    return found.index_put((rows,), apart.float())


def changed(pictures: Tensor, landmarks: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    """Pictures (B, 3, S, S) and landmarks (B, 5, 2): other colours, noise, a shaken hand, half mirrored."""
    count, device = len(pictures), pictures.device

    def draw(*shape: int) -> Tensor:
        return torch.rand(count, *shape, generator=generator).to(device)

    pictures = pictures * (0.75 + 0.5 * draw(3, 1, 1)) + 0.3 * (draw(3, 1, 1) - 0.5)
    pictures = pictures + 0.06 * torch.randn(pictures.shape, generator=generator).to(device)
    landmarks = landmarks + 0.6 * torch.randn(landmarks.shape, generator=generator).to(device)
    mirrored = draw() < 0.5
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


def _timesteps(generator: Generator) -> tuple[int, int]:
    one, two = torch.rand(2, generator=generator).tolist()
    high = round(HIGH[0] + (HIGH[1] - HIGH[0]) * one)
    return high, round(LOW[0] + (min(high - APART, LOW[1]) - LOW[0]) * two)
