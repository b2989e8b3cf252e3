"""Prepared photos as the samples of a step: which, and each with all that is its own. B, S, C h x w, D_id."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from adaface.data.augment import Augment
from adaface.data.dataset import FaceDataset
from adaface.data.latents import LatentCache
from adaface.losses.reconstruction import place_weight
from adaface.recipes.base.batches import PeopleSampler
from adaface.recipes.base.config import PhotoConfig
from adaface.recipes.base.denoising import Denoiser
from adaface.recipes.base.latents import resized
from adaface.training.plan import sample_generator, seeds


@dataclass(frozen=True, eq=False)
class Drawn:
    """One sample of a step, with all its coins. picture or latent: whichever is at hand."""

    picture: Tensor | None  # (3, S, S) uint8
    latent: Tensor | None  # (C, h, w)
    weight: Tensor  # (1, h, w) of each place in the loss
    foreground: Tensor  # (1, h, w), 1 on the person alone
    valid: Tensor  # (1, h, w), 1 on all of the photo
    face: Tensor  # (D_id,), the ID embedding as prepared
    id_embedding: Tensor  # (D_id,), noise added
    timestep: int
    noise: Tensor  # (C, h, w)
    posterior: Tensor  # (C, h, w), of the VAE
    word: str
    seed: int  # of the plan: what a step draws beyond this comes from `mixed(seed, ...)`


@dataclass(frozen=True, eq=False)
class Batch:
    """What a step is given: the samples of its part, on the device of the models, in the plan's order."""

    encode: Callable[[], Tensor]  # what `latents` asks for; a step that looks at no photo encodes none
    noise: Tensor  # (B, C, h, w)
    timesteps: Tensor  # (B,) noise levels
    weight: Tensor  # (B, 1, h, w): 1 on the person, less beside, 0 outside of the photo
    foreground: Tensor  # (B, 1, h, w): 1 on the person, 0 elsewhere
    valid: Tensor  # (B, 1, h, w): 1 on all of the photo, 0 outside
    faces: Tensor  # (B, D_id), ID embeddings as prepared
    id_embeddings: Tensor  # (B, D_id), some with noise
    words: tuple[str, ...]  # class words: "woman", "boy", ...
    seeds: tuple[int, ...]  # of the plan

    def __len__(self) -> int:
        return len(self.words)

    @cached_property
    def latents(self) -> Tensor:
        """(B, C, h, w) float32, clean, at the UNet's scale; made at first use."""
        return self.encode()


class Photos:
    """The photos of a data set, or its cached latents, as samples that follow from a row and a seed."""

    def __init__(
        self,
        config: PhotoConfig,
        dataset: FaceDataset,
        denoiser: Denoiser,
        size: int,
        cache: LatentCache | None = None,
    ) -> None:
        """size: of the base's pictures. cache: latents of the data set, to be taken instead of them."""
        self.config, self.dataset, self.denoiser = config, dataset, denoiser
        self.size, self.cache = size, cache
        mixed = [dataset.is_mixed(person) for person in range(len(dataset.people))]
        self._people = PeopleSampler(dataset.person_of, mixed, config.balance)

    def draw(self, generator: Generator) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Rows and seeds of a plan."""
        rows = self._people.draw(self.config.batch, generator)
        return rows, seeds(generator, self.config.batch)

    def read(self, row: int, seed: int) -> Drawn:
        """A sample with all that is its own, from its seed alone; called in the loader's threads."""
        config, generator = self.config, sample_generator(seed)
        shape = self.denoiser.latent_shape(self.size)
        timestep = int(torch.randint(self.denoiser.steps, (1,), generator=generator))
        noise, posterior = torch.randn(2, *shape, generator=generator)
        face = torch.from_numpy(self.dataset.id_embeddings[row].copy())
        embedding = noisy_id(face, config.id_noise, config.id_noise_share, generator)
        if self.cache is not None:
            which = int(torch.randint(self.cache.count, (1,), generator=generator))
            cached = self.cache[row, which]
            picture, latent, mask, valid = None, cached.latent, cached.mask, cached.valid
            word = self.dataset.class_word(row)
        else:
            sample = self.dataset[row]
            sample = Augment.draw(generator, flip=config.flip, scale=config.scale).apply(sample)
            picture, latent, word = resized(sample.image[None], self.size)[0], None, sample.class_word
            mask, valid = (F.adaptive_avg_pool2d(m.float(), shape[1:]) for m in (sample.mask, sample.valid))
        mask, valid = mask.float()[None], valid.float()[None]
        weight, foreground = (place_weight(mask, valid, b)[0] for b in (config.background_weight, 0.0))
        return Drawn(
            picture, latent, weight, foreground, valid[0], face, embedding, timestep, noise, posterior, word,
            seed,
        )  # fmt: skip

    def batch(self, items: Sequence[Drawn]) -> Batch:
        """Samples side by side; their pictures become latents when they are asked for."""
        device = self.denoiser.device
        noise, weight, foreground, valid, faces, noised = (
            torch.stack([getattr(item, name) for item in items]).to(device)
            for name in ("noise", "weight", "foreground", "valid", "face", "id_embedding")
        )
        return Batch(
            encode=lambda: self._latents(items),
            noise=noise,
            timesteps=torch.tensor([item.timestep for item in items], device=device),
            weight=weight,
            foreground=foreground,
            valid=valid,
            faces=faces,
            id_embeddings=noised,
            words=tuple(item.word for item in items),
            seeds=tuple(item.seed for item in items),
        )

    def shown(self, count: int) -> list[int]:
        """A row of each of `count` people, evenly spaced; of more photos where there are fewer people."""
        people, rows = len(self.dataset.people), len(self.dataset)
        wanted = min(count, rows)
        if people < wanted:
            return [rows * index // wanted for index in range(wanted)]
        return [int(self.dataset.rows_of(people * index // wanted)[0]) for index in range(wanted)]

    def _latents(self, items: Sequence[Drawn]) -> Tensor:
        ready = [item.latent for item in items if item.latent is not None]
        if len(ready) == len(items):
            return torch.stack(ready).to(self.denoiser.device)
        pictures = torch.stack([item.picture for item in items if item.picture is not None])
        return self.denoiser.encode(pictures, torch.stack([item.posterior for item in items]))


def noisy_id(embedding: Tensor, spread: tuple[float, float], share: float, generator: Generator) -> Tensor:
    """An ID embedding (D_id,), in `share` of the cases with relative noise of a strength from `spread`; its
    length stays. Source: AdaFace, noise on real ID embeddings; docs/method.md.
    """
    coin, where = torch.rand(2, generator=generator).tolist()
    noise = torch.randn(embedding.shape, generator=generator)
    if coin >= share:
        return embedding
    strength = spread[0] + (spread[1] - spread[0]) * where
    blurred = embedding + strength * embedding.std() * noise
    return F.normalize(blurred, dim=-1) * embedding.norm()
