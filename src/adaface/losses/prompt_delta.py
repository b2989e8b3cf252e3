"""From a single to a composed prompt, text features are to change for a person as for a class. B, T, D."""

from torch import Tensor

from adaface.losses.orthogonal import orthogonal, powered_distance, weighted_mean

POWER = 2.0  # of the class's change, so that its largest numbers count most


def prompt_delta(
    subject_single: Tensor,
    subject_composed: Tensor,
    class_single: Tensor,
    class_composed: Tensor,
    weight: Tensor,
) -> Tensor:
    """How far the directions of two changes are apart: (B,), in 0..2.

    Text features (B, T, D), each position beside its counterpart. What the composed has that the single has
    not, of the subject and of the class, without their means; the distance of the two. weight: (B, T) of the
    positions. Source: AdaFace, prompt delta loss; docs/method.md.
    """
    subject = orthogonal(subject_composed, subject_single)
    common = orthogonal(class_composed, class_single)
    apart = powered_distance(
        subject - subject.mean(-1, keepdim=True), common - common.mean(-1, keepdim=True), POWER
    )
    return weighted_mean(apart, weight)
