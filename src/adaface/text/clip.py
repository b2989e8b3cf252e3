"""A stock CLIP text model, run from input embeddings. Shapes: B batch, T text positions, P read positions, D
width.
"""

import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from transformers import CLIPTextModel

from adaface.errors import ConfigError, ShapeError
from adaface.text.layers import Layer, last_hidden_states, mix


class TextEncoder:
    """A view of a `CLIPTextModel`: its own weights, our forward pass; nothing is written to the model.

    Works on both layouts of transformers (parts under `.text_model`, or flat since 5.6).
    """

    def __init__(self, model: CLIPTextModel) -> None:
        """model: a CLIPTextModel, with projection or without; its device and dtype are taken as they are."""
        self.model = model
        self.heads = int(model.config.num_attention_heads)

    @property
    def token_embedding(self) -> nn.Embedding:
        """The table of token rows, as it is now (pipelines replace it when they add tokens)."""
        return cast(nn.Embedding, _part(self.model, "embeddings").token_embedding)

    @property
    def position_embedding(self) -> nn.Embedding:
        """The table of position rows."""
        return cast(nn.Embedding, _part(self.model, "embeddings").position_embedding)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.token_embedding.weight.device

    @property
    def width(self) -> int:
        """D, the number of values of a row."""
        return self.token_embedding.embedding_dim

    @property
    def max_length(self) -> int:
        """Most text positions, the start and end tokens included."""
        return self.position_embedding.num_embeddings

    def embed_tokens(self, input_ids: Tensor) -> Tensor:
        """Token ids (B, T) -> rows (B, T, D), without positions: the place where subject embeddings go in."""
        return self.token_embedding(input_ids)

    def add_positions(self, inputs_embeds: Tensor) -> Tensor:
        """Rows (B, T, D) -> the same with the position of each added.

        Raises ShapeError: more rows than the encoder has positions, or another width.
        """
        length, width = inputs_embeds.shape[1:] if inputs_embeds.ndim == 3 else (0, 0)
        if not 1 <= length <= self.max_length or width != self.width:
            raise ShapeError(
                f"input embeddings {tuple(inputs_embeds.shape)}: this text encoder takes "
                f"(B, 1 to {self.max_length}, {self.width})"
            )
        return inputs_embeds + self.position_embedding.weight[:length]

    def __call__(
        self,
        inputs_embeds: Tensor,
        *,
        layer_weights: Sequence[float] = (1.0,),
        positions: slice | None = None,
    ) -> Tensor:
        """Rows without positions (B, T, D) -> text features (B, P, D), after the final norm; gradients flow.

        layer_weights: shares of the last hidden states, deepest last, divided by their sum, mixed before the
        final norm; (1,) is the stock output, (1, 0) CLIP skip. positions: which to read (default all); no
        others are computed. Raises ShapeError: sizes or positions that do not fit; ConfigError: weights that
        have no mean.
        """
        hidden = self.add_positions(inputs_embeds)
        below, weights = _used_weights(layer_weights)
        layers = text_layers(self.model)
        layers = layers[: len(layers) - below]
        states = last_hidden_states(layers, hidden, positions or slice(None), self.heads, len(weights))
        return _part(self.model, "final_layer_norm")(mix(states, weights))


def text_parts(model: nn.Module) -> nn.Module:
    """The module that holds `embeddings`, `encoder` and `final_layer_norm`, in either layout."""
    return cast(nn.Module, getattr(model, "text_model", model))


def text_layers(model: nn.Module) -> Sequence[Layer]:
    """The transformer layers of a CLIP text model, lowest first, in either layout."""
    return cast("Sequence[Layer]", list(cast(nn.ModuleList, _part(model, "encoder").layers)))


def _part(model: nn.Module, name: str) -> nn.Module:
    return cast(nn.Module, getattr(text_parts(model), name))


def _used_weights(weights: Sequence[float]) -> tuple[int, list[float]]:
    """Number of top layers whose weight is 0, and the weights below them without leading zeros."""
    values = [float(w) for w in weights]
    if not values or not all(map(math.isfinite, values)) or min(values) < 0 or sum(values) <= 0:
        raise ConfigError(
            f"layer_weights={list(weights)}: give one number >= 0 for each of the last layers, not all 0"
        )
    last = max(i for i, w in enumerate(values) if w)
    first = min(i for i, w in enumerate(values) if w)
    return len(values) - 1 - last, values[first : last + 1]
