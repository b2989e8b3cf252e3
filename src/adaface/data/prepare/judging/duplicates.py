"""The same picture twice: by its bytes, or by how it looks. Letters: N pictures."""

from collections.abc import Iterator
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from adaface.face.types import Pixels

SIDE, BITS = 8, 64  # the hash: signs of 8 x 8 low frequencies of the crop at 32 x 32
PORTRAIT = 32  # side of the grey middle of the crop that settles it
MIDDLE = (0.15, 0.85)  # of the crop: the head, without what a cut takes away first
# All must hold: few different bits, alike to the recogniser, and nearly the same pixels once one is laid
# onto the other, for landmarks move by some pixels when a photo is saved again. Of 126 pairs of an LFW
# photo and the same saved again (quality 30 or 60, 8 % cut off, smaller, brighter) 95 % reach 0.984; of
# 44,269 pairs of one person's photos eight do, and these are the same picture; the next shots of a series
# are at 0.98 and below.
NEAR_BITS, NEAR_COSINE, NEAR_PIXELS = 22, 0.88, 0.984
_ALIKE = 0.6  # correlation of the pixels as they are, below which laying them over each other is not tried
_EDGE = 4  # pixels of the border that are not compared: they may come from beyond
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
    """The face in the middle of a crop (S, S, 3), grey and small: (1024,)."""
    import cv2

    begin, end = (round(len(crop) * share) for share in MIDDLE)
    grey = cv2.cvtColor(np.ascontiguousarray(crop[begin:end, begin:end]), cv2.COLOR_RGB2GRAY)
    small: NDArray[np.uint8] = cv2.resize(grey, (PORTRAIT, PORTRAIT), interpolation=cv2.INTER_AREA)
    return small.reshape(-1)


def near_pairs(
    fingerprints: NDArray[np.uint64], portraits: NDArray[np.uint8], id_embeddings: NDArray[np.floating]
) -> list[tuple[int, int]]:
    """Pairs (i, j), i < j, of pictures that are nearly the same; sorted.

    fingerprints: (N,). portraits: (N, 1024). id_embeddings: (N, D_id), unit. Of many pictures, those pairs
    are seen whose hashes agree in two of eight blocks: all within 6 bits, and most within 12.
    """
    seen: set[tuple[int, int]] = set()
    for i, j in _candidates(fingerprints):
        near = np.flatnonzero(_distance(fingerprints[i], fingerprints[j]) <= NEAR_BITS)
        a, b = np.minimum(i[near], j[near]), np.maximum(i[near], j[near])
        cosine = (id_embeddings[a].astype(np.float32) * id_embeddings[b]).sum(1)
        seen.update(zip(a[cosine >= NEAR_COSINE].tolist(), b[cosine >= NEAR_COSINE].tolist(), strict=True))
    return sorted(pair for pair in seen if _same_pixels(portraits[pair[0]], portraits[pair[1]]))


def _same_pixels(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> bool:
    """Are two portraits (1024,) the same, once the second is moved, turned and stretched onto the first?"""
    import cv2

    a, b = (pixels.reshape(PORTRAIT, PORTRAIT).astype(np.float32) for pixels in (first, second))
    plain = _correlation(a, b)
    if plain < _ALIKE or plain >= NEAR_PIXELS:
        return plain >= NEAR_PIXELS
    stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 30, 1e-4)
    try:
        _, onto = cv2.findTransformECC(a, b, np.eye(2, 3, dtype=np.float32), cv2.MOTION_AFFINE, stop, None, 3)
    except cv2.error:  # it finds no way to lay one onto the other
        return False
    way = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    moved = cv2.warpAffine(b, onto, (PORTRAIT, PORTRAIT), flags=way, borderMode=cv2.BORDER_REPLICATE)
    inner = slice(_EDGE, -_EDGE)
    return _correlation(a[inner, inner], moved[inner, inner]) >= NEAR_PIXELS


def _correlation(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Of two portraits: blind to brightness and contrast."""
    x, y = a - a.mean(), b - b.mean()
    return float((x * y).sum() / max(float(np.sqrt((x * x).sum() * (y * y).sum())), 1e-6))


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
