"""Composed pictures as cached latents: made once, trained on often. Shapes: B, N, C channels, 8x8."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file
from torch import Generator, Tensor

from adaface.face.differentiable.warp import resample
from adaface.files import write_atomic
from adaface.mini.world.data import FacePack
from adaface.mini.world.facts import CLOSE_UP, FROM_AFAR, USUAL, Facts, compose, draw_facts
from adaface.mini.world.geometry import SIZE, fixed_crop, jitter, move_landmarks
from adaface.mini.world.look import ClassWordNet
from adaface.mini.world.segment import Segmenter

FULL_SIDE = (60.0, 70.0)  # pixels of the 80-pixel crop that a picture shows
CLOSE_SIDE = (58.0, 64.0)  # the same of a 64-pixel close-up
FAR_SIDE = (79.0, 80.0)  # from afar: the whole crop
FAR_SHARE = 0.1  # of the composed pictures are from afar


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """A batch of the world: pictures (B, 3, 64, 64) in 0..1, landmarks (B, 5, 2), ids (B, D_id), facts.

    person: (B,), -1 where nobody is named.
    """

    pictures: Tensor
    landmarks: Tensor
    ids: Tensor
    person: Tensor
    facts: Facts


@dataclass(frozen=True, kw_only=True)
class LatentSet:
    """Latents (N, C, 8, 8) float16 with what they show: landmarks (N, 5, 2), ids (N, D_id), facts (N,).

    person: (N,), -1 where nobody is named.
    """

    latents: Tensor
    landmarks: Tensor
    ids: Tensor
    person: Tensor
    facts: Facts

    def __len__(self) -> int:
        return len(self.latents)

    def save(self, path: str | Path) -> None:
        """Write one safetensors file."""
        tensors = {name: getattr(self, name) for name in ("latents", "landmarks", "ids", "person")}
        tensors |= {f"facts.{n}": getattr(self.facts, n) for n in Facts.__dataclass_fields__}
        write_atomic(path, lambda beside: save_file({n: t.contiguous() for n, t in tensors.items()}, beside))

    @classmethod
    def load(cls, path: str | Path) -> "LatentSet":
        """Read what `save` wrote."""
        tensors = load_file(path)
        facts = Facts(**{n: tensors.pop(f"facts.{n}") for n in Facts.__dataclass_fields__})
        return cls(**tensors, facts=facts)


class World:
    """Face packs made into pictures: segmented, classified, jittered, composed."""

    def __init__(
        self, full: FacePack, close: FacePack, segmenter: Segmenter, classifier: ClassWordNet | None = None
    ) -> None:
        """classifier: says man or woman, young or old, on the CPU; without it everybody is a "person"."""
        self.packs = (full, close)
        self.device = next(segmenter.parameters()).device
        self.masks = tuple(_masks(segmenter.eval(), pack.images) for pack in self.packs)
        self.class_words = tuple(
            classifier.class_words(pack.ids) if classifier else torch.zeros(len(pack), dtype=torch.long)
            for pack in self.packs
        )

    def view(
        self,
        rows: Tensor,
        generator: Generator,
        *,
        close: bool = False,
        plain: bool,
        fixed: bool = False,
        all_pairs: bool = False,
    ) -> Pictures:
        """Pictures of these rows (B,) of a pack.

        close: of the close-ups. plain: the photos as they are. fixed: no jitter.
        all_pairs: also pairs of facts that training never shows.
        """
        pack, device = self.packs[close], self.device
        source = pack.images.shape[-1]
        images = pack.images[rows].to(device).float() / 255
        framing = torch.full((len(rows),), CLOSE_UP if close else USUAL)
        if fixed:
            maps, mirrored = fixed_crop(len(rows), source), torch.zeros(len(rows), dtype=torch.bool)
        else:
            maps, mirrored = jitter(len(rows), source, CLOSE_SIDE if close else FULL_SIDE, generator)
            if not plain and not close:
                far = torch.rand(len(rows), generator=generator) < FAR_SHARE
                framing[far] = FROM_AFAR
                wide, turned = jitter(len(rows), source, FAR_SIDE, generator)
                maps, mirrored = (
                    torch.where(far[:, None, None], wide, maps),
                    torch.where(far, turned, mirrored),
                )
        crops = resample(images, maps.to(device), SIZE).clamp(0, 1)
        landmarks = move_landmarks(pack.landmarks[rows], maps, mirrored)
        words = self.class_words[close][rows]
        facts = draw_facts(words, framing, generator, all_pairs=all_pairs)
        if plain:
            nothing = torch.zeros_like(words)
            facts = Facts(
                background=nothing, accessory=nothing, style=nothing, class_word=words, framing=framing
            )
        else:
            masks = resample(self.masks[close][rows].to(device).float() / 255, maps.to(device), SIZE)
            crops = compose(crops, masks, landmarks.to(device), facts, generator)
        return Pictures(
            pictures=crops, landmarks=landmarks, ids=pack.ids[rows], person=pack.person[rows], facts=facts
        )

    def everything(
        self,
        rounds: int,
        generator: Generator,
        *,
        plain: bool,
        close: bool,
        batch: int = 64,
        all_pairs: bool = False,
    ) -> Iterator[Pictures]:
        """Every row of a pack `rounds` times, in batches."""
        for _ in range(rounds):
            for rows in torch.randperm(len(self.packs[close]), generator=generator).split(batch):
                yield self.view(rows, generator, close=close, plain=plain, all_pairs=all_pairs)


@torch.no_grad()
def _masks(segmenter: Segmenter, images: Tensor, batch: int = 64) -> Tensor:
    """The person in each crop (N, 3, S, S) uint8, once and for all: (N, 1, S, S) uint8."""
    device = next(segmenter.parameters()).device
    parts = []
    for chunk in images.split(batch):
        with torch.autocast(device.type, torch.bfloat16):
            person = segmenter.person(chunk.to(device).float() / 255).float()
        parts.append((person * 255).round().byte().cpu())
    return torch.cat(parts)


@torch.no_grad()
def encode(vae: AutoencoderKL, pictures: Tensor, bf16: bool = True) -> Tensor:
    """Pictures (B, 3, 64, 64) in 0..1 -> latents (B, C, 8, 8) float16, the mode."""
    device = pictures.device.type
    with torch.autocast(device, torch.bfloat16, enabled=bf16):
        latents: Tensor = vae.encode(pictures * 2 - 1).latent_dist.mode()
    return latents.half()


def cache(
    world: World,
    vae: AutoencoderKL,
    generator: Generator,
    *,
    plain: int,
    composed: int,
    close: int,
    all_pairs: bool = False,
    progress: Callable[[int], None] = lambda done: None,
) -> LatentSet:
    """Encode the world: every full crop `plain` times as it is and `composed` times composed.

    Close-ups: `close` times, composed. all_pairs: also pairs of facts that training never shows.
    progress: told how many pictures each batch adds.
    """
    latents: list[Tensor] = []
    seen: list[Pictures] = []
    streams = [(plain, True, False), (composed, False, False), (close, False, True)]
    for rounds, is_plain, is_close in streams:
        for batch in world.everything(rounds, generator, plain=is_plain, close=is_close, all_pairs=all_pairs):
            latents.append(encode(vae, batch.pictures).cpu())
            seen.append(replace(batch, pictures=torch.empty(0)))  # all pictures would fill the memory
            progress(len(batch.ids))

    def joined(part: Callable[[Pictures], Tensor]) -> Tensor:
        return torch.cat([part(batch).cpu() for batch in seen])

    return LatentSet(
        latents=torch.cat(latents),
        landmarks=joined(lambda batch: batch.landmarks),
        ids=joined(lambda batch: batch.ids),
        person=joined(lambda batch: batch.person),
        facts=Facts(
            **{n: joined(lambda batch, n=n: getattr(batch.facts, n)) for n in Facts.__dataclass_fields__}  # type: ignore[misc]
        ),
    )
