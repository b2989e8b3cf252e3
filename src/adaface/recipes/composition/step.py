"""The compositional step: four prompts over the same noisy latents. B samples, C h w, T, K rows, D, S pixels.

Subject and class, single and composed: what the composition changes is to be the class's, what the person
changes is to be the person's. Gradients flow in the person's composed branch alone. Source: AdaFace, stage 2;
docs/method.md.
"""

import copy
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, fields, replace
from typing import NamedTuple

import torch
from torch import Generator, Tensor, nn

from adaface.data.dataset import FaceDataset
from adaface.errors import ConfigError
from adaface.losses.feature_delta import delta_target
from adaface.losses.prompt_delta import prompt_delta
from adaface.recipes.base.chance import derived, next_levels, normal, uniform
from adaface.recipes.base.denoising import SUBJECT
from adaface.recipes.base.likeness import landmarks_in, likeness, mean_face, open_recognizer
from adaface.recipes.base.models import Models
from adaface.recipes.base.photos import Batch
from adaface.recipes.base.recipe import Step
from adaface.recipes.composition.capture import Capture
from adaface.recipes.composition.config import Config
from adaface.recipes.composition.faces import face_places
from adaface.recipes.composition.grammar import Composition, read_grammar, with_article
from adaface.recipes.composition.judge import Judge, verdict
from adaface.recipes.composition.prompts import Four, four_prompts, side_by_side, with_words
from adaface.recipes.composition.start import guided, on_noise, primed
from adaface.recipes.composition.terms import Seen, layer_terms, over_layers, seen
from adaface.text.tokens import piece_ids
from adaface.training.plan import Coin, StepPlan, sample_generator

FourSeen = tuple[Seen, Seen, Seen, Seen]
# what a sample's own numbers are for
_WORDS, _LEVEL, _NOISE, _PRIME, _SHAPE, _NEXT, _FACE = range(11, 18)
NOISE_SHARE = (0.1, 0.4)  # of a photo as a start, at the first and last step (AdaFace, compositional step)


@dataclass(frozen=True, eq=False)
class Start:
    """What a compositional step begins with: clean latents, noise for them (B, C, h, w), timesteps (B,), and
    which samples teach, (B,) bool.
    """

    clean: Tensor
    noise: Tensor
    timesteps: Tensor
    teaches: Tensor

    def __getitem__(self, rows: Tensor) -> "Start":
        """The same of some of the samples."""
        return Start(*(getattr(self, each.name)[rows] for each in fields(self)))


class Compose(Step):
    """What a composed prompt makes of a class, it is to make of the person too."""

    def __init__(self, config: Config, models: Models, dataset: FaceDataset) -> None:
        """Raises ConfigError: the grammar or the layers do not fit the stack, or a role that a setting needs
        is missing.
        """
        self.config, self.models, self.own = config, models, config.compose
        self.grammar = read_grammar(self.own.grammar, models.stack)
        self.anchor = copy.deepcopy(models.encoder).requires_grad_(False).eval()
        needed = self.own.weights.of_layers
        self.capture = Capture(models.denoiser.unet, self.own.layers) if needed else None
        self.judge = open_judge(models) if self.own.candidates else None
        self.recognizer = None
        if self.own.weights.identity:
            self.recognizer = open_recognizer(models.stack, models.device, "compose.weights.identity")
        self.mean_face = mean_face(dataset, models.device)
        recommended = float(models.settings.guidance_scale[0])
        self.guidance = recommended if self.own.guidance is None else self.own.guidance
        self.empty = models.denoiser.prompts.no_words()
        self.check(max(dataset.class_words, key=len))

    def check(self, word: str) -> None:
        """Raises ConfigError: some composition, with the rows or with a class word, is too long."""
        prompts, rows = self.models.denoiser.prompts, self.models.encoder.config.num_id_vectors
        for text in self.grammar.longest(lambda words: len(piece_ids(prompts.tokenizer, words))):
            prompts.check(text, rows)
            with_words(prompts, [text], [word])

    @property
    def frozen(self) -> Mapping[str, nn.Module]:
        """The encoder as it was, the filter's CLIP, the recogniser."""
        judge = self.judge.model if self.judge else None
        parts = {"anchor": self.anchor, "clip": judge, "recognizer": self.recognizer}
        return {name: part for name, part in parts.items() if part is not None}

    def coins(self, step: int, generator: Generator, share: float) -> dict[str, Coin]:
        """From what it begins, how many denoising steps, and whether the filter bars samples.

        Plans of validation (no step of the run: below 1) begin with the photo, denoise once and bar none: a
        drawing and the filter follow the encoder, so that losses of two encoders would be of other pictures.
        They say how far prompts are left alone, and not which encoder is better: a photo's noisy latents
        show whose they are whatever the rows say, so that likeness can be lost unseen; and samples in whose
        single picture no face is found, which follows the encoder a little, count less.
        """
        validating = step < 1
        primed = float(torch.rand((), generator=generator)) < self.own.primed
        count = int(torch.randint(1, self.own.denoising + 1, (1,), generator=generator))
        if validating:
            primed, count = False, 1
        return {"primed": primed, "denoising": count, "progress": share, "filtered": not validating}

    def kind(self, plan: StepPlan) -> str:
        """By the number of denoising steps, and what it begins with."""
        drawn = ", from a drawing" if plan.coins["primed"] else ""
        return f"denoising steps: {plan.coins['denoising']}{drawn}"

    def dearest(self, plan: StepPlan) -> StepPlan:
        """With all samples taught: those that the filter bars are left out of the UNet."""
        return replace(plan, coins={**plan.coins, "filtered": False})

    def __call__(self, plan: StepPlan, batch: Batch) -> dict[str, Tensor]:
        """The four prompts, a start that a teacher is sure of, and the terms at each denoising step."""
        weights, count = self.own.weights, int(plan.coins["denoising"])  # type: ignore[arg-type]  # our own
        said = [self.grammar.draw(sample_generator(seed)) for seed in derived(batch.seeds, _WORDS)]
        subjects, anchors = self.rows_of(batch)
        four = four_prompts(self.models.denoiser.prompts, said, batch.words, anchors, subjects)
        terms: dict[str, Tensor] = {}
        if weights.words:
            terms["words"] = weights.words * self.words(said, batch, four)
        if weights.of_pictures:
            with torch.no_grad():
                start = self.start(plan, batch, said, four)
            taught = start.teaches.nonzero()[:, 0]
            # where nobody teaches, a gradient of nothing: the terms of a step have their names in any case
            found = dict.fromkeys(weights.of_pictures, 0 * subjects.sum())
            if len(taught):
                found = self.denoised(batch, taught, four[taught], start[taught], count)
            for name in weights.of_pictures:
                terms[name] = getattr(weights, name) * found[name].sum() / len(batch)
        return {f"compose_{name}": value for name, value in terms.items()}

    def rows_of(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The person's rows (B, K, D) for the composed and, mostly as they were at the start, the single."""
        models, share = self.models, self.own.anchor
        with torch.no_grad():
            id_prompt = models.prompter(batch.id_embeddings)
            before: Tensor = self.anchor(id_prompt, id_scale=1.0)
        subjects: Tensor = models.encoder(id_prompt, id_scale=1.0)
        return subjects, share * before + (1 - share) * subjects

    def words(self, said: Sequence[Composition], batch: Batch, four: Four) -> Tensor:
        """The prompt delta loss, a scalar; it needs no picture, so that no filter bars it."""
        prompts, rows = self.models.denoiser.prompts, self.models.encoder.config.num_id_vectors
        features, weight = side_by_side(prompts, said, batch.words, four, rows)
        single, composed, class_single, class_composed = features
        return prompt_delta(single, composed, class_single, class_composed, weight).mean()

    # where it begins

    def start(self, plan: StepPlan, batch: Batch, said: Sequence[Composition], four: Four) -> Start:
        """The candidate that teaches best, of each sample."""
        drawn = self.drawing(batch, four) if plan.coins["primed"] else None
        if self.judge is None or not plan.coins["filtered"]:
            return self.candidate(plan, batch, drawn, 0)
        tries = [self.candidate(plan, batch, drawn, k) for k in range(self.own.candidates)]
        pairs = list(zip(said, batch.words, strict=True))
        texts = [_words(c.single, w) for c, w in pairs] + [_words(c.composed, w) for c, w in pairs]
        single, composed = self.judge.texts(texts).chunk(2)
        scores = []
        for one in tries:
            student, teacher = (self.judge.pictures(p) for p in self.shown(four, one))
            compared = ((teacher, composed), (teacher, single), (student, composed))
            scores.append(torch.stack([(picture * text).sum(-1) for picture, text in compared]))
        teacher, plain, student = torch.stack(scores, -1)  # (B, N) each
        judged = verdict(teacher, plain, student, level=self.own.level, margin=self.own.margin)
        rows = torch.arange(len(batch), device=judged.best.device)
        clean, noise, timesteps = (
            torch.stack([getattr(one, name) for one in tries], 1)[rows, judged.best]
            for name in ("clean", "noise", "timesteps")
        )
        return Start(clean, noise, timesteps, judged.teaches)

    def candidate(self, plan: StepPlan, batch: Batch, drawn: Tensor | None, which: int) -> Start:
        """A start, all of whose chance is the sample's own. drawn: what it begins with in place of photos."""
        seeds, shape = derived(batch.seeds, 100 + which), batch.noise.shape[1:]
        noise = normal(derived(seeds, _NOISE), *shape).to(batch.noise)
        (low, high) = self.own.photo_levels if drawn is None else self.own.levels
        where = uniform(derived(seeds, _LEVEL), 1)[:, 0].to(batch.noise)
        count = self.models.denoiser.steps
        timesteps = ((low + (high - low) * where) * count).long().clamp_max(count - 1)
        clean = drawn
        if clean is None:
            other = normal(derived(seeds, _PRIME), *shape).to(batch.noise)
            shrink, share = uniform(derived(seeds, _SHAPE), 2).to(batch.noise).unbind(-1)
            least = NOISE_SHARE[0] + (NOISE_SHARE[1] - NOISE_SHARE[0]) * float(plan.coins["progress"])  # type: ignore[arg-type]
            amount = least * (0.8 + 0.4 * share)
            clean = on_noise(batch.latents, batch.foreground, other, shrink, amount)
        return Start(clean, noise, timesteps, torch.ones(len(batch), dtype=torch.bool, device=noise.device))

    def drawing(self, batch: Batch, four: Four) -> Tensor:
        """Clean latents of a drawing that is cut short, of the class with a touch of the person.

        One for all candidates, which differ by noise and level: drawing takes longer than all else that is
        done to choose among them.
        """
        noise = normal(derived(batch.seeds, _PRIME), *batch.noise.shape[1:]).to(batch.noise)
        share = self.own.prime_subject
        contexts = (four.subject_composed.context, four.class_composed.context)
        return primed(
            self.models.denoiser,
            contexts,
            (share, 1 - share),
            self.empty,
            noise,
            steps=self.own.prime_steps,
            guidance=self.guidance,
        )

    def shown(self, four: Four, start: Start) -> tuple[Tensor, Tensor]:
        """Pictures (B, 3, S, S) that the composed prompts make of a start: the person's, and the class's."""
        denoiser, timesteps = self.models.denoiser, start.timesteps
        noisy = denoiser.noisy(start.clean, start.noise, timesteps)
        contexts = (four.subject_composed.context, four.class_composed.context)
        said = guided(denoiser, noisy, timesteps, contexts, self.empty, self.guidance)
        clean = [denoiser.clean(noisy, one, timesteps) for one in said]
        person, common = denoiser.decode(torch.cat(clean)).chunk(2)
        return person, common

    # what is asked

    def denoised(
        self, batch: Batch, taught: Tensor, four: Four, start: Start, count: int
    ) -> dict[str, Tensor]:
        """Terms (R,) by name, means over `count` denoising steps; each branch keeps to its own latents.

        taught: (R,), the rows of the batch that `four` and `start` are of; the others count nothing, so that
        nothing is computed for them. A sample in whose single picture no face is found has only its likeness
        to answer for: the others would make the class of all of it.
        """
        denoiser, noise, timesteps = self.models.denoiser, start.noise, start.timesteps
        own = [batch.seeds[row] for row in taught.tolist()]
        clean = Branches(*[start.clean] * 4)
        found: list[dict[str, Tensor]] = []
        for step in range(count):
            noisy = Branches(*(denoiser.noisy(one, noise, timesteps) for one in clean))
            said, layers = self.said(four, noisy, timesteps)
            clean = Branches(*(denoiser.clean(a, b, timesteps) for a, b in zip(noisy, said, strict=True)))
            if step == 0:
                face = self.face(clean.single)
            shown = self.layer_terms(layers, face) | self.target_term(said, face)
            found.append({name: values * (face.amax((1, 2, 3)) > 0) for name, values in shown.items()})
            if step + 1 < count:
                seeds = derived(derived(own, _NEXT), step)
                timesteps = next_levels(timesteps, uniform(seeds, 1)[:, 0].to(noise), count)
                noise = normal(derived(seeds, 1), *noise.shape[1:]).to(noise)
                clean = Branches(*(one.detach() for one in clean))
        terms = {name: torch.stack([one[name] for one in found]).mean(0) for name in found[0]}
        return terms | self.identity_term(batch.faces[taught], own, clean.composed)

    def said(
        self, four: Four, noisy: "Branches", timesteps: Tensor
    ) -> tuple["Branches", dict[str, FourSeen]]:
        """What the UNet says in each branch, and what its layers show; gradients in the composed one."""
        denoiser, capture = self.models.denoiser, self.capture
        spoken = (four.subject_single, four.class_single, four.class_composed)
        with capture or nullcontext():
            with torch.no_grad():
                contexts = torch.cat([one.context for one in spoken])
                given = torch.cat([noisy.single, noisy.class_single, noisy.class_composed])
                one, two, three = denoiser.predict(given, timesteps.repeat(3), contexts).float().chunk(3)
                kept = capture.take() if capture else {}
                places = torch.cat([one.places for one in spoken])
                fixed = {name: seen(layer, places).parts(3) for name, layer in kept.items()}
            composed = four.subject_composed
            guess = denoiser.predict(noisy.composed, timesteps, composed.context).float()
            kept = capture.take() if capture else {}
            own = {name: seen(layer, composed.places) for name, layer in kept.items()}
        layers = {name: (fixed[name][0], own[name], fixed[name][1], fixed[name][2]) for name in own}
        return Branches(one, guess, two, three), layers

    def layer_terms(self, layers: Mapping[str, FourSeen], face: Tensor) -> dict[str, Tensor]:
        """The terms of captured layers, (B,) each; those that count."""
        if self.capture is None:
            return {}
        wanted = self.own.weights.of_layers
        each = {name: layer_terms(*four, face) for name, four in layers.items()}
        summed = over_layers(each, self.capture.weights)
        return {name: summed[name] for name in wanted}

    def target_term(self, said: "Branches", face: Tensor) -> dict[str, Tensor]:
        """How far the composed branch is from the class's and what the person adds, (B,)."""
        if not self.own.weights.target:
            return {}
        wanted = delta_target(said.single, said.class_single, said.class_composed, face)
        return {"target": (said.composed - wanted).square().mean((1, 2, 3))}

    def identity_term(self, faces: Tensor, seeds: Sequence[int], clean: Tensor) -> dict[str, Tensor]:
        """How unlike the persons (R, D_id) the composed pictures are, (R,). seeds: of the samples."""
        if self.recognizer is None:
            return {}
        pictures = self.models.denoiser.decode(clean)
        seen = likeness(self.recognizer, pictures, faces, self.mean_face, derived(seeds, _FACE))
        return {"identity": 1 - seen}

    @torch.no_grad()
    def face(self, clean: Tensor) -> Tensor:
        """Where the face is in the person's single picture: (B, 1, h, w) in 0..1."""
        pictures = self.models.denoiser.decode(clean)
        landmarks, rows = landmarks_in(pictures)
        size, side = pictures.shape[-1], (clean.shape[-2], clean.shape[-1])
        return face_places(landmarks, rows, len(clean), size, side).to(clean.device)


class Branches(NamedTuple):
    """Tensors (B, C, h, w) of the person's single and composed prompt and of the class's."""

    single: Tensor
    composed: Tensor
    class_single: Tensor
    class_composed: Tensor


def open_judge(models: Models) -> Judge | None:
    """The stack's CLIP. Raises ConfigError: it has none."""
    if "clip" not in models.stack.roles:
        raise ConfigError(
            f'compose.candidates: the filter needs a CLIP, and stack "{models.stack.name}" has no role '
            '"clip". Use a stack that has one, or compose.candidates=0'
        )
    return Judge.open(models.stack.path("clip"), models.device)


def _words(prompt: str, word: str) -> str:
    return prompt.replace(SUBJECT, with_article(word))
