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
    where = F.adaptive_avg_pool2d(face.float(), side).flatten(1)  # (B, N)
    weight = spared(composed.scores, class_composed.scores).unflatten(1, side)[:, None]
    four = (single, composed, class_single, class_composed)
    kept = preserved(
        (_rows(single.features), _rows(composed.features), _rows(class_composed.features)),
        (single.queries, composed.queries, class_composed.queries, class_single.queries),
        composed.shares.mean(1),
        where,
    )
    return {
        "features": feature_delta(*(pooled(each.features, weight) for each in four)),
        "attention": attention_delta(*(each.scores for each in four)),
        "norm": attention_norm(*(each.scores for each in four)),
        "outside": attention_outside(composed.shares, 1 - where),
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
        mean, deviation = scores.mean(-1, keepdim=True), scores.std(-1, keepdim=True)
        spread = torch.maximum(deviation + LEAST, mean / 2)
        weights = (-(scores - mean) / spread).exp().clamp_max(CLAMP)
        return weights / weights.mean(-1, keepdim=True)

    return (weight(subject) + weight(common)) / 2


def _rows(features: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, N, C), each place of mean 0 and deviation 1."""
    rows = features.float().flatten(2).transpose(1, 2)
    return F.layer_norm(rows, rows.shape[-1:])
