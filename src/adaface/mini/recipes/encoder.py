"""Recipe of the AdaFace encoder: stage 1 in its plain form. Shapes: B, K=16 rows, D width, T text positions.

The student is the base with the subject embeddings in an ordinary prompt; the target is the ID teacher's own
prediction on the same noisy latents. Source: AdaFace, stage 1; docs/method.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from PIL.Image import Image
from torch import Generator, Tensor, nn

from adaface.encoder.inverse import AdaFaceEncoder
from adaface.mini.recipes.base import BaseRecipe, between, some_of
from adaface.mini.recipes.sampling import contact_sheet, decode, sample
from adaface.mini.world.captions import describe
from adaface.mini.world.look import CODES, GROUPS

TEMPLATES = (
    "a photo of {}",
    "a photo of a {} person",
    "photo of {}",
    "a photo of {} person",
    "a portrait of {}",
    "{}",
)
SHOWN = ("a photo of {}", "a photo of {} wearing sunglasses in a meadow")  # on the sheet of a run
FILL = ","  # stands for each subject row until it is filled


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """One step of the distillation."""

    batch: int = 32
    id_noise: float = 0.3  # most relative noise on an ID embedding, drawn for each
    between_share: float = 0.6  # of the people beyond `own` lie between two: harder to learn by heart
    identity_weight: float = 0.0  # of the identity loss on the student's decoded predictions
    identity_pictures: int = 6  # a step
    drawn_weight: float = 0.0  # of the likeness of what the student draws from noise
    drawn_pictures: int = 6  # a step

    @property
    def reads_faces(self) -> bool:
        """Whether a recogniser is needed."""
        return bool(self.identity_weight or self.drawn_weight)

    @property
    def own(self) -> int:
        """How many samples of a batch show whom they are of: those that the identity loss may read."""
        return min(self.batch, 4 * self.identity_pictures) if self.identity_weight else 0


@dataclass
class EncoderRecipe:
    """Trains the inverse encoder; everything of the base stays as it is."""

    encoder: AdaFaceEncoder
    base: BaseRecipe
    config: EncoderConfig
    modules: dict[str, nn.Module] = field(init=False)

    def __post_init__(self) -> None:
        self.modules = {"encoder": self.encoder}
        for module in self.base.modules.values():
            module.requires_grad_(False)

    def draw(self, generator: Generator) -> tuple[Tensor, Tensor]:
        """Rows of plain photos (B,), and ID embeddings (B, D_id): near the photos' own in the samples that
        the identity loss may read; of people between two in a share of the rest.
        """
        base, config = self.base, self.config
        rows, others = (
            base.plain[torch.randint(len(base.plain), (config.batch,), generator=generator)] for _ in range(2)
        )
        ids = base.data.ids[rows]
        mixed = between(ids, base.data.ids[others], config.between_share, generator)
        ids = torch.cat([ids[: config.own], mixed[config.own :]])
        spread = config.id_noise * torch.rand(len(ids), 1, generator=generator) / ids.shape[-1] ** 0.5
        ids = F.normalize(ids + spread * torch.randn(ids.shape, generator=generator), dim=-1)
        return rows, ids.to(base.device)

    def step(self, generator: Generator) -> dict[str, Tensor]:
        """IDs near real ones, their teacher's prediction, the student's."""
        base = self.base
        rows, ids = self.draw(generator)
        clean = base.data.latents[rows].to(base.device).float()
        noise = torch.randn(clean.shape, generator=generator).to(base.device)
        share = base.draw_times(len(rows), generator)
        timesteps = base.timesteps(share)
        noisy = base.scheduler.add_noise(clean, noise, timesteps)
        with torch.no_grad():
            id_prompt = base.prompter(ids)  # (B, K, D)
            target = base.unet(noisy, timesteps, base.prompter.context(ids)).sample
        subject = self.encoder(id_prompt)  # (B, K, D), text prompt space
        guess = base.unet(noisy, timesteps, self.fill(_pick(TEMPLATES, generator), subject)).sample.float()
        terms = {"distill": F.mse_loss(guess, target.float())}
        low, high = base.config.identity_times
        share = share[: self.config.own]
        some = ((share > low) & (share < high)).nonzero()[: self.config.identity_pictures, 0]
        if self.config.identity_weight and base.recognizer is not None and len(some):
            predicted = base.clean(noisy[some], guess[some], timesteps[some])
            terms["identity"] = self.config.identity_weight * base.identity(
                predicted, rows[some], base.recognizer
            )
        if self.config.drawn_weight and self.config.drawn_pictures:
            count = self.config.drawn_pictures
            texts = (_pick(TEMPLATES, generator), self.scene(generator))
            halves = zip(texts, subject[-count:].chunk(2), strict=False)  # of one sample there is no half
            context = torch.cat([self.fill(text, half) for text, half in halves])
            terms["drawn"] = self.config.drawn_weight * base.drawn(context, ids[-count:], generator).mean()
        return terms

    def scene(self, generator: Generator) -> str:
        """A scene of the world in which a face is to be seen; a plain template if there is none."""
        if not len(self.base.scenes):
            return _pick(TEMPLATES, generator)
        row = int(_pick_row(self.base.scenes, generator))
        return describe(self.base.data.facts, row, "{}")

    def fill(self, template: str, subject: Tensor) -> Tensor:
        """Text features (B, T, D) of a template with the subject rows (B, K, D) in its place."""
        base = self.base
        before = template.split("{}")[0]
        count = subject.shape[1]
        ids = base.token_ids([template.format(" ".join([FILL] * count))])
        start = 1 + len(base.tokenizer(before, add_special_tokens=False).input_ids)
        embeds = base.encoder.embed_tokens(ids.to(base.device)).expand(len(subject), -1, -1)
        before_it, after_it = embeds[:, :start], embeds[:, start + count :]
        return base.encoder(torch.cat([before_it.to(subject), subject, after_it.to(subject)], 1))

    def sample(self) -> Image | None:
        """The same people by the teacher and by the student under two prompts; the originals on top."""
        base, generator = self.base, torch.Generator().manual_seed(0)
        rows = some_of(base.plain, 8)
        ids = base.data.ids[rows].to(base.device)
        subject = self.encoder(base.prompter(ids))
        empty = base.empty_context().expand(len(rows), -1, -1)
        contexts = [base.prompter.context(ids)]
        contexts += [self.fill(template, subject) for template in SHOWN]
        drawn = [
            sample(base.unet, base.vae, base.scheduler, c, empty, generator, steps=20, guidance=2.0)
            for c in contexts
        ]
        real = decode(base.vae, base.data.latents[rows].to(base.device).float())
        return contact_sheet(torch.cat([real, *drawn]), columns=len(rows))


@dataclass
class WordsRecipe(EncoderRecipe):
    """The warm start: subject rows at the rows of the nearest look words, what text alone can say of a face.

    No UNet is needed for it, so it takes seconds; the distillation goes on from there.
    """

    def step(self, generator: Generator) -> dict[str, Tensor]:
        """Squared distance to the look words' rows, in units of their variance."""
        _, ids = self.draw(generator)
        with torch.no_grad():
            id_prompt, target = self.base.prompter(ids), self.look_rows(ids)
        return {"words": F.mse_loss(self.encoder(id_prompt).float(), target) / self.row_variance()}

    def sample(self) -> Image | None:
        """Nothing to see yet."""
        return None

    def look_rows(self, ids: Tensor) -> Tensor:
        """Token rows (B, K, D) of the look words of ids (B, D_id): what text alone can say of a face.

        Each row lies between its neighbours, by how near their centres are.
        """
        base = self.base
        distances = base.looks.distances(ids.cpu())
        unit = distances.min(-1).values.mean() * base.config.soft_width
        near = (-distances / unit).softmax(-1).to(base.device)
        table = base.encoder.embed_tokens(base.look_ids.to(base.device)).view(GROUPS, CODES, -1)
        return torch.einsum("bgc,gcd->bgd", near, table.float())

    def row_variance(self) -> Tensor:
        """Variance of the look words' rows, a scalar: it makes the warm start free of their scale."""
        return self.base.encoder.embed_tokens(self.base.look_ids.to(self.base.device)).float().var()


def _pick_row(rows: Tensor, generator: Generator) -> Tensor:
    return rows[torch.randint(len(rows), (1,), generator=generator)]


def _pick(templates: Sequence[str], generator: Generator) -> str:
    return templates[int(torch.randint(len(templates), (1,), generator=generator))]
