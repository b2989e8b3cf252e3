"""How far two results of `generate` lie apart, for all rooms."""

import numpy as np


def pixels(made) -> np.ndarray:
    """The pictures of a result, (N, H, W, 3) int16."""
    return np.stack([np.asarray(image, np.int16) for image in made.images])


def farthest(a, b) -> int:
    """Largest difference of two results, in grey levels."""
    return int(np.abs(pixels(a) - pixels(b)).max())
