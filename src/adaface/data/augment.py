"""A picture moved within its frame: mirrored, made smaller, shifted; by coins that are plain numbers.

Letters: S side of a picture. Source: the original's data loader, without two of its faults: the shift
keeps within the empty margin instead of rolling the picture around the border, and pixels are averaged.
"""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from adaface.data.dataset import Sample
from adaface.errors import ConfigError

FLIP = 0.5  # share of pictures that are mirrored (original: p = .5)
SCALE = (0.7, 1.0)  # side of the picture in its frame (original: --rand_scale_range .7 1)
_MIRRORED = [1, 0, 2, 4, 3]  # landmarks: right and left change places


@dataclass(frozen=True, kw_only=True)
class Augment:
    """The coins of one augmentation; `Augment()` changes nothing.

    flip: mirrored. scale: in (0, 1], the picture's side in the frame; around it is nothing (black, valid 0).
    shift_x, shift_y: in [-1, 1], where in the free margin: -1 left or top, 0 middle, 1 right or bottom.
    Raises ConfigError: a number outside of these.
    """

    flip: bool = False
    scale: float = 1.0
    shift_x: float = 0.0
    shift_y: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.scale <= 1:
            raise ConfigError(f"scale={self.scale}: give a number above 0, at most 1")
        if not (-1 <= self.shift_x <= 1 and -1 <= self.shift_y <= 1):
            raise ConfigError(f"shift_x={self.shift_x}, shift_y={self.shift_y}: give numbers from -1 to 1")

    @classmethod
    def draw(
        cls, generator: Generator, *, flip: float = FLIP, scale: tuple[float, float] = SCALE
    ) -> "Augment":
        """Throw the coins; always four numbers of the generator, whatever they decide.

        flip: chance to be mirrored. scale: from, to.
        """
        if not 0 <= flip <= 1 or not 0 < scale[0] <= scale[1] <= 1:
            raise ConfigError(f"flip={flip}, scale={scale}: give a chance, and two sizes in (0, 1] in order")
        coins = torch.rand(4, generator=generator, dtype=torch.float64, device=generator.device).tolist()
        return cls(
            flip=coins[0] < flip,
            scale=scale[0] + (scale[1] - scale[0]) * coins[1],
            shift_x=2 * coins[2] - 1,
            shift_y=2 * coins[3] - 1,
        )

    def apply(self, sample: Sample) -> Sample:
        """The sample as the coins say: image, mask, valid and landmarks move together; all else stays.

        The mask is 0 outside of the picture if it is known, and 1 everywhere if it is not.
        """
        size = sample.image.shape[-1]
        side = max(1, round(self.scale * size))
        left, top = (round((size - side) * (1 + shift) / 2) for shift in (self.shift_x, self.shift_y))
        landmarks = (sample.landmarks + 0.5) * (side / size) - 0.5
        image, mask, valid = sample.image, sample.mask, sample.valid
        if self.flip:
            image, mask, valid = image.flip(-1), mask.flip(-1), valid.flip(-1)
            landmarks = landmarks[_MIRRORED] * landmarks.new_tensor([-1.0, 1.0])
            landmarks = landmarks + landmarks.new_tensor([side - 1.0, 0.0])
        return replace(
            sample,
            image=_placed(_smaller(image, side), size, left, top),
            mask=_placed(_least(mask, side), size, left, top) if sample.has_mask else sample.mask,
            valid=_placed(_least(valid, side), size, left, top),
            landmarks=landmarks + landmarks.new_tensor([left, top]),
        )


def _smaller(image: Tensor, side: int) -> Tensor:
    """(C, S, S) uint8 -> (C, side, side) uint8, averaged."""
    if side == image.shape[-1]:
        return image
    # torch resizes uint8 pictures as such, and several times faster than float ones
    return F.interpolate(image[None], (side, side), mode="bilinear", antialias=True)[0]


def _least(mask: Tensor, side: int) -> Tensor:
    """(1, S, S) of 0 and 1 -> (1, side, side) of 0 and 1: the majority of what a pixel covers."""
    if bool(mask.all()):  # nothing is left out, as of most photos
        return mask.new_ones(1, side, side)
    return _smaller(mask * 255, side) // 128


def _placed(picture: Tensor, size: int, left: int, top: int) -> Tensor:
    """(C, side, side) -> (C, S, S), with nothing around it."""
    side = picture.shape[-1]
    return F.pad(picture, (left, size - side - left, top, size - side - top))
