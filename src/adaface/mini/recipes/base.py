"""Base and ID teacher in one UNet: a batch reads captions and faces. Shapes: B, T, D, G groups, C codes.

The two roles share the UNet's weights and differ in the text model that makes its context; a stack's manifest
keeps them apart, so that another teacher can take the second place.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from PIL.Image import Image
from torch import Generator, Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from adaface.encoder.id_prompter import Arc2FacePrompter
from adaface.errors import ConfigError
from adaface.face.differentiable.network import SFace, identity_loss
from adaface.mini.recipes.latents import LatentSet
from adaface.mini.recipes.sampling import contact_sheet, decode, sample
from adaface.mini.world.captions import caption
from adaface.mini.world.facts import USUAL
from adaface.mini.world.look import CODES, GROUPS, LookCodes, look_words
from adaface.recipes.base.drawn import draw_latents, two_levels
from adaface.recipes.base.likeness import likeness
from adaface.recipes.base.predictions import clean_of
from adaface.text.clip import TextEncoder
from adaface.training.plan import seeds

NAMED = "a photo of {}"  # what teaches the look words
SCENES = (  # of the sheet that shows where a run stands
    "a photo of a {}",
    "a photo of a {} wearing sunglasses",
    "a photo of a {} wearing a gold crown",
    "a photo of a {} in a meadow",
    "a photo of a {} under a night sky",
    "a photo of a {} in front of a brick wall",
    "a pencil sketch of a {}",
    "a thermal photo of a {}",
)


@dataclass(frozen=True, kw_only=True)
class BaseConfig:
    """One step of the joint training."""

    batch: int = 64
    face_share: float = 0.7  # of the batch reads ID embeddings, the rest captions
    taught_share: float = 0.1  # more samples: the look words of some of the faces, taught by the ID teacher
    context_dropout: float = 0.1
    composed_share: float = 0.85  # captions of pictures that something was done to, or that are close-ups
    look_share: float = 0.7  # captions that name the look
    soft_share: float = 0.5  # of them: each look word lies between its neighbours instead of on one
    soft_width: float = 0.5  # how far, in units of the mean squared distance to the nearest centre
    identity_weight: float = 0.0  # of the identity loss on decoded predictions
    identity_pictures: int = 6  # a step
    identity_times: tuple[float, float] = (0.12, 0.7)  # shares of all noise levels; above, it leaves marks
    drawn_weight: float = 0.0  # of the likeness of what is drawn from noise
    drawn_pictures: int = 6  # a step
    drawn_share: float = 0.6  # of them the ID teacher draws, the rest look words, in scenes
    between_share: float = 0.6  # of the people it draws lie between two of the data: harder to learn by heart
    scene_weight: float = 0.35  # of the likeness in scenes, times drawn_weight; at 1, the scenes went
    high_share: float = 0.3  # of the noise levels lie in the uppermost fifth, where a picture is laid out

    @property
    def reads_faces(self) -> bool:
        """Whether a recogniser is needed."""
        return bool(self.identity_weight or self.drawn_weight)


@dataclass
class BaseRecipe:
    """Noise prediction on captions and on ID embeddings; the identity loss reads the faces."""

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
        plain = (
            (facts.background == 0) & (facts.accessory == 0) & (facts.style == 0) & (facts.framing == USUAL)
        )
        self.plain, self.composed = plain.nonzero()[:, 0], (~plain).nonzero()[:, 0]
        # with nothing worn: a bare face is more alike, so that caps and crowns would go
        bare = (facts.accessory == 0) & (facts.framing == USUAL)
        self.scenes = (~plain & bare).nonzero()[:, 0]
        self.alphas = self.scheduler.alphas_cumprod.to(self.device)
        self.prompter.to(self.device)
        self.mean_id = self.data.ids[self.plain].mean(0).to(self.device)

    def step(self, generator: Generator) -> dict[str, Tensor]:
        """One batch: captions of any picture, ID embeddings of plain photos; v-prediction on both."""
        config = self.config
        faces = min(config.batch - 1, max(1, round(config.batch * config.face_share)))
        words = config.batch - faces
        a_photo = _pick(self.plain, faces, generator)
        composed = torch.rand(words, generator=generator) < config.composed_share
        plain = _pick(self.plain, words, generator)
        any_picture = torch.where(composed, _pick(self.composed, words, generator), plain)
        rows = torch.cat([a_photo, any_picture])  # (B,), faces first
        dropped = torch.rand(len(rows), generator=generator) < config.context_dropout
        context = self.prompter.context(self.data.ids[a_photo].to(self.device))
        context = torch.where(dropped[:faces, None, None].to(self.device), self.empty_context(), context)
        read = self.caption_context(any_picture, dropped[faces:], generator)
        context = torch.cat([context, read.to(context)])  # (B, T, D)
        clean = self.data.latents[rows].to(self.device).float()
        noise = torch.randn(clean.shape, generator=generator).to(self.device)
        share = self.draw_times(len(rows), generator)
        timesteps = self.timesteps(share)
        noisy = self.scheduler.add_noise(clean, noise, timesteps)
        velocity = self.scheduler.get_velocity(clean, noise, timesteps)
        guess = self.unet(noisy, timesteps, context).sample.float()
        errors = (guess - velocity).square().mean((1, 2, 3)) / len(rows)
        terms = {"words": errors[faces:].sum(), "faces": errors[:faces].sum()}
        known = (~dropped[:faces]).nonzero()[:, 0]
        taught = known[: round(config.batch * config.taught_share)]
        if len(taught):
            read = self.unet(noisy[taught], timesteps[taught], self.look_context(rows[taught], generator))
            gap = (read.sample.float() - guess[taught].detach()).square().mean()
            terms["taught"] = gap * len(taught) / len(rows)
        low, high = config.identity_times
        shown = known[(share[known] > low) & (share[known] < high)][: config.identity_pictures]
        if config.identity_weight and self.recognizer is not None and len(shown):
            predicted = self.clean(noisy[shown], guess[shown], timesteps[shown])
            terms["identity"] = config.identity_weight * self.identity(
                predicted, rows[shown], self.recognizer
            )
        if config.drawn_weight and config.drawn_pictures and self.recognizer is not None:
            terms |= self.drawn_terms(generator)
        return terms

    def drawn_terms(self, generator: Generator) -> dict[str, Tensor]:
        """Likeness of what the ID teacher draws from noise, and of what look words draw in scenes.

        A UNet that learns the likeness from ID embeddings alone forgets it under any other prompt. In scenes
        it counts less and leaves the layout alone: a sky would go, since a face alone is more alike.
        """
        config, count = self.config, self.config.drawn_pictures
        taught = max(1, round(count * config.drawn_share)) if len(self.scenes) else count
        ids, others = (self.data.ids[_pick(self.plain, taught, generator)] for _ in range(2))
        ids = between(ids, others, config.between_share, generator).to(self.device)
        context = self.prompter.context(ids)
        if taught < count:
            said, whose = self.scene_contexts(count - taught, generator)
            context, ids = torch.cat([context, said.to(context)]), torch.cat([ids, whose])
        gaps = self.drawn(context, ids, generator, layout=torch.arange(count) < taught)
        terms = {"drawn": config.drawn_weight * gaps[:taught].mean()}
        if taught < count:
            terms["scenes"] = config.drawn_weight * config.scene_weight * gaps[taught:].mean()
        return terms

    def scene_contexts(self, count: int, generator: Generator) -> tuple[Tensor, Tensor]:
        """Text features (b, T, D) of `count` scenes in which look words say who it is, and who (b, D_id)."""
        rows = _pick(self.scenes, count, generator)
        kept = torch.zeros(count, dtype=torch.bool)
        context = self.caption_context(rows, kept, generator, surely=True)
        return context, self.data.ids[rows].to(self.device)

    def drawn(
        self, context: Tensor, ids: Tensor, generator: Generator, *, layout: Tensor | None = None
    ) -> Tensor:
        """1 - likeness (b,) of what is drawn from noise for contexts (b, T, D) of people (b, D_id).

        layout: (b,) bool, as for `draw_latents`. Raises ConfigError: there is no recogniser.
        """
        if self.recognizer is None:
            raise ConfigError("drawn_weight: likeness needs a recogniser. Give one, or a weight of 0")
        levels = two_levels(generator)
        shape = (len(ids), *self.data.latents.shape[1:])
        latents = draw_latents(
            lambda latents, timesteps, context: self.unet(latents, timesteps, context).sample,
            "v_prediction",
            self.alphas,
            context,
            self.empty_context(),
            torch.randn(shape, generator=generator).to(self.device),
            levels,
            layout=layout,
        )
        pictures = self.vae.decode(latents).sample.float()
        return 1 - likeness(self.recognizer, pictures, ids, self.mean_id, seeds(generator, len(ids)))

    def identity(self, predicted: Tensor, rows: Tensor, recognizer: SFace) -> Tensor:
        """Identity loss, a scalar, of predicted clean latents (b, C, 8, 8) of these rows (b,)."""
        pictures = self.vae.decode(predicted).sample.float()
        where, whose = self.data.landmarks[rows], self.data.ids[rows]
        return identity_loss(recognizer, pictures, where.to(self.device), whose.to(self.device))

    def clean(self, noisy: Tensor, velocity: Tensor, timesteps: Tensor) -> Tensor:
        """Clean latents (B, C, 8, 8) that a predicted velocity means for noisy ones at timesteps (B,)."""
        return clean_of("v_prediction", noisy, velocity, self.alphas[timesteps])

    def draw_times(self, count: int, generator: Generator) -> Tensor:
        """Noise levels as shares of all (B,): even, and some more in the uppermost fifth."""
        anywhere = torch.rand(count, generator=generator)
        high = torch.rand(count, generator=generator) < self.config.high_share
        return torch.where(high, 0.8 + 0.2 * anywhere, anywhere)

    def timesteps(self, share: Tensor) -> Tensor:
        """Noise levels as shares of all (B,) -> timesteps (B,) on the device."""
        count = len(self.alphas)
        return (share * count).long().clamp(0, count - 1).to(self.device)

    def look_context(self, rows: Tensor, generator: Generator) -> Tensor:
        """Text features (B, T, D) of the look words of these rows' people (B,), mostly soft, and no more."""
        distances = self.looks.distances(self.data.ids[rows])
        texts = [NAMED.format(" ".join(_words_of(code))) for code in distances.argmin(-1).tolist()]
        ids = self.token_ids(texts)
        soft = torch.rand(len(rows), generator=generator) < self.config.soft_share
        return self.encoder(self.soften(self.encoder.embed_tokens(ids.to(self.device)), ids, distances, soft))

    def caption_context(
        self, rows: Tensor, dropped: Tensor, generator: Generator, *, surely: bool = False
    ) -> Tensor:
        """Text features (B, T, D) of fresh captions for these rows (B,); no words where `dropped` (B,).

        surely: each names the look, in soft words, so that it says who it is.
        """
        config, facts = self.config, self.data.facts
        distances = self.looks.distances(self.data.ids[rows])  # (B, G, C)
        codes = distances.argmin(-1).tolist()
        named = torch.rand(len(rows), generator=generator) < (1.0 if surely else config.look_share)
        soft = torch.rand(len(rows), generator=generator) < (1.0 if surely else config.soft_share)
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
            scene.format(" ".join(_words_of(code)) + " person")
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


def between(ids: Tensor, others: Tensor, share: float, generator: Generator) -> Tensor:
    """ID embeddings (B, D_id), a `share` of them of nobody: they lie between two people; the rest are `ids`.

    ids, others: unit embeddings (B, D_id). One between two is normalize((1 - t) id + t other), t even in
    0..0.5: never nearer to the other. Why: of the people in training, likeness is partly learned by heart
    (docs/mini.md, "The full world").
    """
    t = 0.5 * torch.rand(len(ids), 1, generator=generator)
    mixed = torch.rand(len(ids), 1, generator=generator) < share
    return torch.where(mixed, F.normalize((1 - t) * ids + t * others, dim=-1), ids)


def some_of(rows: Tensor, count: int) -> Tensor:
    """At most `count` of the rows (N,), evenly spaced."""
    return rows[:: max(1, len(rows) // count)][:count]


def _words_of(code: Sequence[int]) -> list[str]:
    return [look_words()[group * CODES + index] for group, index in enumerate(code)]


def _pick(rows: Tensor, count: int, generator: Generator) -> Tensor:
    return rows[torch.randint(len(rows), (count,), generator=generator)]
