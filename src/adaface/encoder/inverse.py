"""Inverse encoder: ID prompt embeddings -> subject embeddings. Shapes: B batch, K ID vectors, D width.

A CLIP text model reads "photo of a , , ," with the commas replaced by the ID prompt embeddings; what comes
out at these places are rows for the INPUT of the stock text encoder. Source: AdaFace, inverse encoder;
docs/method.md.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Self, cast

import torch
from torch import Tensor, nn
from transformers import CLIPTextModel, PreTrainedTokenizerBase

from adaface.encoder.config import AdaFaceEncoderConfig
from adaface.encoder.fingerprint import fingerprint, text_encoder_fingerprint
from adaface.encoder.folder import WEIGHTS, read_encoder, write_encoder
from adaface.errors import ConfigError, ShapeError
from adaface.spec import (
    HIDDEN_LAYER_WEIGHTS,
    ID_OFFSET,
    INVERSE_PROMPT_FILL,
    INVERSE_PROMPT_HEAD,
    NUM_ID_VECTORS,
)
from adaface.text.attention import extend_kv
from adaface.text.clip import TextEncoder, text_layers, text_parts
from adaface.text.folder import check_tensors
from adaface.text.layers import Layer, TransformerLayer, last_hidden_states, mix
from adaface.text.tokens import pad_id, single_token_ids


class AdaFaceEncoder(nn.Module):
    """ID prompt embeddings (B, K, D) -> subject embeddings (B, K, D): input rows for the stock text encoder.

    Of the template only the rows that can matter are kept: with a causal mask nothing behind the last ID
    vector is seen.
    """

    prefix: Tensor  # (4, D) start token and "photo of a", positions added
    positions: Tensor  # (K, D) positions of the ID vectors
    pad_embeddings: Tensor  # (K, D) pads of the same places, positions added; saved, never computed again
    hidden_layer_weights: Tensor  # (n,) shares of the last n layers, deepest last; their sum may be any

    def __init__(self, config: AdaFaceEncoderConfig) -> None:
        """Untrained: take `from_text_encoder` to start a training, `from_pretrained` to use one."""
        super().__init__()
        self.config = config
        sizes = (config.width, config.heads, config.mlp_width, config.hidden_act, config.layer_norm_eps)
        self.layers = nn.ModuleList(TransformerLayer(*sizes, m) for m in config.multipliers)
        self.final_layer_norm = nn.LayerNorm(config.width, eps=config.layer_norm_eps)
        self.prefix = nn.Parameter(torch.zeros(ID_OFFSET, config.width))
        self.positions = nn.Parameter(torch.zeros(config.num_id_vectors, config.width))
        self.register_buffer("pad_embeddings", torch.zeros(config.num_id_vectors, config.width))
        self.hidden_layer_weights = nn.Parameter(torch.tensor(_start_weights(config.mixed_layers)))

    def forward(self, id_prompt_embeds: Tensor, id_scale: float | None = None) -> Tensor:
        """ID prompt embeddings (B, K, D) -> subject embeddings (B, K, D).

        id_scale: s in s * subject + (1 - s) * pads; 1 is neutral, 0 nobody, more exaggerates; default: the
        config's. Raises ShapeError: another K or D than the encoder's.
        """
        if id_prompt_embeds.ndim != 3 or id_prompt_embeds.shape[1:] != self.positions.shape:
            raise ShapeError(
                f"ID prompt embeddings {tuple(id_prompt_embeds.shape)}: this encoder takes (B, "
                f"{self.config.num_id_vectors}, {self.config.width}); take the prompter it was trained with"
            )
        rows = id_prompt_embeds.to(self.positions.dtype) + self.positions
        hidden = torch.cat([self.prefix.expand(len(rows), -1, -1), rows], dim=1)  # (B, 4 + K, D)
        layers = cast("Sequence[Layer]", list(self.layers))
        read = slice(ID_OFFSET, hidden.shape[1])
        states = last_hidden_states(layers, hidden, read, self.config.heads, self.config.mixed_layers)
        subject: Tensor = self.final_layer_norm(mix(states, self.hidden_layer_weights))
        scale = self.config.id_scale if id_scale is None else id_scale
        return subject if scale == 1 else scale * subject + (1 - scale) * self.pad_embeddings

    @classmethod
    def from_text_encoder(
        cls,
        model: CLIPTextModel,
        tokenizer: PreTrainedTokenizerBase,
        num_id_vectors: int = NUM_ID_VECTORS,
        *,
        recognizer: str = "unknown",
        licence: str = "unknown",
    ) -> Self:
        """The start of training: a copy of the stock text encoder that the subject embeddings will be fed to.

        recognizer, licence: written to the config. Raises ConfigError: a word of the template is not one
        token, or the text model has no room for the ID vectors.
        """
        text = TextEncoder(model)
        stop = ID_OFFSET + num_id_vectors
        if not ID_OFFSET < stop <= text.max_length:
            fits = text.max_length - ID_OFFSET
            raise ConfigError(f"num_id_vectors={num_id_vectors}: this text model has places for 1 to {fits}")
        words = [*INVERSE_PROMPT_HEAD.split(), INVERSE_PROMPT_FILL.strip()]
        ids = single_token_ids(tokenizer, words)
        tokens = dict(zip(words, ids, strict=True))
        config = _config_of(
            model, num_id_vectors=num_id_vectors, tokens=tokens, recognizer=recognizer, licence=licence
        )
        encoder = cls(config).to(text.token_embedding.weight)
        with torch.no_grad():
            encoder._copy_layers(model)
            positions = text.position_embedding.weight
            head = torch.tensor([tokenizer.bos_token_id, *ids[:-1]], device=positions.device)
            encoder.prefix.copy_(text.embed_tokens(head) + positions[:ID_OFFSET])
            encoder.positions.copy_(positions[ID_OFFSET:stop])
            encoder.pad_embeddings.copy_(
                text.token_embedding.weight[pad_id(tokenizer)] + positions[ID_OFFSET:stop]
            )
        return encoder

    def expand_attention(
        self, multipliers: int | Sequence[int], noise: float, generator: torch.Generator | None = None
    ) -> Self:
        """A new encoder with `multipliers` times the keys and values in each layer, or in all layers alike.

        noise: of the copies, as a share of the weights' standard deviation; with 0 the function is unchanged.
        Raises ConfigError: not one number >= 1 for each layer. Source: AdaFace, key/value multiplier;
        docs/method.md.
        """
        factors = [multipliers] * self.config.layers if isinstance(multipliers, int) else list(multipliers)
        if len(factors) != self.config.layers or min(factors) < 1:
            raise ConfigError(
                f"multipliers={factors}: give one number >= 1, or one for each of {self.config.layers} layers"
            )
        owned = tuple(old * f for old, f in zip(self.config.multipliers, factors, strict=True))
        wide = type(self)(dataclasses.replace(self.config, multipliers=owned))
        wide.to(self.prefix).train(self.training)
        own = {name: value for name, value in self.state_dict().items() if ".self_attn." not in name}
        wide.load_state_dict(own, strict=False)
        for old, new, factor in zip(self.layers, wide.layers, factors, strict=True):
            old, new = cast(TransformerLayer, old), cast(TransformerLayer, new)
            new.self_attn.load_state_dict(extend_kv(old.self_attn, factor, noise, generator).state_dict())
        return wide

    def fingerprint(self) -> str:
        """Name of the present weights, "sha256:..."; written into the identities that they make."""
        return fingerprint(self.state_dict())

    def save_pretrained(self, folder: str | Path, dtype: torch.dtype | None = None) -> None:
        """Write config.json and model.safetensors, the weights as they are or cast to `dtype`.

        Raises WriteError: the folder cannot be written.
        """
        tensors = {name: value.to(dtype or value.dtype) for name, value in self.state_dict().items()}
        write_encoder(folder, self.config, tensors)

    @classmethod
    def from_pretrained(cls, folder: str | Path, dtype: torch.dtype = torch.float32) -> Self:
        """Read a folder of `save_pretrained`, in eval mode, the weights cast to `dtype`.

        Raises MissingFileError: a file is missing. FormatError: config or weights are damaged or do not fit.
        """
        config, tensors = read_encoder(folder)
        with torch.device("meta"):  # no time for random weights that the file's replace
            encoder = cls(config)
        check_tensors(Path(folder) / WEIGHTS, tensors, encoder.state_dict())
        encoder.load_state_dict(tensors, assign=True)
        return encoder.to(dtype).eval()

    def _copy_layers(self, model: CLIPTextModel) -> None:
        for own, stock in zip(self.layers, text_layers(model), strict=True):
            own.load_state_dict(cast(nn.Module, stock).state_dict())
        norm = cast(nn.Module, text_parts(model).final_layer_norm)
        self.final_layer_norm.load_state_dict(norm.state_dict())


def _config_of(
    model: CLIPTextModel, *, num_id_vectors: int, tokens: dict[str, int], recognizer: str, licence: str
) -> AdaFaceEncoderConfig:
    stock = model.config
    return AdaFaceEncoderConfig(
        width=stock.hidden_size,
        layers=stock.num_hidden_layers,
        heads=stock.num_attention_heads,
        mlp_width=stock.intermediate_size,
        hidden_act=stock.hidden_act,
        layer_norm_eps=stock.layer_norm_eps,
        num_id_vectors=num_id_vectors,
        mixed_layers=min(stock.num_hidden_layers, len(HIDDEN_LAYER_WEIGHTS)),
        tokens=tokens,
        base_text_encoder=text_encoder_fingerprint(model),
        recognizer=recognizer,
        licence=licence,
    )


def _start_weights(count: int) -> list[float]:
    """The method's 1:2:4, its deepest `count`; a longer mix begins with equal small shares."""
    return [HIDDEN_LAYER_WEIGHTS[0]] * (count - len(HIDDEN_LAYER_WEIGHTS)) + list(
        HIDDEN_LAYER_WEIGHTS[-count:]
    )
