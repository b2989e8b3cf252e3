"""Person segmenter for 64-pixel faces: picture -> background, face, rest. Shapes: B, N, S pixels."""

import csv
import io
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Generator, Tensor, nn

from adaface.errors import MissingFileError
from adaface.face.differentiable.warp import apply, resample
from adaface.mini.world.geometry import SIZE

CLASSES = ("background", "face", "rest")
PORTRAITS = "portraits_masks.zip"
HELD_OUT = 10  # every tenth portrait is never trained on


class Segmenter(nn.Module):
    """A small U-Net; pictures (B, 3, S, S) in 0..1, S divisible by 8 -> logits (B, 3, S, S) over CLASSES."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        widths = (width, width * 2, width * 3, width * 4)
        self.down = nn.ModuleList(_block(a, b) for a, b in zip((3, *widths[:-1]), widths, strict=True))
        self.up = nn.ModuleList(_block(widths[i] + widths[i - 1], widths[i - 1]) for i in (3, 2, 1))
        self.head = nn.Conv2d(width, len(CLASSES), 1)

    def forward(self, pictures: Tensor) -> Tensor:
        """Pictures (B, 3, S, S) in 0..1 -> logits (B, 3, S, S)."""
        x, kept = pictures * 2 - 1, []
        for i, block in enumerate(self.down):
            x = block(F.max_pool2d(x, 2) if i else x)
            kept.append(x)
        for block, skip in zip(self.up, kept[-2::-1], strict=True):
            x = block(torch.cat([F.interpolate(x, scale_factor=2.0, mode="nearest"), skip], 1))
        logits: Tensor = self.head(x)
        return logits

    @torch.no_grad()
    def person(self, pictures: Tensor) -> Tensor:
        """Share of person in each pixel: (B, 3, S, S) in 0..1 -> (B, 1, S, S) in 0..1."""
        return 1 - self(pictures).softmax(1)[:, :1]


def _block(inner: int, outer: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inner, outer, 3, padding=1),
        nn.GroupNorm(8, outer),
        nn.SiLU(),
        nn.Conv2d(outer, outer, 3, padding=1),
        nn.GroupNorm(8, outer),
        nn.SiLU(),
    )


def load_portraits(folder: str | Path) -> tuple[Tensor, Tensor]:
    """Portraits (N, 3, 128, 128) uint8 and labels (N, 128, 128) int64 over CLASSES.

    Raises MissingFileError: the archive is not in `folder`.
    """
    path = Path(folder) / PORTRAITS
    if not path.is_file():
        raise MissingFileError(f"{path}: no such archive. Give --data the folder that holds {PORTRAITS}")
    images, labels = [], []
    with zipfile.ZipFile(path) as archive:
        for row in csv.DictReader(io.TextIOWrapper(archive.open("index.csv"))):
            images.append(_read(archive, f"images/{row['id']}.jpg", "RGB"))
            labels.append(_read(archive, f"masks/{row['id']}.png", "L"))
    mask = torch.from_numpy(np.stack(labels)).long()
    label = torch.where(mask == 0, 0, torch.where(mask <= 12, 1, 2))
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous(), label


def _read(archive: zipfile.ZipFile, name: str, mode: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(archive.read(name))).convert(mode))


def split(count: int) -> tuple[Tensor, Tensor]:
    """Rows of the portraits to train on, and rows held out."""
    rows = torch.arange(count)
    return rows[rows % HELD_OUT != 0], rows[rows % HELD_OUT == 0]


def augment(images: Tensor, labels: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    """Random 64-pixel views of portraits: scale, shift, tilt, mirror, light, grey, noise.

    images: (B, 3, 128, 128) uint8. labels: (B, 128, 128) int64. Returns pictures (B, 3, 64, 64) in 0..1 and
    shares of the classes (B, 3, 64, 64).
    """
    count = len(images)
    draw = torch.rand(8, count, generator=generator)
    maps = _views(draw)
    x = resample(F.avg_pool2d(images.float() / 255, 3, 1, 1), maps, SIZE)
    y = resample(F.one_hot(labels, len(CLASSES)).permute(0, 3, 1, 2).float(), maps, SIZE)
    tint = 0.7 + 0.6 * torch.rand(count, 3, 1, 1, generator=generator)
    x = (x * tint + 0.15 * (draw[4] - 0.5)[:, None, None, None]).clamp(0, 1)
    x = torch.where((draw[5] < 0.15)[:, None, None, None], x.mean(1, keepdim=True).expand_as(x), x)
    x = x + 0.03 * draw[6][:, None, None, None] * torch.randn(x.shape, generator=generator)
    return x.clamp(0, 1), y


def _views(draw: Tensor) -> Tensor:
    """Maps from pixels of a view to those of its portrait (B, 2, 3). draw: (8, B) in 0..1."""
    scale = 1.55 + 0.85 * draw[0]  # portrait pixels a pixel
    sign = torch.where(draw[7] < 0.5, -1.0, 1.0)  # -1 mirrors
    turn = (draw[1] - 0.5) * 0.5
    cos, sin = scale * torch.cos(turn), scale * torch.sin(turn)
    rows = torch.stack([torch.stack([cos * sign, -sin], -1), torch.stack([sin * sign, cos], -1)], 1)
    centre = torch.stack([63.5 + (draw[2] - 0.5) * 24, 63.5 + (draw[3] - 0.5) * 24], -1)
    shift = centre - apply(rows, torch.full((2,), (SIZE - 1) / 2))
    return torch.cat([rows, shift[..., None]], -1)


def view(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Whole portraits at 64 pixels: pictures (B, 3, 64, 64) in 0..1, labels (B, 64, 64) int64.

    images, labels: as for `augment`.
    """
    soft = F.one_hot(labels, len(CLASSES)).permute(0, 3, 1, 2).float()
    return F.avg_pool2d(images.float() / 255, 2), F.avg_pool2d(soft, 2).argmax(1)


def intersection_over_union(predicted: Tensor, truth: Tensor) -> dict[str, float]:
    """IoU of person and of background; predicted, truth: (N, S, S) int64 over CLASSES."""
    result = {}
    for name, a, b in (("person", predicted > 0, truth > 0), ("background", predicted == 0, truth == 0)):
        result[name] = float((a & b).sum() / (a | b).sum())
    return result


@dataclass
class SegmenterRecipe:
    """Cross-entropy against soft labels of augmented portraits."""

    segmenter: Segmenter
    images: Tensor
    labels: Tensor
    batch: int = 24
    modules: dict[str, nn.Module] = field(init=False)

    def __post_init__(self) -> None:
        self.modules = {"segmenter": self.segmenter}
        self.rows = split(len(self.images))[0]

    def step(self, generator: Generator) -> dict[str, Tensor]:
        """One batch of portraits."""
        rows = self.rows[torch.randint(len(self.rows), (self.batch,), generator=generator)]
        pictures, target = augment(self.images[rows], self.labels[rows], generator)
        device = next(self.segmenter.parameters()).device
        scores = self.segmenter(pictures.to(device)).float().log_softmax(1)
        return {"cross_entropy": -(target.to(device) * scores).sum(1).mean()}

    def sample(self) -> Image.Image | None:
        """Nothing to see: the world's contact sheet shows the masks at work."""
        return None

    @torch.no_grad()
    def score(self) -> dict[str, float]:
        """IoU of person and background on the portraits that were held out."""
        pictures, truth = view(*(t[split(len(self.images))[1]] for t in (self.images, self.labels)))
        self.segmenter.eval()
        device = next(self.segmenter.parameters()).device
        return intersection_over_union(self.segmenter(pictures.to(device)).argmax(1).cpu(), truth)
