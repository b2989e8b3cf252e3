"""The original's way through a training step, for comparison: a reference of our own, no code of theirs.

Weights in float32 (matrix products in TF32 where there is such a thing), attention that writes its matrix,
the whole UNet computed twice, ID embeddings and latents computed in the step, each prompt through the text
encoder once for each of the UNet's sixteen cross-attention layers, all 77 positions of every template; first
all of the teacher's denoising steps, then all of the student's. What the original had in half precision (the
teacher, with fused attention) is so here, on CUDA. Letters: B, K, T, D, C, h, w, L cross-attention layers.
"""

import time
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from adaface.data.dataset import FaceDataset
from adaface.data.latents import vae_latents
from adaface.encoder.id_prompter import Arc2FacePrompter
from adaface.encoder.inverse import AdaFaceEncoder
from adaface.face.align import align
from adaface.face.analyzer import FaceAnalyzer
from adaface.losses.reconstruction import masked_mse
from adaface.pipelines.base import base_parts, ddim, load_base
from adaface.pipelines.quiet import quiet
from adaface.pipelines.stack import Stack
from adaface.spec import ID_OFFSET
from adaface.text.clip import TextEncoder
from adaface.text.layers import last_hidden_states, mix
from adaface.text.tokens import framed_ids, pad_id, piece_ids
from adaface.training.optim import Optimizers
from adaface.training.settings import LoopConfig

TEACHER_LENGTH = 21  # text positions of the teacher's context
SHRINK, SLOWER = (0.5, 0.7), -0.3  # how a roll-out goes down the noise levels
MOST = 7  # denoising steps of the student in a micro-batch, over its samples


class LayerContext:
    """Attention with a written matrix; cross-attention reads its own layer's context of (B, L, T, D)."""

    def __init__(self, layer: int, seen: dict[int, dict[str, Tensor]] | None = None) -> None:
        self.layer, self.inner, self.seen = layer, AttnProcessor(), seen

    def __call__(
        self, attn: Any, hidden: Tensor, encoder_hidden_states: Tensor | None = None, **rest: Any
    ) -> Tensor:
        own = None if encoder_hidden_states is None else encoder_hidden_states[:, self.layer]
        out: Tensor = self.inner(attn, hidden, own, **rest)
        if self.seen is not None and own is not None:
            self.seen[self.layer] = {"queries": attn.to_q(hidden), "keys": attn.to_k(own), "features": out}
        return out


def read_one_context_a_layer(unet: Any, seen: dict[int, dict[str, Tensor]] | None = None) -> int:
    """Give a UNet such attention; the number of its cross-attention layers."""
    layers, processors = 0, {}
    for name in unet.attn_processors:
        processors[name] = LayerContext(layers, seen)
        layers += ".attn2." in name
    unet.set_attn_processor(processors)
    return layers


class Original:
    """Models, optimiser, and the steps. seconds_in_faces: spent on finding and recognising faces so far."""

    def __init__(self, stack: Stack, dataset: FaceDataset, loop: LoopConfig, device: torch.device) -> None:
        self.sample = lru_cache(None)(dataset.__getitem__)  # as from readers that are always ahead
        self.device = device
        self.half = torch.float16 if device.type == "cuda" else torch.float32
        with quiet():
            pipe = load_base(base_parts(stack, safety_checker=False), device, torch.float32)
            self.teacher = type(pipe.unet).from_pretrained(
                stack.path("teacher"), torch_dtype=self.half, local_files_only=True
            )
        self.teacher.requires_grad_(False).eval().to(device)
        for part in (pipe.unet, pipe.vae, pipe.text_encoder):
            part.requires_grad_(False).eval()
        self.unet, self.vae, self.tokenizer = pipe.unet, pipe.vae, pipe.tokenizer
        self.unet.enable_gradient_checkpointing()
        self.vae.set_attn_processor(AttnProcessor())
        self.layers = read_one_context_a_layer(self.unet)
        self.text, self.scheduler = TextEncoder(pipe.text_encoder), ddim(pipe.scheduler)
        self.prompter = Arc2FacePrompter.from_pretrained(stack.path("id_prompter")).to(device)
        self.prompter.requires_grad_(False).eval()
        self.encoder = AdaFaceEncoder.from_text_encoder(pipe.text_encoder, pipe.tokenizer).to(device)
        self.encoder.train().requires_grad_(True)
        self.count = self.encoder.config.num_id_vectors
        self.heads = self.encoder.config.heads
        self.optimizers = Optimizers(dict(self.encoder.named_parameters()), set(), loop.optimizer)
        self.clip = loop.max_grad_norm
        self.analyzer = FaceAnalyzer(persistent=False)
        self.generator = torch.Generator().manual_seed(0)
        self.seconds_in_faces = 0.0

    # what every step does

    def ids(self, rows: Sequence[int]) -> Tensor:
        """ID embeddings (B, D_id): found and recognised in the pictures, as the step comes by."""
        started = time.perf_counter()
        found = []
        for row in rows:
            sample = self.sample(row)
            picture = sample.image.permute(1, 2, 0).contiguous().numpy()
            self.analyzer.detector(picture)  # drawn faces may not be found: their points are known
            found.append(self.analyzer.recognizer(align(picture, sample.landmarks.numpy())[None])[0])
        self.seconds_in_faces += time.perf_counter() - started
        return torch.from_numpy(np.stack(found)).float().to(self.device)

    def latents(self, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Latents (B, C, h, w) by the VAE in float32, and the weight of their places (B, 1, h, w)."""
        samples = [self.sample(row) for row in rows]
        pictures = torch.stack([sample.image for sample in samples]).to(self.device) / 127.5 - 1
        latents = vae_latents(self.vae, pictures, torch.zeros((), device=self.device))
        masks = torch.stack([sample.mask for sample in samples]).float().to(self.device)
        return latents, F.adaptive_avg_pool2d(masks, latents.shape[-2:])

    def subjects(self, id_prompt: Tensor) -> Tensor:
        """ID prompt embeddings (B, K, D) -> subject embeddings (B, K, D), by all template positions."""
        words = piece_ids(self.tokenizer, "photo of a " + ", " * self.count)
        ids = torch.tensor([framed_ids(self.tokenizer, words, self.text.max_length)], device=self.device)
        own = slice(ID_OFFSET, ID_OFFSET + self.count)
        rows = self.text.embed_tokens(ids).expand(len(id_prompt), -1, -1)
        head, tail = rows[:, : own.start], rows[:, own.stop :]
        hidden = self.text.add_positions(torch.cat([head, id_prompt, tail], dim=1))
        layers = list(self.encoder.layers)
        whole = slice(0, hidden.shape[1])
        states = last_hidden_states(layers, hidden, whole, self.heads, self.encoder.config.mixed_layers)
        mixed = mix(states, self.encoder.hidden_layer_weights)
        return self.encoder.final_layer_norm(mixed)[:, own]

    def contexts(self, prompt: str, subjects: Tensor | None, batch: int) -> Tensor:
        """A prompt, with rows (B, K, D) at "{}" -> (B, L, T, D): encoded once for each layer, all alike."""
        before, _, after = prompt.partition("{}")
        head, tail = piece_ids(self.tokenizer, before), piece_ids(self.tokenizer, after)
        gap = 0 if subjects is None else self.count
        words = [*head, *[pad_id(self.tokenizer)] * gap, *tail]
        ids = torch.tensor([framed_ids(self.tokenizer, words, self.text.max_length)], device=self.device)
        rows = self.text.embed_tokens(ids).expand(batch, -1, -1)
        if subjects is not None:
            start = 1 + len(head)
            rows = torch.cat([rows[:, :start], subjects, rows[:, start + gap :]], dim=1)
        copies = rows.repeat_interleave(self.layers, dim=0)  # (B L, T, D)
        with sdpa_kernel(SDPBackend.MATH):
            return self.text(copies, layer_weights=(1.0, 2.0, 2.0)).unflatten(0, (batch, self.layers))

    def noisy(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Latents with noise."""
        return self.scheduler.add_noise(latents, noise, timesteps)

    def clean(self, noisy: Tensor, guess: Tensor, timesteps: Tensor) -> Tensor:
        """What a guess at the noise says of the latents."""
        share = self.scheduler.alphas_cumprod.to(self.device)[timesteps].view(-1, 1, 1, 1)
        return (noisy - (1 - share).sqrt() * guess.float()) / share.sqrt()

    def normal(self, like: Tensor) -> Tensor:
        """Noise of a tensor's shape."""
        return torch.randn(like.shape, generator=self.generator).to(self.device)

    def update(self, loss: Tensor) -> float:
        """Backward, clip, one update."""
        self.optimizers.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(list(self.encoder.parameters()), self.clip)
        self.optimizers.step(1.0)
        return float(loss.detach())

    # stage 1

    def identity(self, rows: Sequence[int], steps: int) -> float:
        """A step of identity distillation over so many denoising steps; several steps halve the batch, as
        there: ceil(B / n) samples are left. The loss.
        """
        used = asked(len(rows), steps)
        rows = rows[: kept(len(rows), steps)]
        latents, weight = self.latents(rows)
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
            context = self.prompter.context(self.ids(rows))  # (B, T, D)
        id_prompt = context[:, ID_OFFSET : ID_OFFSET + self.count]
        shown = self.taught(latents, context[:, :TEACHER_LENGTH], steps)
        with sdpa_kernel(SDPBackend.MATH):
            subjects = self.subjects(id_prompt)
        contexts = self.contexts("a photo of a {}", subjects, len(rows))
        losses = []
        for noisy, timesteps, target in shown[-used:]:
            guess = self.unet(noisy, timesteps, contexts).sample
            losses.append(masked_mse(guess, target, weight).mean())
        return self.update(torch.stack(losses).sum() / len(losses) ** 0.5)

    @torch.no_grad()
    def taught(self, clean: Tensor, context: Tensor, steps: int) -> list[tuple[Tensor, Tensor, Tensor]]:
        """All of the teacher's denoising steps: noisy latents, timesteps, its word on them."""
        timesteps = torch.randint(1000, (len(clean),), generator=self.generator).to(self.device)
        timesteps = (4 * timesteps + (steps - 1) * 1000) // (3 + steps)
        power, shown = max(steps - 1, 1) ** SLOWER, []
        for _ in range(steps):
            noisy = self.noisy(clean, self.normal(clean), timesteps)
            guess = self.teacher(noisy.to(self.half), timesteps, context.to(self.half)).sample.float()
            shown.append((noisy, timesteps, guess))
            clean = self.clean(noisy, guess, timesteps)
            low, high = SHRINK[0] ** power, SHRINK[1] ** power
            share = torch.rand(len(clean), generator=self.generator).to(self.device)
            timesteps = (timesteps * (low + (high - low) * share)).long()
        return shown


def kept(batch: int, steps: int) -> int:
    """Samples of a batch that the original keeps for several denoising steps."""
    return -(-batch // steps)


def asked(batch: int, steps: int) -> int:
    """Of these denoising steps, those at which its student is asked."""
    return max(1, min(steps, MOST // kept(batch, steps)))
