"""Self-attention with several keys and values a token. B batch, T tokens, P read, D, H heads, M copies."""

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Attention(Protocol):
    """The four projections of one attention layer, by the names that CLIP gives them."""

    q_proj: nn.Linear
    k_proj: nn.Linear
    v_proj: nn.Linear
    out_proj: nn.Linear


class ExtendedKVAttention(nn.Module):
    """Causal self-attention in which each token owns `m` keys and values but one query; (B, T, D) in and out.

    Names and row order are the authors'. Source: AdaFace, key/value multiplier; docs/method.md.
    """

    def __init__(self, width: int, heads: int, m: int = 1) -> None:
        super().__init__()
        self.heads, self.m = heads, m
        self.q_proj, self.out_proj = nn.Linear(width, width), nn.Linear(width, width)
        self.k_proj, self.v_proj = nn.Linear(width, width * m), nn.Linear(width, width * m)

    def forward(self, x: Tensor) -> Tensor:
        """Hidden states (B, T, D) -> (B, T, D); position i sees 0..i."""
        return attention(self, x, slice(0, x.shape[1]), self.heads)


def attention(attn: Attention, x: Tensor, read: slice, heads: int) -> Tensor:
    """Causal attention of the positions `read` (start and stop given): (B, T, D) -> (B, P, D)."""

    def split(y: Tensor) -> Tensor:  # (B, T, M*D) -> (B, H, T*M, D/H): a token's M copies stay neighbours
        return y.view(len(y), -1, heads, x.shape[-1] // heads).transpose(1, 2)

    k, v = split(attn.k_proj(x)), split(attn.v_proj(x))
    q = split(attn.q_proj(x[:, read]))
    mask = causal_mask(x.shape[1], read, k.shape[2] // x.shape[1], x.device)
    return attn.out_proj(attend(q, k, v, mask).transpose(1, 2).flatten(2))


def causal_mask(length: int, read: slice, m: int, device: torch.device) -> Tensor:
    """True where a query may look: (P, T*M). Always explicit: stock CLIP's own may hide in a flag."""
    keys = torch.arange(length, device=device)
    return (keys[read, None] >= keys).repeat_interleave(m, dim=-1)


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """Softmax attention: q (B, H, P, d), k and v (B, H, S, d), mask (P, S) -> (B, H, P, d)."""
    if q.device.type == "cpu" and q.dtype != torch.float32 and q.requires_grad:
        # The fused kernel's backward pass is 3 to 7 times slower than plain products here (CPU, bfloat16).
        bias = torch.zeros_like(mask, dtype=q.dtype).masked_fill_(~mask, float("-inf"))
        return (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5 + bias).softmax(-1) @ v
    return F.scaled_dot_product_attention(q, k, v, mask)


@torch.no_grad()
def extend_kv(
    attn: ExtendedKVAttention, factor: int, noise: float, generator: torch.Generator | None = None
) -> ExtendedKVAttention:
    """A new layer with `factor` times the keys and values: copies, the weights of all but the first blurred.

    noise: standard deviation, as a share of the mean standard deviation of a weight's rows. With 0 the output
    is the old one, since M equal keys share one softmax weight. The generator may live on any device.
    """
    width = attn.q_proj.in_features
    wide = ExtendedKVAttention(width, attn.heads, attn.m * factor).to(attn.q_proj.weight)
    for name, old in attn.named_parameters():
        new = wide.get_parameter(name)
        new.copy_(torch.cat([old] * (len(new) // len(old))))
        if name in ("k_proj.weight", "v_proj.weight"):
            device = generator.device if generator is not None else old.device
            blur = torch.randn(new[len(old) :].shape, generator=generator, device=device).to(new)
            new[len(old) :] += noise * old.std(-1).mean() * blur
    return wide
