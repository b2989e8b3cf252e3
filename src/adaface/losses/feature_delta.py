"""What sets a person apart from the class is to be the same in a single and in a composed picture.

Shapes: B, C channels, H x W places.
"""

import torch.nn.functional as F
from torch import Tensor

from adaface.losses.orthogonal import orthogonal


def feature_delta(
    subject_single: Tensor, subject_composed: Tensor, class_single: Tensor, class_composed: Tensor
) -> Tensor:
    """Mean square of what the composed residual has beyond the single one's direction: (B,), >= 0.

    Features (B, ...), each sample one vector. Residual: what the subject's features have that the class's
    have not. Source: AdaFace, feature delta loss; docs/method.md.
    """
    single = orthogonal(subject_single.flatten(1), class_single.flatten(1))
    composed = orthogonal(subject_composed.flatten(1), class_composed.flatten(1))
    return orthogonal(composed, single).square().mean(-1)


def pooled(features: Tensor, weight: Tensor | None = None) -> Tensor:
    """Features (B, C, H, W), weighted by place (B, 1, H, W) if given, of unit variance, averaged in windows.

    So that the loss does not ask for the same at the same place: windows of 4 places, 2 apart, from 8 places
    a side; of 8, 4 apart, from 32; none below 8. Source: AdaFace, pooling of features; docs/method.md.
    """
    features = features.float()
    features = F.layer_norm(features, features.shape[1:])
    if weight is not None:
        features = features * weight.to(features)
    side = min(features.shape[-2:])
    if side < 8:
        return features
    window = 4 if side < 32 else 8
    return F.avg_pool2d(features, window, window // 2)


def delta_target(
    subject_single: Tensor, class_single: Tensor, class_composed: Tensor, face: Tensor
) -> Tensor:
    """What a composed picture of a person is to be by adding: class_composed + face (subject - class).

    Predictions (B, C, H, W) at one noise level, on the same noisy latents at first. face: (B, 1, H, W) in
    0..1, where the person is the person. Ours, not the paper's: the delta is taken in what the UNet says, so
    that no feature is captured.
    """
    return class_composed + face * (subject_single - class_single)
