"""The mini stack from nothing, step by step; each step resumes, and is skipped once its result is there.

`OUT/run/<step>/` holds the runs, `OUT/stack/` the result. Delete a step's folder to do it and what follows
anew.
"""

import json
import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file
from torch import Generator, nn
from transformers import CLIPTokenizer

from adaface.encoder.inverse import AdaFaceEncoder
from adaface.errors import ConfigError
from adaface.face.differentiable.network import SFace
from adaface.files import write_atomic
from adaface.mini import models, plan, starting
from adaface.mini.config import BuildConfig
from adaface.mini.recipes.base import BaseRecipe
from adaface.mini.recipes.clip import ClipRecipe
from adaface.mini.recipes.encoder import EncoderRecipe, WordsRecipe
from adaface.mini.recipes.latents import LatentSet, World, cache
from adaface.mini.recipes.vae import VaeRecipe, latent_statistics
from adaface.mini.world.captions import vocabulary
from adaface.mini.world.data import TRAIN, load_close, load_full
from adaface.mini.world.look import ClassWordNet, LookCodes, fit_class_words, fit_look_codes, look_words
from adaface.mini.world.segment import Segmenter, SegmenterRecipe, load_portraits
from adaface.mini.world.tokenizer import write_tokenizer
from adaface.training.loop import fit
from adaface.training.recipe import Seeded, Stepping
from adaface.training.settings import LoopConfig
from adaface.training.state import Hooks, Progress

log = logging.getLogger(__name__)
DONE = "done.json"


@dataclass
class Build:
    """One build: where the data is, where things go, and on which device."""

    data: Path
    out: Path
    config: BuildConfig
    device: torch.device
    vae_start: Path | None = None  # a diffusers folder to start the autoencoder from
    start: Path | None = None  # a stack to go on from: its world and autoencoder are kept, the rest trains on
    tell: Callable[[float], None] = lambda share: None  # told which share of a step is done (0..1)
    runs: dict[str, list[Progress]] = field(default_factory=dict)  # of this process, by step

    def folder(self, step: str) -> Path:
        """The run folder of a step."""
        return self.out / "run" / step

    def generator(self, step: str) -> Generator:
        """Each step draws from its own stream of the build's seed."""
        return torch.Generator().manual_seed(self.seed(step))

    def seed(self, step: str) -> int:
        """The seed of that stream, and of a step's training."""
        return self.config.seed * 100 + list(STEPS).index(step)

    def train(self, step: str, recipe: Stepping, loop: LoopConfig, folder: str = "") -> None:
        """Fit a recipe in the step's folder, or in one inside of it.

        Raises KeyboardInterrupt: stopped by a signal; everything is saved.
        """
        hooks = Hooks(tell=lambda progress: self.tell(progress.share))
        run = fit(Seeded(recipe), loop, self.folder(step) / folder, seed=self.seed(step), hooks=hooks)
        if not run.finished:
            raise KeyboardInterrupt(f"{step}: stopped and saved; the same command goes on")
        self.runs.setdefault(step, []).append(run)

    def finish(self, step: str, **figures: object) -> None:
        """Mark a step as done, with what it measured, and for one that was trained: how long, on what."""
        if step in self.runs:
            figures |= plan.trained(self.runs[step], self.config, self.device)
        text = json.dumps(figures, indent=2) + "\n"
        write_atomic(self.folder(step) / DONE, lambda path: path.write_text(text))
        log.info("%s done: %s", step, figures)

    def done(self, step: str) -> bool:
        """True if the step's result is there."""
        return (self.folder(step) / DONE).is_file()

    @contextmanager
    def seeded(self, step: str) -> Iterator[None]:
        """New weights are drawn from the build's seed in here; torch's own stream goes on as if unused."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(self.generator(step).initial_seed())
            yield

    def forget(self, *names: str) -> None:
        """Drop what was read of finished steps (none named: all of it), so that it is read again."""
        for name in names or ("tokenizer", "looks", "world", "vae", "latents"):
            self.__dict__.pop(name, None)

    @cached_property
    def tokenizer(self) -> CLIPTokenizer:
        """The tokenizer of the step `faces`."""
        return CLIPTokenizer.from_pretrained(str(self.folder("faces") / "tokenizer"))

    @cached_property
    def looks(self) -> LookCodes:
        """The look codes of the step `faces`."""
        return LookCodes(**load_file(self.folder("faces") / "look_codes.safetensors"))

    @cached_property
    def world(self) -> World:
        """The training world, with the segmenter and classifier of the step `faces`."""
        segmenter, classifier = Segmenter().to(self.device), ClassWordNet(self.config.sizes.id_width)
        segmenter.load_state_dict(load_file(self.folder("faces") / "segmenter.safetensors"))
        classifier.load_state_dict(load_file(self.folder("faces") / "class_words.safetensors"))
        classifier.eval()
        return World(load_full(self.data, split=TRAIN), load_close(self.data), segmenter, classifier)

    @cached_property
    def recognizer(self) -> SFace:
        """The differentiable recogniser."""
        return SFace().to(self.device)

    @cached_property
    def vae(self) -> AutoencoderKL:
        """The finished autoencoder, frozen."""
        vae = AutoencoderKL.from_pretrained(self.folder("vae") / "model", low_cpu_mem_usage=False)
        return vae.eval().requires_grad_(False).to(self.device)

    @cached_property
    def latents(self) -> LatentSet:
        """The cached world."""
        return LatentSet.load(self.folder("latents") / "latents.safetensors")

    def base_recipe(self, *, identity: bool = False) -> BaseRecipe:
        """UNet and text models, new or as the step `base` left them, with what they train on.

        identity: with the recogniser, for an identity loss.
        """
        sizes = self.config.sizes
        with self.seeded("base"):
            unet = models.new_unet(sizes)
            text, id_text = (models.new_text_model(sizes, self.tokenizer) for _ in "ab")
            models.say_looks(text, self.tokenizer, look_words(), self.looks.token_rows(sizes.text_width))
        parts: dict[str, nn.Module] = {"unet": unet, "text": text, "id_text": id_text}
        finished = self.folder("identity" if self.done("identity") else "base")
        if (finished / DONE).is_file():
            for name, module in parts.items():
                module.load_state_dict(load_file(finished / f"{name}.safetensors"))
        elif self.start is not None:
            starting.load_base(self.start, unet, text, id_text, self.tokenizer)
        for module in parts.values():
            module.to(self.device)
        config = self.config.identity_step if identity else self.config.base_step
        return BaseRecipe(
            unet=models.for_training(unet),
            text=text,
            id_text=id_text,
            tokenizer=self.tokenizer,
            scheduler=models.new_scheduler(),
            data=self.latents,
            looks=self.looks,
            config=config,
            vae=self.vae,
            recognizer=self.recognizer if identity and config.reads_faces else None,
        )


def faces(build: Build) -> None:
    """Segmenter, class words, look words, tokenizer."""
    if build.start is not None:
        starting.take_faces(build.start, build.folder("faces"))
        write_tokenizer(build.folder("faces") / "tokenizer", vocabulary(), build.config.sizes.text_length)
        build.finish("faces", taken_from=build.start.name)
        return
    folder, generator = build.folder("faces"), build.generator("faces")
    with build.seeded("faces"):
        segmenter = Segmenter().to(build.device)
    recipe = SegmenterRecipe(segmenter, *load_portraits(build.data))
    build.train("faces", recipe, build.config.segmenter)
    close, full = load_close(build.data), load_full(build.data, split=TRAIN)
    net, accuracies = fit_class_words(close.ids, close.gender, close.age, generator)
    looks = fit_look_codes(torch.cat([full.ids, close.ids]), generator)
    _save(folder / "segmenter.safetensors", segmenter)
    _save(folder / "class_words.safetensors", net)
    tensors = {"rotation": looks.rotation.contiguous(), "centres": looks.centres.contiguous()}
    write_atomic(folder / "look_codes.safetensors", lambda path: save_file(tensors, path))
    write_tokenizer(folder / "tokenizer", vocabulary(), build.config.sizes.text_length)
    kept = float((looks.decode(looks.codes(full.ids)) * full.ids).sum(-1).mean())
    build.finish("faces", segmenter_iou=recipe.score(), class_words=accuracies, look_words_cosine=kept)


def vae(build: Build) -> None:
    """The autoencoder, its latents whitened."""
    if build.start is not None:
        starting.take_vae(build.start, build.folder("vae") / "model")
        build.finish("vae", taken_from=build.start.name)
        return
    with build.seeded("vae"):
        model = models.new_vae(build.config.sizes)
    if build.vae_start is not None:
        model = AutoencoderKL.from_pretrained(build.vae_start, low_cpu_mem_usage=False)
    model.to(build.device)
    recognizer = build.recognizer if build.config.vae_step.identity else None
    build.train("vae", VaeRecipe(model, build.world, build.config.vae_step, recognizer), build.config.vae)
    mean, std = latent_statistics(model.eval(), build.world, build.generator("vae"))
    models.whiten_latents(model, mean, std)
    model.save_pretrained(build.folder("vae") / "model")
    build.finish("vae")


def latents(build: Build) -> None:
    """The world as cached latents."""
    plain, composed, close = build.config.rounds
    full, close_ups = map(len, build.world.packs)
    total, made = (plain + composed) * full + close * close_ups, 0

    def tell(count: int) -> None:
        nonlocal made
        made += count
        build.tell(made / total)

    data = cache(
        build.world,
        build.vae,
        build.generator("latents"),
        plain=plain,
        composed=composed,
        close=close,
        progress=tell,
    )
    data.save(build.folder("latents") / "latents.safetensors")
    build.finish("latents", pictures=len(data))


def base(build: Build) -> None:
    """Base and ID teacher, on noise prediction alone."""
    _fit_base(build, "base", build.config.base)


def identity(build: Build) -> None:
    """Base and ID teacher go on, with the identity loss on decoded predictions."""
    _fit_base(build, "identity", build.config.identity)


def _fit_base(build: Build, step: str, loop: LoopConfig) -> None:
    recipe = build.base_recipe(identity=step == "identity")
    build.train(step, recipe, loop)
    for name, module in recipe.modules.items():
        _save(build.folder(step) / f"{name}.safetensors", module)
    build.finish(step)


def clip(build: Build) -> None:
    """The image-text model that scores, and that stage 2 may choose by."""
    _fit_clip(build, "clip", fold=0)


def clip_second(build: Build) -> None:
    """Another one, of other people and another seed, that scores and does nothing else."""
    _fit_clip(build, "clip_second", fold=1)


def _fit_clip(build: Build, step: str, fold: int) -> None:
    with build.seeded(step):
        model = models.new_clip(build.config.sizes, build.tokenizer)
    if build.start is not None:
        starting.load_clip(build.start / step, model, build.tokenizer)
    model.to(build.device)
    config = replace(build.config.clip_step, fold=fold)
    recipe = ClipRecipe(model, build.tokenizer, build.vae, build.latents, config)
    build.train(step, recipe, build.config.clip)
    _save(build.folder(step) / "clip.safetensors", model)
    build.finish(step)


def encoder(build: Build) -> None:
    """The AdaFace encoder: stage 1."""
    step = build.config.encoder_step
    start, base = new_encoder(build), build.base_recipe(identity=step.reads_faces)
    if build.start is None:
        build.train("encoder", WordsRecipe(start, base, step), build.config.words, folder="words")
    recipe = EncoderRecipe(start, base, step)
    build.train("encoder", recipe, build.config.encoder)
    recipe.encoder.save_pretrained(build.folder("encoder") / "model")
    build.finish("encoder")


def new_encoder(build: Build) -> AdaFaceEncoder:
    """A copy of the base's text model whose last norm gives rows of the token table's size, not of size 1.

    With a stack to go on from: that stack's encoder.
    """
    if build.start is not None:
        return AdaFaceEncoder.from_pretrained(build.start / "encoder").train().to(build.device)
    text = build.base_recipe().text
    model = AdaFaceEncoder.from_text_encoder(
        text, build.tokenizer, recognizer="sface", licence="research only"
    )
    with torch.no_grad():
        rows = text.get_input_embeddings().weight
        model.final_layer_norm.weight.fill_(float(rows.std()))
        model.final_layer_norm.bias.zero_()
    return model.to(build.device)


def stack(build: Build) -> None:
    """Everything as one folder with a manifest."""
    from adaface.mini.stack import write_stack

    build.finish("stack", **write_stack(build))


STEPS: dict[str, Callable[[Build], None]] = {
    step.__name__: step for step in (faces, vae, latents, base, identity, clip, clip_second, encoder, stack)
}


def run(build: Build, *, until: str = "stack") -> None:
    """Do every step that is not done yet, in order, up to `until`; what came after such a step goes first.

    Raises ConfigError: no such step, or `OUT` holds a build with other settings (longer loops are none).
    MissingFileError or StackError: what to start from is not there or does not fit.
    """
    if until not in STEPS:
        raise ConfigError(f"step {until!r}: there are {', '.join(STEPS)}")
    starting.check(build.start, build.vae_start, build.config.sizes)
    plan.agree(build.out / "build.json", build.config, build.start, build.vae_start)
    names = list(STEPS)
    for index, (name, step) in enumerate(STEPS.items()):
        if not build.done(name):
            _clear(build, names[index + 1 :], because=name)
            log.info("step %s", name)
            build.folder(name).mkdir(parents=True, exist_ok=True)
            step(build)
        if name == until:
            return


def _clear(build: Build, later: list[str], because: str) -> None:
    """Remove the run folders of later steps: they were made from what is made anew now."""
    made = [name for name in later if build.folder(name).is_dir()]
    for name in made:
        log.info("%s is done anew: removing %s", because, build.folder(name))
        shutil.rmtree(build.folder(name))
    if made:
        build.forget()


def _save(path: Path, module: nn.Module) -> None:
    tensors = {name: t.detach().cpu().contiguous() for name, t in module.state_dict().items()}
    write_atomic(path, lambda beside: save_file(tensors, beside))
