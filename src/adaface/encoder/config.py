"""Everything about an inverse encoder but its weights. Shapes: K ID vectors, D width."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from adaface.errors import ConfigError
from adaface.spec import HIDDEN_LAYER_WEIGHTS, NUM_ID_VECTORS
from adaface.text.layers import ACTIVATIONS


@dataclass(frozen=True, kw_only=True)
class AdaFaceEncoderConfig:
    """Sizes and origin of an `AdaFaceEncoder`; written to its config.json.

    Raises ConfigError: sizes that contradict each other.
    """

    width: int  # D
    layers: int
    heads: int
    mlp_width: int
    hidden_act: str = "quick_gelu"
    layer_norm_eps: float = 1e-5
    num_id_vectors: int = NUM_ID_VECTORS  # K
    multipliers: tuple[int, ...] = ()  # keys and values a token, per layer; empty: one each
    mixed_layers: int = len(HIDDEN_LAYER_WEIGHTS)  # hidden states in the learned mix
    id_scale: float = 1.0  # used where the caller gives none
    tokens: Mapping[str, int] = field(default_factory=dict)  # template words -> ids in the base vocabulary
    base_text_encoder: str = "unknown"  # fingerprint of the text encoder that the subject embeddings are for
    recognizer: str = "unknown"  # network whose ID embeddings the encoder was trained on
    licence: str = "unknown"
    origin: Mapping[str, str] = field(
        default_factory=dict
    )  # file and part that it was converted from, if it was

    def __post_init__(self) -> None:
        """Fill in the multipliers and check the sizes."""
        object.__setattr__(self, "multipliers", tuple(self.multipliers) or (1,) * self.layers)
        object.__setattr__(self, "tokens", dict(self.tokens))
        object.__setattr__(self, "origin", dict(self.origin))
        for name in ("width", "layers", "heads", "mlp_width", "num_id_vectors", "mixed_layers"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)}: give 1 or more")
        if self.width % self.heads:
            raise ConfigError(
                f"width={self.width}, heads={self.heads}: the width has to be a multiple of the heads"
            )
        if self.hidden_act not in ACTIVATIONS:
            raise ConfigError(f"hidden_act={self.hidden_act!r}: known are {', '.join(sorted(ACTIVATIONS))}")
        if self.mixed_layers > self.layers:
            raise ConfigError(
                f"mixed_layers={self.mixed_layers}: the encoder has {self.layers} layers; give at most that"
            )
        if len(self.multipliers) != self.layers or min(self.multipliers) < 1:
            raise ConfigError(
                f"multipliers={list(self.multipliers)}: give one number >= 1 for each of {self.layers} layers"
            )
