"""The frozen diffusion model that a recipe trains through. Letters: B, S pixels, C h w, T, K, D."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from adaface.data.latents import vae_latents
from adaface.errors import ConfigError
from adaface.pipelines.base import ddim
from adaface.recipes.base.predictions import clean_of
from adaface.text.clip import TextEncoder
from adaface.text.tokens import framed_ids, pad_id, piece_ids

SUBJECT = "{subject}"  # where the subject's rows stand in a template
WORD = "{word}"  # where the person's class word stands: "woman", "boy", ...
TEMPLATES = (  # of single prompts, where a recipe's config names no others
    "a photo of {subject}",
    "a photo of a {subject} {word}",
    "photo of {subject}",
    "a portrait of {subject}",
    "a portrait of a {word}, {subject}",
    "{subject}",
)


def check_templates(templates: Sequence[str]) -> None:
    """Raises ConfigError: none, one without its one "{subject}", or other braces than that and "{word}"."""
    if not templates or any(text.count(SUBJECT) != 1 for text in templates):
        raise ConfigError("templates: give one or more, each with one {subject} in it")
    for text in templates:
        if set("{}") & set(text.replace(SUBJECT, "").replace(WORD, "")):
            raise ConfigError(f"templates: {text!r}: of words in braces there are {SUBJECT} and {WORD}")


class Denoiser:
    """UNet, VAE, text encoder and noise schedule of a stock pipeline, all frozen.

    Gradients pass through UNet and text encoder to the subject's rows; no weight of theirs has one.
    """

    def __init__(self, pipe: Any, layer_weights: Sequence[float] = (1.0,)) -> None:
        """pipe: a stock Stable Diffusion pipeline. layer_weights: of the text encoder's last layers."""
        self.unet, self.vae, self.scheduler = pipe.unet, pipe.vae, ddim(pipe.scheduler)
        self.prompts = Prompts(TextEncoder(pipe.text_encoder), pipe.tokenizer, layer_weights)
        for part in (pipe.unet, pipe.vae, pipe.text_encoder):
            part.requires_grad_(False).eval()
        self.steps = int(self.scheduler.config.num_train_timesteps)

    @property
    def device(self) -> torch.device:
        """Where the UNet is."""
        return self.unet.device

    @property
    def prediction_type(self) -> str:
        """What the UNet says of noisy latents: one of `adaface.recipes.base.predictions.KINDS`."""
        return str(self.scheduler.config.prediction_type)

    @property
    def alphas(self) -> Tensor:
        """Cumulative alphas of the noise levels (steps,), on the UNet's device."""
        alphas: Tensor = self.scheduler.alphas_cumprod
        return alphas.to(self.device)

    def encode(self, pictures: Tensor, noise: Tensor | None = None) -> Tensor:
        """Pictures (B, 3, S, S) uint8 -> float32 latents (B, C, h, w) at the UNet's scale.

        noise: of the posterior, (B, C, h, w); without it, the posterior's mean.
        """
        return vae_latents(self.vae, pictures.to(self.device) / 127.5 - 1, noise)  # sent as bytes

    def decode(self, latents: Tensor) -> Tensor:
        """Latents (B, C, h, w) at the UNet's scale -> pictures (B, 3, S, S), about -1..1, in float32."""
        vae = self.vae
        shift = getattr(vae.config, "shift_factor", None) or 0.0
        pictures: Tensor = vae.decode((latents / vae.config.scaling_factor + shift).to(vae.dtype)).sample
        return pictures.float()

    def latent_shape(self, size: int) -> tuple[int, int, int]:
        """C, h, w of the latents of pictures of `size` pixels."""
        side = size // 2 ** (len(self.vae.config.block_out_channels) - 1)
        return int(self.vae.config.latent_channels), side, side

    def noisy(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Latents (B, C, h, w) with noise of the levels timesteps (B,)."""
        noised: Tensor = self.scheduler.add_noise(latents, noise, timesteps)
        return noised

    def target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """What this UNet was trained to say of noisy latents: the noise, the velocity, or the latents."""
        kind = self.prediction_type
        if kind == "v_prediction":
            velocity: Tensor = self.scheduler.get_velocity(latents, noise, timesteps)
            return velocity
        return noise if kind == "epsilon" else latents

    def clean(self, noisy: Tensor, prediction: Tensor, timesteps: Tensor) -> Tensor:
        """The clean latents (B, C, h, w), float32, that this UNet's word on noisy ones means."""
        return clean_of(self.prediction_type, noisy, prediction, self.alphas[timesteps])

    def predict(self, noisy: Tensor, timesteps: Tensor, context: Tensor) -> Tensor:
        """The UNet's word on noisy latents (B, C, h, w) under text features (B, T, D)."""
        dtype = self.unet.dtype
        guess: Tensor = self.unet(noisy.to(dtype), timesteps, context.to(dtype)).sample
        return guess


class Prompts:
    """Short prompts with a place for the subject's rows -> text features; gradients reach the rows."""

    def __init__(
        self, text: TextEncoder, tokenizer: PreTrainedTokenizerBase, layer_weights: Sequence[float]
    ) -> None:
        self.text, self.tokenizer, self.layer_weights = text, tokenizer, tuple(layer_weights)
        self._ids = lru_cache(4096)(self._piece)

    def __call__(
        self, prompts: Sequence[str], subjects: Tensor, layer_weights: Sequence[float] | None = None
    ) -> Tensor:
        """Prompts with one "{subject}" each, and rows (B, K, D) for it -> text features (B, T, D).

        The rows stand where the tokenizer's words would, as `adaface.prompt.embedding.embed_prompt` puts
        them. layer_weights: shares of the text encoder's last layers, deepest last; none is the stack's own.
        Raises ConfigError: a prompt without the place, or too long; weights that have no mean.
        """
        count, length = subjects.shape[1], self.text.max_length
        laid = [self._lay_out(prompt, count, length) for prompt in prompts]
        device = self.text.device
        ids = torch.tensor([row for row, _ in laid], device=device)
        starts = torch.tensor([start for _, start in laid], device=device)
        places = (starts[:, None] + torch.arange(count, device=device))[..., None]  # (B, K, 1)
        rows = self.text.embed_tokens(ids)  # (B, T, D)
        rows = rows.scatter(1, places.expand(-1, -1, rows.shape[-1]), subjects.to(rows.dtype))
        return self.text(rows, layer_weights=layer_weights or self.layer_weights)

    @torch.no_grad()
    def no_words(self) -> Tensor:
        """Text features (1, T, D) of an empty prompt."""
        text = self.text
        ids = torch.tensor([framed_ids(self.tokenizer, [], text.max_length)], device=text.device)
        return text(text.embed_tokens(ids), layer_weights=self.layer_weights)

    def check(self, prompt: str, count: int) -> None:
        """Raises ConfigError: no place for `count` rows in the prompt, or not enough."""
        self._lay_out(prompt, count, self.text.max_length)

    def _piece(self, text: str) -> tuple[int, ...]:
        return tuple(piece_ids(self.tokenizer, text))

    def _lay_out(self, prompt: str, count: int, length: int) -> tuple[list[int], int]:
        before, found, after = prompt.partition(SUBJECT)
        head, tail = self._ids(before), self._ids(after)
        need = 2 + len(head) + count + len(tail)
        if not found or need > length:
            reason = f"takes {need} text positions of {length}" if found else f"has no {SUBJECT}"
            raise ConfigError(f"template {prompt!r} {reason}. Write a short one with one {SUBJECT} in it")
        ids = framed_ids(self.tokenizer, [*head, *[pad_id(self.tokenizer)] * count, *tail], length)
        return ids, 1 + len(head)
