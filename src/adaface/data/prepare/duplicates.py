"""The same picture twice: by its bytes, or by how it looks. Letters: N pictures."""

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from adaface.face.types import Floats, Pixels

SIDE, BITS = 8, 64  # the hash: signs of 8 x 8 low frequencies of the crop at 32 x 32
# Both must hold. Of 30,372 pairs of different LFW photos of one person 114 are within 12 bits and 47 above a
# cosine of 0.9, 13 both; of 40 photos saved again (quality 30 or 60, half the size, 2 px or 10 % cut off,
# brighter, grey) 97 % are within 12 bits, and all but the grey ones keep 0.89 or more.
NEAR_BITS, NEAR_COSINE = 12, 0.88
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


def near_pairs(
    fingerprints: NDArray[np.uint64], embeddings: Sequence[Floats] | Floats
) -> list[tuple[int, int]]:
    """Pairs (i, j), i < j, of pictures that are nearly the same; sorted.

    fingerprints: (N,). embeddings: N unit ID embeddings. Of many pictures, those pairs are seen whose hashes
    agree in two of eight blocks: all within 6 bits, and most within 12.
    """
    pairs: set[tuple[int, int]] = set()
    for i, j in _candidates(fingerprints):
        near = np.flatnonzero(_distance(fingerprints[i], fingerprints[j]) <= NEAR_BITS)
        for k in near:
            a, b = int(min(i[k], j[k])), int(max(i[k], j[k]))
            if (a, b) not in pairs and float(embeddings[a] @ embeddings[b]) >= NEAR_COSINE:
                pairs.add((a, b))
    return sorted(pairs)


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
