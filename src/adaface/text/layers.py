"""CLIP's transformer layers, computed only where they are read. Shapes: B batch, T tokens, P read tokens, D
width.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adaface.errors import ConfigError, ShapeError
from adaface.text.attention import Attention, ExtendedKVAttention, attention

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),
    "gelu": F.gelu,
    "gelu_new": lambda x: F.gelu(x, approximate="tanh"),
    "relu": F.relu,
    "silu": F.silu,
}


class Layer(Protocol):
    """One pre-norm transformer layer, by the names that CLIP gives its parts; stock layers and ours fit."""

    layer_norm1: nn.LayerNorm
    layer_norm2: nn.LayerNorm

    @property
    def self_attn(self) -> Attention:
        """Projections of the attention."""

    @property
    def mlp(self) -> nn.Module:
        """Linear, activation, linear."""


class MLP(nn.Module):
    """Two linear layers and an activation; (..., D) in and out."""

    def __init__(self, width: int, inner: int, activation: str) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ConfigError(f"hidden_act={activation!r}: known are {', '.join(sorted(ACTIVATIONS))}")
        self.fc1, self.fc2 = nn.Linear(width, inner), nn.Linear(inner, width)
        self.activation = ACTIVATIONS[activation]

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., D)."""
        return self.fc2(self.activation(self.fc1(x)))


class TransformerLayer(nn.Module):
    """A CLIP text layer whose attention may own several keys and values a token; (B, T, D) in and out."""

    def __init__(self, width: int, heads: int, inner: int, activation: str, eps: float, m: int = 1) -> None:
        super().__init__()
        self.layer_norm1 = nn.LayerNorm(width, eps=eps)
        self.self_attn = ExtendedKVAttention(width, heads, m)
        self.layer_norm2 = nn.LayerNorm(width, eps=eps)
        self.mlp = MLP(width, inner, activation)

    def forward(self, x: Tensor) -> Tensor:
        """Hidden states (B, T, D) -> (B, T, D)."""
        return layer_output(self, x, slice(0, x.shape[1]), self.self_attn.heads)


def layer_output(layer: Layer, hidden: Tensor, read: slice, heads: int) -> Tensor:
    """Output of one layer at the positions `read` (start and stop given): (B, T, D) -> (B, P, D)."""
    hidden, normed = hidden[:, read], layer.layer_norm1(hidden)
    hidden = hidden + attention(layer.self_attn, normed, read, heads)
    return hidden + layer.mlp(layer.layer_norm2(hidden))


def last_hidden_states(
    layers: Sequence[Layer], hidden: Tensor, read: slice, heads: int, count: int
) -> list[Tensor]:
    """Outputs of the last `count` layers, lowest first, each (B, P, D), before the final norm.

    hidden: (B, T, D), the rows with their positions. What no read position can see is not computed: positions
    behind the last one, and in the top layer the queries before the first one. Raises ShapeError: fewer
    layers than `count`, or positions outside of the rows.
    """
    if not 1 <= count <= len(layers):
        raise ShapeError(
            f"a mix of the last {count} layers of an encoder with {len(layers)}: give 1 to {len(layers)}"
        )
    start, stop = read.start or 0, hidden.shape[1] if read.stop is None else read.stop
    if read.step not in (None, 1) or not 0 <= start < stop <= hidden.shape[1]:
        raise ShapeError(f"positions {read} of {hidden.shape[1]} rows: give start < stop within them, step 1")
    hidden = hidden[:, :stop]  # (B, T, D): a causal encoder's read positions see nothing behind them
    states = []
    for depth, layer in enumerate(layers, start=1):
        top = depth == len(layers)
        hidden = layer_output(layer, hidden, slice(start if top else 0, stop), heads)
        if depth > len(layers) - count:
            states.append(hidden if top else hidden[:, start:])
    return states


def mix(states: Sequence[Tensor], weights: Tensor | Sequence[float]) -> Tensor:
    """Mean of hidden states (B, P, D) with `weights` divided by their sum; gradients reach a tensor's
    weights.

    Source: the authors' README, option clip_last_layers_skip_weights; docs/method.md.
    """
    weights = torch.as_tensor(weights, dtype=torch.float32, device=states[0].device)
    weights = weights / weights.sum()
    if len(states) == 1 and not weights.requires_grad:
        return states[0]
    return torch.stack([w * s for w, s in zip(weights, states, strict=True)]).sum(0)
