"""The models of a run of the inverse encoder: one that is trained, a frozen diffusion model. B, K, D."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from adaface.encoder.id_prompter import Arc2FacePrompter
from adaface.encoder.inverse import AdaFaceEncoder
from adaface.errors import ConfigError
from adaface.pipelines.quiet import quiet
from adaface.pipelines.settings import Settings
from adaface.pipelines.stack import Stack
from adaface.recipes.base.config import PhotoConfig
from adaface.recipes.base.denoising import Denoiser
from adaface.recipes.base.opening import open_encoder, precision, start_encoder
from adaface.training.plan import sample_generator

with quiet():
    from diffusers import UNet2DConditionModel

UNets = Literal["plain", "channels_last", "compiled"]


@dataclass(frozen=True, eq=False)
class Models:
    """What a step computes with.

    pipe: a stock pipeline of the stack's base, and `denoiser`, the same as a recipe needs it. prompter: ID
    embedding to the encoder's input. encoder: what is trained. settings: how the stack draws.
    """

    stack: Stack
    pipe: Any
    denoiser: Denoiser
    prompter: Arc2FacePrompter
    encoder: AdaFaceEncoder
    settings: Settings

    @property
    def device(self) -> torch.device:
        """Where all of them are."""
        return self.denoiser.device

    @property
    def frozen(self) -> Mapping[str, nn.Module]:
        """Those that are not trained, by their role."""
        pipe = self.pipe
        parts = {"unet": pipe.unet, "vae": pipe.vae, "text_encoder": pipe.text_encoder}
        return {**parts, "id_prompter": self.prompter}

    def subjects(self, id_embeddings: Tensor) -> Tensor:
        """ID embeddings (B, D_id) -> rows (B, K, D) for a prompt, with gradients for the encoder."""
        with torch.no_grad():
            id_prompt = self.prompter(id_embeddings)
        rows: Tensor = self.encoder(id_prompt, id_scale=1.0)
        return rows


def start_of(config: PhotoConfig, stack: Stack, start: Path | None) -> AdaFaceEncoder | None:
    """The encoder that a run begins with; None: a copy of the base's text encoder.

    start: its folder in place of what `init_from` names, for a run that goes on. Raises what finding and
    opening it raise.
    """
    if start is not None:
        return AdaFaceEncoder.from_pretrained(start)
    generator = sample_generator(config.seed)
    return start_encoder(config.init_from, stack, config.kv_multipliers, config.kv_noise, generator)


def open_models(
    config: PhotoConfig,
    stack: Stack,
    pipe: Any,
    begin: AdaFaceEncoder | None,
    recognizer: str,
    device: torch.device,
) -> Models:
    """All models on their device, those that are not trained in the precision that `config.frozen` names.

    pipe: of `open_base`. begin: of `start_of`. recognizer: of the data. Raises as `open_encoder`.
    """
    prompter, encoder = open_encoder(stack, pipe, begin, recognizer)
    with quiet():
        pipe.to(device, precision(config.frozen, device))
    settings = stack.recommended()
    denoiser = Denoiser(pipe, settings.layer_weights)
    prompter = prompter.requires_grad_(False).eval().to(device)
    return Models(stack, pipe, denoiser, prompter, encoder.to(device), settings)


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
