"""Base and ID teacher in one UNet: half of a batch reads captions, half faces. Shapes: B, T, D, G, C codes.

The two roles share the UNet's weights and differ in the text model that makes its context; a stack's manifest
keeps them apart, so that another teacher can take the second place.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from PIL.Image import Image
from torch import Generator, Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from adaface.encoder.id_prompter import Arc2FacePrompter
from adaface.mini.recipes.latents import LatentSet
from adaface.mini.recipes.sampling import contact_sheet, decode, sample
from adaface.mini.recipes.sface import SFace, identity_loss
from adaface.mini.world.captions import caption
from adaface.mini.world.look import CODES, GROUPS, LookCodes, look_words
from adaface.text.clip import TextEncoder

SCENES = (  # of the sheet that shows where a run stands
    "a photo of a {}",
    "a photo of a {} wearing sunglasses",
    "a photo of a {} wearing a red cap",
    "a photo of a {} in a meadow",
    "a photo of a {} under a night sky",
    "a photo of a {} at sunset",
    "a pencil sketch of a {}",
    "a pop art poster of a {}",
)


@dataclass(frozen=True, kw_only=True)
class BaseConfig:
    """One step of the joint training."""

    batch: int = 64
    context_dropout: float = 0.1
    composed_share: float = 0.85  # captions of pictures that something was done to, or that are close-ups
    look_share: float = 0.7  # captions that name the look
    soft_share: float = 0.5  # of them: each look word lies between its neighbours instead of on one
    soft_width: float = 0.5  # how far, in units of the mean squared distance to the nearest centre
    identity_weight: float = 0.0  # of the identity loss on decoded predictions
    identity_pictures: int = 4  # a step
    identity_times: tuple[float, float] = (0.2, 0.9)  # between these shares of all noise levels
    time_mean: float = 0.8  # of the logit of the noise level: what to draw is decided where noise is high
    time_std: float = 1.2


@dataclass
class BaseRecipe:
    """Noise prediction on captions and on ID embeddings; the identity loss reads the ID half."""

    unet: UNet2DConditionModel
    text: CLIPTextModel
    id_text: CLIPTextModel
    tokenizer: CLIPTokenizer
    scheduler: DDIMScheduler
    data: LatentSet
    looks: LookCodes
    config: BaseConfig
    vae: AutoencoderKL
    recognizer: SFace | None = None
    modules: dict[str, nn.Module] = field(init=False)

    def __post_init__(self) -> None:
        self.modules = {"unet": self.unet, "text": self.text, "id_text": self.id_text}
        self.encoder = TextEncoder(self.text)
        self.prompter = Arc2FacePrompter(self.id_text, self.tokenizer)
        self.device = next(self.unet.parameters()).device
        self.look_ids = torch.tensor(self.tokenizer.convert_tokens_to_ids([f"{w}</w>" for w in look_words()]))
        facts = self.data.facts
        plain = (facts.background == 0) & (facts.accessory == 0) & (facts.style == 0) & (facts.close == 0)
        self.plain, self.composed = plain.nonzero()[:, 0], (~plain).nonzero()[:, 0]
        self.alphas = self.scheduler.alphas_cumprod.to(self.device)
        self.prompter.to(self.device)

    def step(self, generator: Generator) -> dict[str, Tensor]:
        """One batch: captions of any picture, ID embeddings of plain photos; v-prediction on both."""
        half = self.config.batch // 2
        composed = torch.rand(half, generator=generator) < self.config.composed_share
        a_photo = _pick(self.plain, half, generator)
        plain = _pick(self.plain, half, generator)
        any_picture = torch.where(composed, _pick(self.composed, half, generator), plain)
        rows = torch.cat([any_picture, a_photo])  # (B,)
        dropped = torch.rand(2 * half, generator=generator) < self.config.context_dropout
        words = self.caption_context(any_picture, dropped[:half], generator)
        faces = self.prompter.context(self.data.ids[a_photo].to(self.device))
        faces = torch.where(dropped[half:, None, None].to(self.device), self.empty_context(), faces)
        context = torch.cat([words, faces.to(words)])  # (B, T, D)
        clean = self.data.latents[rows].to(self.device).float()
        noise = torch.randn(clean.shape, generator=generator).to(self.device)
        share = self.draw_times(len(rows), generator)
        timesteps = (share * len(self.alphas)).long().clamp(0, len(self.alphas) - 1).to(self.device)
        noisy = self.scheduler.add_noise(clean, noise, timesteps)
        velocity = self.scheduler.get_velocity(clean, noise, timesteps)
        guess = self.unet(noisy, timesteps, context).sample.float()
        errors = (guess - velocity).square().mean((1, 2, 3))
        terms = {"words": errors[:half].mean() / 2, "faces": errors[half:].mean() / 2}
        low, high = self.config.identity_times
        usable = ((share > low) & (share < high) & ~dropped).nonzero()[:, 0]
        chosen = usable[usable >= half][: self.config.identity_pictures]
        if self.config.identity_weight and self.recognizer is not None and len(chosen):
            alphas = self.alphas[timesteps][chosen.to(self.device), None, None, None]
            predicted = alphas.sqrt() * noisy[chosen] - (1 - alphas).sqrt() * guess[chosen]
            loss = self.identity(predicted, rows[chosen], self.recognizer)
            terms["identity"] = self.config.identity_weight * loss
        return terms

    def identity(self, predicted: Tensor, rows: Tensor, recognizer: SFace) -> Tensor:
        """Identity loss, a scalar, of predicted clean latents (b, C, 8, 8) of these rows (b,)."""
        pictures = self.vae.decode(predicted).sample.float()
        where, whose = self.data.landmarks[rows], self.data.ids[rows]
        return identity_loss(recognizer, pictures, where.to(self.device), whose.to(self.device))

    def draw_times(self, count: int, generator: Generator) -> Tensor:
        """Noise levels as shares of all (B,), logit-normal."""
        normal = torch.randn(count, generator=generator)
        return torch.sigmoid(self.config.time_mean + self.config.time_std * normal)

    def caption_context(self, rows: Tensor, dropped: Tensor, generator: Generator) -> Tensor:
        """Text features (B, T, D) of fresh captions for these rows (B,); no words where `dropped` (B,)."""
        config, facts = self.config, self.data.facts
        distances = self.looks.distances(self.data.ids[rows])  # (B, G, C)
        codes = distances.argmin(-1).tolist()
        named = torch.rand(len(rows), generator=generator) < config.look_share
        soft = torch.rand(len(rows), generator=generator) < config.soft_share
        texts = [
            "" if dropped[i] else caption(facts, int(row), codes[i] if named[i] else None, generator)
            for i, row in enumerate(rows)
        ]
        ids = self.token_ids(texts)
        embeds = self.encoder.embed_tokens(ids.to(self.device))
        embeds = self.soften(embeds, ids, distances, soft)
        return self.encoder(embeds)

    def soften(self, embeds: Tensor, ids: Tensor, distances: Tensor, soft: Tensor) -> Tensor:
        """Put each look word of the `soft` rows between its neighbours, by how near their centres are.

        embeds: (B, T, D), token rows of ids (B, T). distances: (B, G, C). soft: (B,) bool. Returns (B, T, D).
        """
        group = torch.full((int(self.look_ids.max()) + 2,), -1)
        group[self.look_ids] = torch.arange(len(self.look_ids)) // CODES
        which = group[ids.clamp_max(len(group) - 1)]  # (B, T), -1 where no look word stands
        row, place = ((which >= 0) & soft[:, None]).nonzero(as_tuple=True)
        if not len(row):
            return embeds
        unit = distances.min(-1).values.mean() * self.config.soft_width
        near = (-distances / unit).softmax(-1)  # (B, G, C)
        table = self.encoder.embed_tokens(self.look_ids.to(self.device)).view(GROUPS, CODES, -1)
        mixed = torch.einsum("bgc,gcd->bgd", near.to(table), table)
        embeds = embeds.clone()
        embeds[row, place] = mixed[row, which[row, place]].to(embeds)
        return embeds

    def token_ids(self, texts: Sequence[str]) -> Tensor:
        """Texts -> (B, T) int64, padded to the text length."""
        length = self.encoder.max_length
        tokens = self.tokenizer(
            list(texts), padding="max_length", max_length=length, truncation=True, return_tensors="pt"
        )
        ids: Tensor = tokens.input_ids
        return ids

    def empty_context(self) -> Tensor:
        """Text features (1, T, D) of no words: the unconditional side of both roles."""
        return self.encoder(self.encoder.embed_tokens(self.token_ids([""]).to(self.device)))

    def sample(self) -> Image | None:
        """People drawn by the teacher, then by their look words in scenes; the originals on top."""
        generator = torch.Generator().manual_seed(0)
        rows = some_of(self.plain, len(SCENES))
        whose = self.data.ids[rows]
        texts = [
            scene.format(" ".join(look_words()[g * CODES + c] for g, c in enumerate(code)) + " person")
            for scene, code in zip(SCENES, self.looks.codes(whose).tolist(), strict=False)
        ]
        empty = self.empty_context().expand(len(rows), -1, -1)
        words = self.encoder(self.encoder.embed_tokens(self.token_ids(texts).to(self.device)))
        faces = self.prompter.context(whose.to(self.device))
        real = decode(self.vae, self.data.latents[rows].to(self.device).float())
        drawn = [
            sample(self.unet, self.vae, self.scheduler, context, empty, generator, steps=20, guidance=2.0)
            for context in (faces, words)
        ]
        return contact_sheet(torch.cat([real, *drawn]), columns=len(rows))


def some_of(rows: Tensor, count: int) -> Tensor:
    """At most `count` of the rows (N,), evenly spaced."""
    return rows[:: max(1, len(rows) // count)][:count]


def _pick(rows: Tensor, count: int, generator: Generator) -> Tensor:
    return rows[torch.randint(len(rows), (count,), generator=generator)]
