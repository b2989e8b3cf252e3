"""Frozen UNets made faster on a GPU: a layout that its convolutions like, kernels made for their shapes."""

from collections.abc import Iterable
from typing import Literal

import torch
from torch import nn

from adaface.errors import ConfigError
from adaface.pipelines.quiet import quiet

with quiet():
    from diffusers import UNet2DConditionModel

UNets = Literal["plain", "channels_last", "compiled"]


def quicken(models: Iterable[nn.Module], wanted: UNets, *, watched: bool) -> None:
    """Bring the UNets among the models into the wanted form; what they compute stays, but for rounding.

    "plain" leaves them as they are, "channels_last" lays their weights out so, "compiled" compiles them too:
    minutes at the first step, and again where a shape is new. watched: a step records what happens within a
    UNet. Raises ConfigError: compiled and watched, since a compiled one shows nothing.
    """
    if wanted == "compiled" and watched:
        raise ConfigError(
            "unets=compiled: this recipe's steps record what happens within the UNet, and a compiled one "
            "does not show it. Give unets=channels_last"
        )
    for model in models:
        if wanted != "plain" and isinstance(model, UNet2DConditionModel):
            model.to(memory_format=torch.channels_last)
            if wanted == "compiled":
                model.compile()
