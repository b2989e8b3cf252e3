"""Masked reconstruction: photos of prepared people through the frozen diffusion model. Shapes: B, K, D, T.

The inverse encoder learns rows for the text encoder's input that make the UNet say what is true of a noisy
photo. Source: AdaFace, the plain reconstruction step; docs/method.md.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Generator, Tensor, nn

from adaface.data.augment import Augment
from adaface.data.dataset import FaceDataset
from adaface.data.latents import LatentCache
from adaface.encoder.id_prompter import Arc2FacePrompter
from adaface.encoder.inverse import AdaFaceEncoder
from adaface.errors import ConfigError, PromptError
from adaface.losses.reconstruction import masked_mse, place_weight
from adaface.pipelines.drawing import base_size
from adaface.pipelines.quiet import quiet
from adaface.pipelines.settings import Settings
from adaface.pipelines.stack import Stack
from adaface.prompt.embedding import embed_prompt
from adaface.recipes.batches import Loader, PeopleSampler
from adaface.recipes.config import TrainConfig
from adaface.recipes.denoising import SUBJECT, WORD, Denoiser
from adaface.recipes.latents import open_latents, resized
from adaface.recipes.opening import open_base, open_dataset, open_encoder, precision, start_encoder
from adaface.recipes.samples import draw_people, grid, settings_of
from adaface.spec import DEFAULT_SUBJECT
from adaface.text.clip import TextEncoder
from adaface.training.plan import Part, StepPlan, sample_generator, seeds, step_generator


@dataclass(frozen=True, kw_only=True)
class Config(TrainConfig):
    """Masked reconstruction: photos of a data set through the frozen diffusion model.

    kv_multipliers: times the keys and values of the encoder that is started from, one for all layers or one
    a layer; none changes nothing. kv_noise: of the copies, as a share of the weights' deviation. templates:
    with {subject} where the person's rows stand, and {word} for the class word. background_weight: of what
    the mask leaves out. balance: 1 draws each photo alike, 0 each person. id_noise: least and most relative
    noise on an ID embedding; id_noise_share: how many get it. flip, scale: of the augmentation. latents:
    "cached" takes those of `adaface prepare --latents`, "fly" encodes each picture, "auto" takes what is
    there. frozen: precision of the models that are not trained.
    """

    recipe: str = "reconstruct"
    kv_multipliers: tuple[int, ...] = ()
    kv_noise: float = 0.1
    templates: tuple[str, ...] = (
        "a photo of {subject}",
        "a photo of a {subject} {word}",
        "photo of {subject}",
        "a portrait of {subject}",
        "a portrait of a {word}, {subject}",
        "{subject}",
    )
    background_weight: float = 0.1
    balance: float = 1.0
    id_noise: tuple[float, float] = (0.02, 0.06)
    id_noise_share: float = 0.6
    flip: float = 0.5
    scale: tuple[float, float] = (0.7, 1.0)
    latents: Literal["auto", "cached", "fly"] = "auto"
    frozen: Literal["auto", "fp32", "bf16"] = "auto"
    gradient_checkpointing: bool = False

    def __post_init__(self) -> None:
        """Check each value."""
        super().__post_init__()
        shares = ("background_weight", "balance", "id_noise_share", "flip", "kv_noise")
        bad = [f"{name}={getattr(self, name)}" for name in shares if not 0 <= getattr(self, name) <= 1]
        if bad:
            raise ConfigError(f"{', '.join(bad)}: give numbers from 0 to 1")
        if not 0 < self.scale[0] <= self.scale[1] <= 1 or not 0 <= self.id_noise[0] <= self.id_noise[1]:
            raise ConfigError(
                f"scale={list(self.scale)}, id_noise={list(self.id_noise)}: give the least and the most of "
                "each, a scale above 0 up to 1"
            )
        if not self.templates or any(text.count(SUBJECT) != 1 for text in self.templates):
            raise ConfigError("templates: give one or more, each with one {subject} in it")
        if any(factor < 1 for factor in self.kv_multipliers):
            raise ConfigError(f"kv_multipliers={list(self.kv_multipliers)}: give whole numbers from 1")


VALIDATED = 4  # samples at once: the first process validates alone, whatever the batch of all of them is


@dataclass(frozen=True, eq=False)
class Drawn:
    """One sample of a step, with all its coins. picture or latent: whichever is at hand."""

    picture: Tensor | None  # (3, S, S) uint8
    latent: Tensor | None  # (C, h, w)
    weight: Tensor  # (1, h, w) of each place in the loss
    id_embedding: Tensor  # (D_id,), noise added
    timestep: int
    noise: Tensor  # (C, h, w)
    posterior: Tensor  # (C, h, w), of the VAE
    word: str


class Reconstruct:
    """Trains the inverse encoder; UNet, text encoder, VAE and ID prompter stay as they are."""

    def __init__(
        self,
        config: Config,
        dataset: FaceDataset,
        pipe: Any,
        prompter: Arc2FacePrompter,
        encoder: AdaFaceEncoder,
        settings: Settings,
        cache: LatentCache | None = None,
    ) -> None:
        """pipe: a stock pipeline of the base. settings: how the stack draws, and which layers it reads.

        cache: latents of the data set, to be taken instead of its pictures. Raises ConfigError: a template is
        too long, or the grid cannot be drawn as its settings say.
        """
        self.config, self.dataset, self.settings = config, dataset, settings
        self.pipe, self.prompter, self.encoder = pipe, prompter.requires_grad_(False).eval(), encoder
        self.denoiser = Denoiser(pipe, settings.layer_weights)
        if config.gradient_checkpointing:
            self.denoiser.unet.enable_gradient_checkpointing()
        self.modules: dict[str, nn.Module] = {"encoder": encoder.train().requires_grad_(True)}
        self.size, self.cache = base_size(pipe)[0], cache
        mixed = [dataset.is_mixed(person) for person in range(len(dataset.people))]
        self._people = PeopleSampler(dataset.person_of, mixed, config.balance)
        self.loader = Loader(self.read, config.workers)
        self._check_templates()
        self._check_samples()

    def draw(self, step: int, generator: Generator, share: float) -> StepPlan:
        """Rows of people and a template for all of them; what is a sample's own comes from its seed."""
        rows = self._people.draw(self.config.batch, generator)
        own = seeds(generator, self.config.batch)
        template = int(torch.randint(len(self.config.templates), (1,), generator=generator))
        return StepPlan(step=step, rows=rows, seeds=own, coins={"template": template})

    def prepare(self, plan: StepPlan, part: Part) -> None:
        """Begin to read the samples in the background."""
        self.loader.prepare(plan, part)

    def names(self, plan: StepPlan) -> list[str]:
        """Keys of the data set."""
        return [self.dataset.key(row) for row in plan.rows]

    def loss(self, plan: StepPlan, part: Part) -> dict[str, Tensor]:
        """The terms of this part's samples."""
        return self.terms(plan, self.loader.take(plan, part))

    def terms(self, plan: StepPlan, items: Sequence[Drawn]) -> dict[str, Tensor]:
        """Noise on the photos' latents, a prompt with the person in it, what the UNet says of both."""
        device, denoiser = self.denoiser.device, self.denoiser
        clean = self.latents(items)
        noise = torch.stack([item.noise for item in items]).to(device)
        timesteps = torch.tensor([item.timestep for item in items], device=device)
        with torch.no_grad():
            id_prompt = self.prompter(torch.stack([item.id_embedding for item in items]).to(device))
        subject = self.encoder(id_prompt, id_scale=1.0)  # (B, K, D), text prompt space
        template = self.config.templates[int(plan.coins["template"])]  # type: ignore[arg-type]  # our own
        context = denoiser.prompts([template.replace(WORD, item.word) for item in items], subject)
        guess = denoiser.predict(denoiser.noisy(clean, noise, timesteps), timesteps, context)
        target = denoiser.target(clean, noise, timesteps)
        weight = torch.stack([item.weight for item in items]).to(device)
        return {"reconstruct": masked_mse(guess, target, weight).mean()}

    def latents(self, items: Sequence[Drawn]) -> Tensor:
        """Clean latents (B, C, h, w), the cached ones or encoded now."""
        ready = [item.latent for item in items if item.latent is not None]
        if len(ready) == len(items):
            return torch.stack(ready).to(self.denoiser.device)
        pictures = torch.stack([item.picture for item in items if item.picture is not None])
        return self.denoiser.encode(pictures, torch.stack([item.posterior for item in items]))

    def read(self, row: int, seed: int) -> Drawn:
        """A sample with all that is its own, from its seed alone; called in the loader's threads."""
        config, generator = self.config, sample_generator(seed)
        shape = self.denoiser.latent_shape(self.size)
        timestep = int(torch.randint(self.denoiser.steps, (1,), generator=generator))
        noise, posterior = torch.randn(2, *shape, generator=generator)
        embedding = torch.from_numpy(self.dataset.id_embeddings[row].copy())
        embedding = noisy_id(embedding, config.id_noise, config.id_noise_share, generator)
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
        weight = place_weight(mask.float()[None], valid.float()[None], config.background_weight)[0]
        return Drawn(picture, latent, weight, embedding, timestep, noise, posterior, word)

    @torch.no_grad()
    def validate(self) -> float | None:
        """The mean loss of a draw that is the same each time; no step of the run has its plans."""
        config, seen = self.config, []
        steps = -(-config.validation // config.batch)
        for step in range(steps):
            plan = self.draw(-step, step_generator(config.seed, -step), 0.0)
            pairs = list(zip(plan.rows, plan.seeds, strict=True))
            for begin in range(0, len(pairs), VALIDATED):
                items = [self.read(row, seed) for row, seed in pairs[begin : begin + VALIDATED]]
                loss = float(torch.stack(list(self.terms(plan, items).values())).sum())
                seen.append(loss * len(items) / len(pairs))
        return sum(seen) / steps if steps else None

    @torch.no_grad()
    def sample(self) -> Image.Image | None:
        """The same people under the same prompts, drawn by the stock pipeline, beside their photos."""
        config = self.config.samples
        if not config.people:
            return None
        rows = self.shown()
        photos = [Image.fromarray(self.dataset[row].image.permute(1, 2, 0).numpy()) for row in rows]
        faces = torch.stack([torch.from_numpy(self.dataset.id_embeddings[row].copy()) for row in rows])
        subjects = self.encoder(self.prompter(faces.to(self.denoiser.device)))
        settings = settings_of(config, self.settings)
        drawn = draw_people(self.pipe, list(subjects), config.prompts, settings, config.seed)
        return grid(photos, drawn, config.prompts)

    def shown(self) -> list[int]:
        """A row of each person of the grid, evenly spaced; of more photos where there are fewer people."""
        people, rows = len(self.dataset.people), len(self.dataset)
        wanted = min(self.config.samples.people, rows)
        if people < wanted:
            return [rows * index // wanted for index in range(wanted)]
        return [int(self.dataset.rows_of(people * index // wanted)[0]) for index in range(wanted)]

    def export(self, folder: Path) -> None:
        """Write the encoder as `folder/encoder`, which `AdaFaceEncoder.from_pretrained` opens."""
        self.encoder.save_pretrained(folder / "encoder")

    def about(self) -> dict[str, Any]:
        """What a run keeps of the data it saw."""
        return {
            "data": self.dataset.hash,
            "samples": len(self.dataset),
            "people": len(self.dataset.people),
            "recognizer": self.dataset.recognizer,
            "latents": "cached" if self.cache is not None else "fly",
        }

    @property
    def frozen(self) -> Mapping[str, nn.Module]:
        """The models that are not trained, by their role."""
        pipe = self.pipe
        parts = {"unet": pipe.unet, "vae": pipe.vae, "text_encoder": pipe.text_encoder}
        return {**parts, "id_prompter": self.prompter}

    @property
    def waited(self) -> float:
        """Seconds that this process has waited for samples so far."""
        return self.loader.waited

    def close(self) -> None:
        """Stop the readers."""
        self.loader.close()

    def _check_templates(self) -> None:
        longest = max(self.dataset.class_words, key=len)
        rows = self.encoder.pad_embeddings[None]
        for template in self.config.templates:
            self.denoiser.prompts.check(template.replace(WORD, longest), rows.shape[1])

    @torch.no_grad()
    def _check_samples(self) -> None:
        """So that the first grid does not stop a run that has begun."""
        config = self.config.samples
        if not config.people:
            return
        settings_of(config, self.settings)
        text, rows = TextEncoder(self.pipe.text_encoder), {DEFAULT_SUBJECT: self.encoder.pad_embeddings}
        for prompt in config.prompts:
            try:
                embed_prompt(text, self.pipe.tokenizer, prompt, rows)
            except PromptError as error:
                raise ConfigError(f"samples.prompts: {error}") from error


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


def open_recipe(
    config: Config, device: torch.device, start: Path | None = None, kind: type[Reconstruct] = Reconstruct
) -> Reconstruct:
    """The recipe with its data and models.

    start: an encoder folder in place of what `init_from` names, for a run that goes on. kind: the class, for
    recipes that add to this one. Raises what opening the data set and the models raises.
    """
    stack = Stack.load(config.stack)
    dataset = open_dataset(config.data, stack)
    if start is None:
        generator = sample_generator(config.seed)
        begin = start_encoder(config.init_from, stack, config.kv_multipliers, config.kv_noise, generator)
    else:
        begin = AdaFaceEncoder.from_pretrained(start)
    pipe = open_base(stack)
    cache = open_latents(config.latents, dataset, pipe)
    prompter, encoder = open_encoder(stack, pipe, begin, dataset.recognizer)
    with quiet():
        pipe.to(device, precision(config.frozen, device))
    models = (pipe, prompter.to(device), encoder.to(device))
    return kind(config, dataset, *models, stack.recommended(), cache)
