"""The same picture twice: by its bytes, or by how it looks. Letters: N pictures."""

from collections.abc import Iterator
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from adaface.face.types import Pixels

SIDE, BITS = 8, 64  # the hash: signs of 8 x 8 low frequencies of the crop at 32 x 32
PORTRAIT = 16  # side of the grey middle of the crop that settles it
MIDDLE = (0.2, 0.8)  # of the crop: the face, without what a cut takes away first
# Both must hold: few different bits, and a correlation of the portraits that no other expression reaches.
# Of the pairs of LFW photos of one person that are alike at all, 0.96 parts copies from the next shot of a
# series; of photos saved again at quality 60 with 2 px cut off, 95 % reach 0.95, at half the size 0.98.
NEAR_BITS, NEAR_CORRELATION = 12, 0.96
_BLOCKS = (
    8  # of the hash; any two equal blocks make two pictures candidates: all pairs within 6 bits are seen
)
_MOST_ALIKE = 64  # neighbours that each picture is compared with in one table
_MANY = 2000  # above it, not all pairs are compared


def fingerprint(crop: Pixels) -> int:
    """Perceptual hash of a crop (S, S, 3): 64 bits; pictures that look alike differ in few of them."""
    import cv2

    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (4 * SIDE, 4 * SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    low = cv2.dct(small)[:SIDE, :SIDE].reshape(-1)[1:]  # without the mean
    bits = np.append(low > np.median(low), False)
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def portrait(crop: Pixels) -> NDArray[np.uint8]:
    """The face in the middle of a crop (S, S, 3), grey and small: (256,)."""
    import cv2

    begin, end = (round(len(crop) * share) for share in MIDDLE)
    grey = cv2.cvtColor(np.ascontiguousarray(crop[begin:end, begin:end]), cv2.COLOR_RGB2GRAY)
    small: NDArray[np.uint8] = cv2.resize(grey, (PORTRAIT, PORTRAIT), interpolation=cv2.INTER_AREA)
    return small.reshape(-1)


def near_pairs(fingerprints: NDArray[np.uint64], portraits: NDArray[np.uint8]) -> list[tuple[int, int]]:
    """Pairs (i, j), i < j, of pictures that are nearly the same; sorted.

    fingerprints: (N,). portraits: (N, 256). Of many pictures, those pairs are seen whose hashes agree in
    two of eight blocks: all within 6 bits, and most within 12.
    """
    pairs: set[tuple[int, int]] = set()
    for i, j in _candidates(fingerprints):
        near = np.flatnonzero(_distance(fingerprints[i], fingerprints[j]) <= NEAR_BITS)
        a, b = np.minimum(i[near], j[near]), np.maximum(i[near], j[near])
        alike = _correlation(portraits[a], portraits[b]) >= NEAR_CORRELATION
        pairs.update(zip(a[alike].tolist(), b[alike].tolist(), strict=True))
    return sorted(pairs)


def _correlation(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Of portraits (n, 256), row by row: blind to brightness and contrast."""
    x, y = (values.astype(np.float32) - values.mean(1, keepdims=True, dtype=np.float32) for values in (a, b))
    length = np.sqrt((x * x).sum(1) * (y * y).sum(1))
    result: NDArray[np.float32] = (x * y).sum(1) / np.maximum(length, 1e-6)
    return result


def _candidates(values: NDArray[np.uint64]) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    if len(values) < 2:
        return
    if len(values) <= _MANY:
        yield np.triu_indices(len(values), 1)
        return
    width = np.uint64(BITS // _BLOCKS)
    blocks = [(values >> (np.uint64(k) * width)) & np.uint64(255) for k in range(_BLOCKS)]
    for a, b in combinations(range(_BLOCKS), 2):
        table = blocks[a] * np.uint64(256) + blocks[b]
        order = np.argsort(table, kind="stable")
        for step in range(1, _MOST_ALIKE + 1):
            same = np.flatnonzero(table[order[step:]] == table[order[:-step]])
            if not len(same):
                break
            yield order[same], order[same + step]


def _distance(a: NDArray[np.uint64], b: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Bits in which hashes differ."""
    different = np.ascontiguousarray(a ^ b).view(np.uint8).reshape(-1, 8)
    counts: NDArray[np.int64] = _ONES[different].sum(1)
    return counts


_ONES = np.array([bin(value).count("1") for value in range(256)], np.int64)
