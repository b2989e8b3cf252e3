"""Where the person's rows look. Shapes: B, heads, N places."""

from torch import Tensor

from adaface.losses.orthogonal import orthogonal, powered_distance, weighted_mean

POWER = 3.0
HINGE = 0.02  # of all attention; less than this on the background is nothing


def attention_delta(
    subject_single: Tensor, subject_composed: Tensor, class_single: Tensor, class_composed: Tensor
) -> Tensor:
    """Distance of two changes of the rows' scores, from class to subject, composed and single: (B,), 0..2.

    Scores (B, heads, N) before the softmax, means over the rows, since a class word has fewer of them.
    Source: AdaFace, attention delta loss; docs/method.md.
    """
    composed = orthogonal(subject_composed, class_composed)
    single = orthogonal(subject_single, class_single)
    return powered_distance(composed, single, POWER).mean(-1)


def attention_norm(
    subject_single: Tensor, subject_composed: Tensor, class_single: Tensor, class_composed: Tensor
) -> Tensor:
    """How far the mean scores of subject and class are apart, composed and single: (B,), >= 0.

    Scores as for `attention_delta`. Source: AdaFace, attention norm loss; docs/method.md.
    """
    composed = (subject_composed.mean(-1) - class_composed.mean(-1)).abs().mean(-1)
    single = (subject_single.mean(-1) - class_single.mean(-1)).abs().mean(-1)
    return composed + single


def attention_outside(shares: Tensor, outside: Tensor) -> Tensor:
    """What the rows have of the attention where the face is not, above a hinge: (B,), >= 0.

    shares: (B, heads, N) in 0..1, after the softmax, summed over the rows. outside: (B, N) in 0..1. Source:
    AdaFace, subject attention outside of the face; docs/method.md.
    """
    return weighted_mean((shares.mean(1) - HINGE).clamp_min(0), outside)
