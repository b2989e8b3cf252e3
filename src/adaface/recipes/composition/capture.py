"""What a UNet's cross-attention sees while it predicts, recorded from outside. B, heads, N places, T, C.

Hooks, and no other attention processors: what the UNet computes, fused or not, stays what it was.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from diffusers.models.attention_processor import Attention
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from torch import Tensor, nn

from adaface.errors import ConfigError


@dataclass
class Layer:
    """One cross-attention, as it was computed last."""

    queries: Tensor  # (B, heads, N, d)
    keys: Tensor  # (B, heads, T, d)
    features: Tensor  # (B, C, H, W), N = H W: what the block gives on

    @property
    def scores(self) -> Tensor:
        """Products before the softmax, in float32: (B, heads, N, T)."""
        queries, keys = self.queries.float(), self.keys.float()
        return queries @ keys.transpose(-1, -2) / queries.shape[-1] ** 0.5

    @property
    def rows(self) -> Tensor:
        """Queries of all heads side by side: (B, N, heads * d)."""
        return self.queries.transpose(1, 2).flatten(2)


@dataclass
class Capture:
    """Records the cross-attentions of a UNet within a `with`; outside of it the UNet has no trace of it.

    unet: a UNet of diffusers. layers: beginnings of names of its blocks ("up_blocks", "mid_block") with a
    weight each; the longest one that fits counts, and a weight of 0 leaves a block out.

    Raises ConfigError: a name that fits no block with a cross-attention.
    """

    unet: Any
    layers: Mapping[str, float]
    weights: dict[str, float] = field(init=False)  # of each block that is recorded; they sum to 1
    _seen: dict[str, dict[str, Tensor]] = field(default_factory=dict, init=False)
    _hooks: list[Any] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        names = [name for name, module in self.unet.named_modules() if _attention(module) is not None]
        lost = [begin for begin in self.layers if not any(_within(name, begin) for name in names)]
        if lost:
            known = ", ".join(sorted({".".join(name.split(".")[:2]) for name in names}))
            raise ConfigError(
                f"layers: {', '.join(lost)}: no cross-attention of this UNet begins so; there are {known}"
            )
        chosen = {name: self._weight(name) for name in names}
        total = sum(chosen.values())
        if total <= 0:
            raise ConfigError(f"layers={dict(self.layers)}: give at least one of them a weight above 0")
        self.weights = {name: weight / total for name, weight in chosen.items() if weight > 0}

    def __enter__(self) -> Self:
        for name in self.weights:
            block = self.unet.get_submodule(name)
            attention = _attention(block)
            assert attention is not None
            self._hooks += [
                attention.to_q.register_forward_hook(self._keep(name, "queries")),
                attention.to_k.register_forward_hook(self._keep(name, "keys")),
                block.register_forward_hook(self._keep(name, "features")),
            ]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        self._seen.clear()

    def take(self) -> dict[str, Layer]:
        """What the UNet's last pass computed, by block; the record is empty afterwards."""
        layers = {}
        for name in self.weights:
            heads, seen = _heads(self.unet.get_submodule(name)), self._seen.pop(name)
            queries, keys = (_split(seen[part], heads) for part in ("queries", "keys"))
            layers[name] = Layer(queries, keys, seen["features"])
        return layers

    def _weight(self, name: str) -> float:
        fitting = [begin for begin in self.layers if _within(name, begin)]
        return self.layers[max(fitting, key=len)] if fitting else 0.0

    def _keep(self, name: str, part: str) -> Callable[[nn.Module, Any, Any], None]:
        def keep(module: nn.Module, given: Any, made: Any) -> None:
            value = made if isinstance(made, Tensor) else made[0]
            self._seen.setdefault(name, {})[part] = value

        return keep


def _attention(module: nn.Module) -> Attention | None:
    """The last cross-attention of a transformer block of a UNet; None: the module is none."""
    if not isinstance(module, Transformer2DModel):
        return None
    inner: Attention | None = module.transformer_blocks[-1].attn2
    return inner


def _heads(block: nn.Module) -> int:
    attention = _attention(block)
    assert attention is not None
    return int(attention.heads)


def _within(name: str, begin: str) -> bool:
    return name == begin or name.startswith(f"{begin}.")


def _split(rows: Tensor, heads: int) -> Tensor:
    """(B, N, heads * d) -> (B, heads, N, d)."""
    return rows.unflatten(-1, (heads, -1)).transpose(1, 2)
