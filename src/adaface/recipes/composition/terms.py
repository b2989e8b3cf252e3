"""Captured features of the four prompts -> the losses of a compositional step. B, N places, C, H, W."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor

from adaface.losses.attention import attention_delta, attention_norm, attention_outside
from adaface.losses.elastic import preserved
from adaface.losses.feature_delta import feature_delta, pooled
from adaface.recipes.composition.capture import Layer

CLAMP, LEAST = 1.0, 1e-3


@dataclass(frozen=True)
class Seen:
    """One layer under one prompt: the block's features, queries side by side, and what the person's rows, or
    the class word, have of the attention: mean scores before the softmax, and shares after it.
    """

    features: Tensor  # (B, C, H, W)
    queries: Tensor  # (B, N, D)
    scores: Tensor  # (B, heads, N)
    shares: Tensor  # (B, heads, N)

    def parts(self, count: int) -> list["Seen"]:
        """The same of each of `count` equal parts of the batch."""
        split = [getattr(self, f.name).chunk(count) for f in fields(self)]
        return [Seen(*part) for part in zip(*split, strict=True)]


def seen(layer: Layer, places: Tensor) -> Seen:
    """A captured layer as the losses read it. places: (B, T) bool, of the person or the class word."""
    scores = layer.scores  # (B, heads, N, T)
    mask = places[:, None, None].to(scores)
    mean = (scores * mask).sum(-1) / mask.sum(-1).clamp_min(1)
    return Seen(layer.features, layer.rows, mean, (scores.softmax(-1) * mask).sum(-1))


def layer_terms(
    single: Seen, composed: Seen, class_single: Seen, class_composed: Seen, face: Tensor
) -> dict[str, Tensor]:
    """The terms of one layer, (B,) each. face: (B, 1, h, w) in 0..1, the single picture's."""
    side = (composed.features.shape[-2], composed.features.shape[-1])
    where = F.adaptive_avg_pool2d(face.float(), side)  # (B, 1, H, W)
    weight = spared(composed.scores, class_composed.scores).unflatten(1, side)[:, None]
    four = (single, composed, class_single, class_composed)
    kept = preserved(
        (eased(single.features), eased(composed.features), eased(class_composed.features)),
        (
            eased(as_picture(single.queries, side)),
            eased(as_picture(composed.queries, side)),
            eased(as_picture(class_composed.queries, side)),
            eased(as_picture(class_single.queries, side)),
        ),
        eased(as_picture(composed.shares.mean(1)[..., None], side), even=False)[..., 0],
        eased(where, even=False)[..., 0],
    )
    return {
        "features": feature_delta(*(pooled(each.features, weight) for each in four)),
        "attention": attention_delta(*(each.scores for each in four)),
        "norm": attention_norm(*(each.scores for each in four)),
        "outside": attention_outside(composed.shares, 1 - where.flatten(1)),
        **{f.name: getattr(kept, f.name) for f in fields(kept)},
    }


def over_layers(terms: Mapping[str, Mapping[str, Tensor]], weights: Mapping[str, float]) -> dict[str, Tensor]:
    """Terms by layer and name -> their weighted sums by name."""
    names = next(iter(terms.values())).keys()
    return {
        name: reduce(torch.add, [weights[layer] * terms[layer][name] for layer in terms]) for name in names
    }


def spared(subject: Tensor, common: Tensor) -> Tensor:
    """Weights (B, N) of mean 1 that are small where the person is: exp(-(A - mean A) / spread), at most 1.

    subject, common: scores (B, heads, N) of the person's rows and of the class word; the mean of their two
    weights counts. Source: AdaFace, spatial weights of the feature delta loss; docs/method.md.
    """

    def weight(scores: Tensor) -> Tensor:
        scores = scores.detach().mean(1)
        mean, deviation = scores.mean(-1, keepdim=True), scores.std(-1, keepdim=True, correction=0)
        spread = torch.maximum(deviation + LEAST, mean / 2)
        weights = (-(scores - mean) / spread).exp().clamp_max(CLAMP)
        return weights / weights.mean(-1, keepdim=True)

    return (weight(subject) + weight(common)) / 2


def as_picture(rows: Tensor, side: tuple[int, int]) -> Tensor:
    """Rows of places (B, N, D) -> (B, D, H, W)."""
    return rows.transpose(1, 2).unflatten(-1, side)


def eased(picture: Tensor, *, even: bool = True) -> Tensor:
    """(B, C, H, W) -> rows of places (B, N, C) for elastic matching; of 16 places a side and more, means of
    windows of 4, 2 apart. even: each row with mean 0 and deviation 1. Source: AdaFace, elastic matching;
    docs/method.md.
    """
    picture = picture.float()
    if min(picture.shape[-2:]) >= 16:
        picture = F.avg_pool2d(picture, 4, 2)
    rows = picture.flatten(2).transpose(1, 2)
    return F.layer_norm(rows, rows.shape[-1:]) if even else rows
