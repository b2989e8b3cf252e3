"""Operations and memory of a step at SD-1.5's sizes, COMPUTED from shapes: tensors without numbers.

What is alive at once is counted operation by operation, weights and optimiser by their numbers. Not counted:
the context of the device (0.5 to 1 GB), the workspace of convolutions, what the allocator keeps beside, and
attention's own workspace. Ours as on CUDA: bf16 but for encoder and ID prompter, attention that never
writes its matrix, nothing computed twice.
"""

import copy
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from memory import Alive
from torch import Tensor, nn
from torch.utils.flop_counter import sdpa_backward_flop_count, sdpa_flop_count
from train_steps import shapes
from train_steps.counting import Operations
from train_steps.original import Original, asked, kept, read_one_context_a_layer
from train_steps.original_composition import OriginalComposition
from train_steps.ours import COMPOSITION, IDENTITY

from adaface.checkpoints.ldm import SD15
from adaface.data.latents import vae_latents
from adaface.encoder.config import AdaFaceEncoderConfig
from adaface.encoder.id_prompter import Arc2FacePrompter
from adaface.encoder.inverse import AdaFaceEncoder
from adaface.pipelines.quiet import quiet
from adaface.recipes.base.denoising import Denoiser
from adaface.recipes.base.photos import Batch
from adaface.recipes.composition import step as composition
from adaface.recipes.composition.capture import Capture
from adaface.recipes.composition.grammar import read_grammar
from adaface.recipes.composition.judge import Judge
from adaface.recipes.composition.step import Compose
from adaface.recipes.distill_identity import IdentityStep
from adaface.recipes.identity import rollout
from adaface.recipes.identity.teachers import IdTeacher
from adaface.recipes.registry import read_config
from adaface.text.clip import TextEncoder
from adaface.text.folder import load_tokenizer
from adaface.training.config import Layer
from adaface.training.plan import StepPlan, step_generator

with quiet():
    from diffusers import DDIMScheduler
    from diffusers.models.attention_processor import AttnProcessor

GB = 1e9
PRODIGY = 4  # numbers that it keeps for each weight
META = torch.device("meta")
RECOGNIZER = 512  # numbers of Arc2Face's ID embeddings


class Flash(torch.autograd.Function):
    """Attention as a kernel that never writes its matrix; `counter` is told of its operations."""

    counter: Any = SimpleNamespace(count=0)

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        out = q.new_empty((*q.shape[:-1], v.shape[-1]))
        sums = q.new_empty(q.shape[:-1], dtype=torch.float32)
        ctx.save_for_backward(q, k, v, out, sums)
        Flash.counter.count += sdpa_flop_count(q.shape, k.shape, v.shape)
        return out

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor, ...]:
        q, k, v, _, _ = ctx.saved_tensors
        Flash.counter.count += sdpa_backward_flop_count(outer[0].shape, q.shape, k.shape, v.shape)
        return torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)


def fused(q: Tensor, k: Tensor, v: Tensor, *_: Any, **__: Any) -> Tensor:
    """In place of torch's."""
    out: Tensor = Flash.apply(q, k, v)
    return out


def parts() -> SimpleNamespace:
    """UNets, VAE, text encoders, ID prompter and encoder of SD-1.5's sizes, without numbers."""
    shape, tokenizer = shapes.SHAPES["sd15"], load_tokenizer(SD15 / "tokenizer")
    with quiet(), META:
        unet, teacher, vae = shapes.unet(shape), shapes.unet(shape), shapes.vae(shape)
        text, speaks = shapes.text_model(shape), shapes.text_model(shape)
        encoder = AdaFaceEncoder(AdaFaceEncoderConfig(width=768, layers=12, heads=12, mlp_width=3072))
        prompter = Arc2FacePrompter(speaks, tokenizer)
    scheduler = DDIMScheduler.from_pretrained(SD15, subfolder="scheduler", clip_sample=False)
    found = SimpleNamespace(
        unet=unet, vae=vae, text_encoder=text, teacher=teacher, prompter=prompter.to(META)
    )
    for module in vars(found).values():
        module.requires_grad_(False).eval()
    return SimpleNamespace(**vars(found), encoder=encoder, tokenizer=tokenizer, scheduler=scheduler)


def counted(step: Callable[[], None], *, flash: bool) -> dict[str, float]:
    """TFLOP and GB of what is alive at once beside the weights, of one step."""
    stock = F.scaled_dot_product_attention
    with (
        patch.object(F, "scaled_dot_product_attention", fused if flash else stock),
        patch.object(torch, "autocast", lambda *_, **__: nullcontext()),  # there is none without a device
        patch.object(rollout, "_half", lambda tensor: False),
        Operations() as operations,
        Alive() as alive,
    ):
        Flash.counter = operations
        step()
    return {"tflop": operations.count / 1e12, "activations_gb": alive.peak / GB}


def weights(modules: list[nn.Module]) -> float:
    """GB of their numbers."""
    return sum(t.numel() * t.element_size() for module in modules for t in module.parameters()) / GB


def ours(found: SimpleNamespace, batch: int, steps: int) -> dict[str, float]:
    """Identity distillation by the recipe's own step."""
    for module in (found.unet, found.vae, found.text_encoder, found.teacher):
        nn.Module.to(module, torch.bfloat16)  # without diffusers' advice
    config = read_config("sd15/identity", Layer("", {**IDENTITY, "rollout_steps": [steps], "data": "none"}))
    denoiser = Denoiser(found, (1.0, 1.0, 1.0))
    models = SimpleNamespace(denoiser=denoiser, encoder=found.encoder, subjects=subjects_of(found))
    step = IdentityStep.__new__(IdentityStep)  # without files: its parts are put in by hand
    step.config = config
    step.models = models
    step.teacher = IdTeacher(found.teacher, found.prompter, denoiser.alphas)
    plan = StepPlan(step=1, rows=tuple(range(batch)), seeds=tuple(range(batch)))
    plan = StepPlan(step=1, rows=plan.rows, seeds=plan.seeds, coins=step.coins(1, step_generator(0, 1), 0.0))
    photos = photos_of(plan)

    def once() -> None:
        torch.stack([term.float() for term in step(plan, photos).values()]).sum().backward()
        found.encoder.zero_grad()

    frozen = weights([found.unet, found.vae, found.text_encoder, found.teacher, found.prompter])
    return told(counted(once, flash=True), frozen, found.encoder, batch * steps, batch)


def ours_composed(found: SimpleNamespace, batch: int) -> dict[str, float]:
    """A compositional step by the recipe's own, from photos, one denoising step."""
    for module in (found.unet, found.vae, found.text_encoder):
        nn.Module.to(module, torch.bfloat16)
    config = read_config("sd15/composition", Layer("", {**COMPOSITION, "data": "none"}))
    denoiser, judge = Denoiser(found, (1.0, 1.0, 1.0)), Judge(clip(), found.tokenizer, (0.0,) * 3, (1.0,) * 3)
    step = Compose.__new__(Compose)  # without files: its parts are put in by hand
    step.config, step.own, step.judge, step.recognizer = config, config.compose, judge, None
    step.models = SimpleNamespace(
        denoiser=denoiser, encoder=found.encoder, prompter=found.prompter, subjects=subjects_of(found)
    )
    step.grammar = read_grammar(config.compose.grammar, {})
    step.anchor = copy.deepcopy(found.encoder).requires_grad_(False)
    step.capture = Capture(found.unet, config.compose.layers)
    step.guidance, step.empty = 6.0, denoiser.prompts.no_words()
    rows = tuple(range(batch))
    coins = {"primed": False, "denoising": 1, "progress": 0.0, "filtered": True}
    plan = StepPlan(step=1, rows=rows, seeds=rows, coins=coins)
    photos = photos_of(plan)

    def face(clean: Tensor) -> Tensor:
        denoiser.decode(clean)  # the detector looks at it on the CPU
        return photos.weight

    def begin(*given: Any) -> composition.Start:
        """All samples teach: without numbers, the filter bars none."""
        return replace(Compose.start(step, *given), teaches=torch.ones(batch, dtype=torch.bool))

    def once() -> None:
        torch.stack([term.float() for term in step(plan, photos).values()]).sum().backward()
        found.encoder.zero_grad()

    modules = [found.unet, found.vae, found.text_encoder, found.prompter, step.anchor, judge.model]
    pasted = patch.object(composition, "on_noise", lambda latents, *_: latents)
    with pasted, patch.object(step, "face", face), patch.object(step, "start", begin):
        return told(counted(once, flash=True), weights(modules), found.encoder, batch, batch)


def clip() -> nn.Module:
    """ViT-B/32 without numbers."""
    with quiet(), META:
        return shapes.clip(shapes.SHAPES["sd15"])


def photos_of(plan: StepPlan) -> Batch:
    """Photos of a plan, without numbers."""
    count = len(plan.rows)
    latents = torch.empty(count, 4, 64, 64, device=META)
    places, faces = latents[:, :1], torch.empty(count, RECOGNIZER, device=META)
    return Batch(
        encode=lambda: latents, noise=torch.empty_like(latents), weight=places, foreground=places,
        valid=places, timesteps=torch.empty(count, dtype=torch.int64, device=META), faces=faces,
        id_embeddings=faces, words=("woman",) * count, seeds=plan.seeds,
    )  # fmt: skip


def subjects_of(found: SimpleNamespace) -> Callable[[Tensor], Tensor]:
    """As `Models.subjects`."""

    def subjects(faces: Tensor) -> Tensor:
        with torch.no_grad():
            id_prompt = found.prompter(faces)
        rows: Tensor = found.encoder(id_prompt, id_scale=1.0)
        return rows

    return subjects


def told(
    seen: dict[str, float], frozen: float, encoder: nn.Module, images: int, batch: int
) -> dict[str, float]:
    """Figures of one way: weights, gradients and the optimiser's numbers on top of what is alive."""
    trained = weights([encoder]) * (2 + PRODIGY)
    return {
        "batch": batch,
        "tflop_an_image": round(seen["tflop"] / images, 2),
        "frozen_gb": round(frozen, 2),
        "trained_gb": round(trained, 2),
        "activations_gb": round(seen["activations_gb"], 2),
        "total_gb": round(frozen + trained + seen["activations_gb"], 1),
    }


class Shapes(Original):
    """The original's way over parts without numbers; pictures and faces are there already."""

    def __init__(self, found: SimpleNamespace) -> None:
        self.device, self.half = META, torch.float16
        self.unet, self.vae, self.tokenizer = found.unet, found.vae, found.tokenizer
        self.unet.enable_gradient_checkpointing()
        self.vae.set_attn_processor(AttnProcessor())
        self.layers = read_one_context_a_layer(self.unet)
        nn.Module.to(found.teacher, self.half)
        self.teacher, self.prompter, self.encoder = found.teacher, found.prompter, found.encoder
        self.text, self.scheduler = TextEncoder(found.text_encoder), found.scheduler
        self.count, self.heads = self.encoder.config.num_id_vectors, self.encoder.config.heads
        self.generator = torch.Generator().manual_seed(0)

    def ids(self, rows: Sequence[int]) -> Tensor:
        """Numbers of a recogniser, which is not counted."""
        return torch.empty(len(rows), RECOGNIZER, device=META)

    def latents(self, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        """The VAE's work on pictures."""
        side = shapes.SHAPES["sd15"].pixels
        latents = vae_latents(self.vae, torch.empty(len(rows), 3, side, side, device=META))
        return latents, torch.empty(len(rows), 1, *latents.shape[2:], device=META)

    def update(self, loss: Tensor) -> float:
        """Backward alone."""
        self.encoder.zero_grad()
        loss.backward()
        return 0.0


def theirs(found: SimpleNamespace, batch: int, steps: int) -> dict[str, float]:
    """Identity distillation by the original's way."""
    way = Shapes(found)
    models = [found.unet, found.vae, found.text_encoder, found.teacher, found.prompter]
    seen = counted(lambda: none(way.identity(range(batch), steps)), flash=False)
    return told(seen, weights(models), found.encoder, kept(batch, steps) * asked(batch, steps), batch)


class ShapesComposition(Shapes, OriginalComposition):
    """The compositional step over such parts."""

    def __init__(self, found: SimpleNamespace) -> None:
        super().__init__(found)
        self.seen = {}
        read_one_context_a_layer(self.unet, self.seen)
        self.judge = clip().requires_grad_(False).eval()


def theirs_composed(found: SimpleNamespace, batch: int) -> dict[str, float]:
    """A fresh compositional step and its reuse by the original's way; it takes one person at a time."""
    way = ShapesComposition(found)
    models = [found.unet, found.vae, found.text_encoder, found.prompter, way.judge]
    seen = counted(lambda: none(way.composition([0])), flash=False)
    return told(seen, weights(models), found.encoder, 2, 1)


def none(value: object) -> None:
    """Nothing."""


def both(batch: int, steps: int) -> dict[str, Any]:
    """A row of both ways; steps: of denoising, 0 is a compositional step."""
    if steps:
        row = {"ours": ours(parts(), batch, steps), "original": theirs(parts(), batch, steps)}
    else:
        row = {"ours": ours_composed(parts(), batch), "original": theirs_composed(parts(), batch)}
    share = row["original"]["tflop_an_image"] / row["ours"]["tflop_an_image"]
    return {**row, "operations_ratio": round(share, 2)}
