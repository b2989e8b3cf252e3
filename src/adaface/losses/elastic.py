"""A face may move in a composed picture but stays that face; the rest is the class's. B, C, D, N, M places.

Places of two pictures are matched softly by their queries, so that nothing is asked at a fixed place. Source:
AdaFace, face and background preservation by elastic matching; docs/method.md.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from adaface.losses.orthogonal import powered_distance, weighted_mean

FREE = 0.25  # of a match; a place that matches the face with less is background
POWER = 2.0


@dataclass(frozen=True)
class Preserved:
    """Four terms (B,), >= 0. matches: subject and class match the face alike. face: it can be put together
    from the composed picture. background: the rest looks as the class's. leak: the person's rows in the rest.
    """

    matches: Tensor
    face: Tensor
    background: Tensor
    leak: Tensor


def matches(queries: Tensor, targets: Tensor) -> Tensor:
    """Where in one picture each place of another one is found: (B, N, M), columns that sum to 1.

    queries: (B, N, D) of the picture that is looked through. targets: (B, M, D). Both are brought to mean 0
    and deviation 1 over their places before the product, which is divided by sqrt(D).
    """
    found, wanted = _even(queries), _even(targets)
    return (found @ wanted.transpose(1, 2) / found.shape[-1] ** 0.5).softmax(1)


def background(match: Tensor, face: Tensor) -> Tensor:
    """How surely each place is none of the face: (B, N), in 0..1. match: (B, N, M). face: (B, M) in 0..1."""
    return (FREE - (match * face[:, None]).sum(-1)).clamp_min(0) / FREE


def found_again(features: Tensor, match: Tensor, wanted: Tensor, face: Tensor) -> Tensor:
    """Distance of a face to what the matched places of another picture make of it: (B,), in 0..2.

    features: (B, N, C) of the picture that is looked through; wanted: (B, M, C). face: (B, M) in 0..1.
    """
    return weighted_mean(powered_distance(match.transpose(1, 2) @ features.float(), wanted, POWER), face)


def preserved(
    features: tuple[Tensor, Tensor, Tensor],
    queries: tuple[Tensor, Tensor, Tensor, Tensor],
    shares: Tensor,
    face: Tensor,
) -> Preserved:
    """The terms of one layer.

    features: (B, N, C) of subject single, subject composed, class composed. queries: (B, N, D) of the same
    and class single at last. shares: (B, N) of the attention that the person's rows have in the composed
    picture. face: (B, N) in 0..1, where the face is in the single one.
    """
    single, composed, common = features
    of_single, of_composed, of_common, of_class = queries
    match, other = matches(of_composed, of_single), matches(of_common, of_class)
    moved = (match - other).abs() * face[:, None] * face[:, :, None]
    room = face.sum(-1).square().clamp_min(1)
    rest = background(other, face)
    return Preserved(
        matches=moved.sum((1, 2)) / room * face.shape[-1],
        face=found_again(composed, match, single, face),
        background=weighted_mean(powered_distance(composed, common, POWER), rest),
        leak=weighted_mean(shares, background(match.detach(), face)),  # a place is not to pass for the face
    )


def _even(rows: Tensor) -> Tensor:
    """Rows (B, N, D) of mean 0 and deviation 1 over N."""
    return F.layer_norm(rows.float().transpose(1, 2), rows.shape[1:2]).transpose(1, 2)
