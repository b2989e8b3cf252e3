"""The settings that recipes of the inverse encoder have in common."""

import math
from dataclasses import dataclass
from typing import Literal

from adaface.data.augment import FLIP, SCALE
from adaface.errors import ConfigError
from adaface.recipes.config import TrainConfig


@dataclass(frozen=True, kw_only=True)
class PhotoConfig(TrainConfig):
    """What recipes that train the inverse encoder on photos have in common.

    kv_multipliers: times the keys and values of the encoder that is started from, one for all layers or one
    a layer; none changes nothing. kv_noise: of the copies, as a share of the weights' deviation.
    background_weight: of what the mask leaves out. balance: 1 draws each photo alike, 0 each person.
    id_noise: least and most relative noise on an ID embedding; id_noise_share: how many get it. flip, scale:
    of the augmentation. latents: "cached" takes those of `adaface prepare --latents`, "fly" encodes each
    picture, "auto" takes what is there. frozen: precision of the models that are not trained; "auto" is bf16
    on CUDA. gradient_checkpointing: the UNet is computed twice, for less memory. unets: "plain",
    "channels_last" or "compiled", for GPUs (see `adaface.recipes.base.models`). likeness_weight: of the
    likeness (1 - it) of what the base draws from noise for the step's people, in likeness_share of the steps
    (see `adaface.recipes.base.drawn`); compositional steps have a likeness of their own.
    """

    kv_multipliers: tuple[int, ...] = ()
    kv_noise: float = 0.1
    background_weight: float = 0.1
    balance: float = 1.0
    id_noise: tuple[float, float] = (0.02, 0.06)
    id_noise_share: float = 0.6
    flip: float = FLIP
    scale: tuple[float, float] = SCALE
    latents: Literal["auto", "cached", "fly"] = "auto"
    frozen: Literal["auto", "fp32", "bf16"] = "auto"
    gradient_checkpointing: bool = False
    unets: Literal["plain", "channels_last", "compiled"] = "plain"
    likeness_weight: float = 0.0
    likeness_share: float = 0.25

    def __post_init__(self) -> None:
        """Check each value."""
        super().__post_init__()
        shares = ("background_weight", "balance", "id_noise_share", "flip", "kv_noise", "likeness_share")
        bad = [f"{name}={getattr(self, name)}" for name in shares if not 0 <= getattr(self, name) <= 1]
        if bad:
            raise ConfigError(f"{', '.join(bad)}: give numbers from 0 to 1")
        if not 0 < self.scale[0] <= self.scale[1] <= 1 or not 0 <= self.id_noise[0] <= self.id_noise[1]:
            raise ConfigError(
                f"scale={list(self.scale)}, id_noise={list(self.id_noise)}: give the least and the most of "
                "each, a scale above 0 up to 1"
            )
        if not 0 <= self.likeness_weight < math.inf:
            raise ConfigError(f"likeness_weight={self.likeness_weight}: give a number from 0")
        if any(factor < 1 for factor in self.kv_multipliers):
            raise ConfigError(f"kv_multipliers={list(self.kv_multipliers)}: give whole numbers from 1")
