"""What one vector has that another has not, and cosines that know the length. Shapes: ... and D, the last."""

import torch
from torch import Tensor

EPSILON = 1e-6
ROUNDING = 1e-5  # of a vector's length: what float32 leaves of two that are equal is less


def orthogonal(vector: Tensor, reference: Tensor) -> Tensor:
    """What is left of `vector` without its part along `reference`: a - b <a, b> / <b, b>, both (..., D).

    A reference of zeros takes nothing away. What is left of a vector along its reference is zero, without a
    gradient: its rounding errors would be a direction, which cosines do not know from a true one. Source:
    AdaFace, orthogonal subtraction; docs/method.md.
    """
    vector, reference = vector.float(), reference.float()
    along = (vector * reference).sum(-1, keepdim=True)
    square = reference.square().sum(-1, keepdim=True)
    left = vector - reference * along / (square + EPSILON)
    there = left.square().sum(-1, keepdim=True) >= ROUNDING**2 * vector.square().sum(-1, keepdim=True)
    return torch.where(there, left, torch.zeros_like(left))


def powered_distance(guess: Tensor, target: Tensor, power: float = 1.0) -> Tensor:
    """1 - cosine(guess, target |target|^(power - 1)), both (..., D) -> (...), in 0..2.

    The power makes the target's large numbers count more. Where either is zero the distance is 1, without a
    gradient. Source: AdaFace, cosine losses with a powered reference; docs/method.md.
    """
    guess, target = guess.float(), target.float()
    if power != 1:
        target = target.sign() * target.abs().pow(power)
    lengths = guess.square().sum(-1) * target.square().sum(-1)
    tiny = torch.finfo(torch.float32).tiny
    there = lengths > tiny
    cosine = (guess * target).sum(-1) / torch.where(there, lengths, torch.ones_like(lengths)).sqrt()
    return 1 - torch.where(there, cosine, torch.zeros_like(cosine))


def weighted_mean(values: Tensor, weight: Tensor) -> Tensor:
    """Mean of values (B, N), weighted by (B, N) >= 0, of each sample: (B,); 0 where nothing has a weight."""
    weight = weight.to(values.dtype)
    return (values * weight).sum(-1) / weight.sum(-1).clamp_min(EPSILON)
