"""ID teachers: what a diffusion model for faces says of noisy latents. Shapes: B, C, h, w, D_id.

A teacher reads an ID embedding where the student reads words. It answers in the student's own kind of
prediction, so that the two can be compared. Source: AdaFace, stage 1; docs/method.md.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from adaface.checkpoints.ldm import SD15, filled
from adaface.checkpoints.parts import component_folder, open_part
from adaface.encoder.id_prompter import ENCODER_FOLDERS, Arc2FacePrompter
from adaface.errors import MissingFileError, WrongModelError
from adaface.recipes.base.models import Models
from adaface.recipes.base.opening import precision
from adaface.recipes.base.predictions import KINDS, converted
from adaface.text.folder import load_text_encoder

TEACHER = "teacher"  # the stack's own, by the name of its role
UNETS = ("arc2face", "unet")  # folders of a UNet within a teacher's: Arc2Face's name, and diffusers'
Said = Callable[[Tensor, Tensor], Tensor]


class Teacher(Protocol):
    """A door for teachers: anything that can say what noisy latents show, if it is told whose face it is."""

    @property
    def frozen(self) -> Mapping[str, nn.Module]:
        """Its models that are not among those of the run, by name."""

    def about(self, id_embeddings: Tensor) -> Said:
        """What it says of pictures of these people (B, D_id), unit vectors.

        Returns a function of noisy latents (B, C, h, w) and timesteps (B,): a prediction (B, C, h, w) of the
        student's kind, without gradients. The people are encoded once, however often it is asked.
        """


class IdTeacher:
    """A UNet that reads an ID prompter's context, such as Arc2Face or the mini stack's teacher."""

    def __init__(
        self,
        unet: Any,
        prompter: Arc2FacePrompter,
        alphas: Tensor,
        *,
        length: int | None = None,
        given: str = "epsilon",
        wanted: str = "epsilon",
        frozen: Mapping[str, nn.Module] | None = None,
    ) -> None:
        """unet: of diffusers. alphas: cumulative, of all noise levels, the student's too. length: positions
        of the context, none for all. given, wanted: what the UNet predicts, and what the student does.
        frozen: its models that nobody else has.
        """
        self.unet, self.prompter, self.alphas, self.length = unet, prompter, alphas, length
        self.given, self.wanted = given, wanted
        self.frozen = dict(frozen or {})

    @torch.no_grad()
    def about(self, id_embeddings: Tensor) -> Said:
        """As `Teacher.about`."""
        context = self.prompter.context(id_embeddings, self.length).to(self.unet.dtype)  # (B, T, D)

        @torch.no_grad()
        def said(noisy: Tensor, timesteps: Tensor) -> Tensor:
            guess = self.unet(noisy.to(self.unet.dtype), timesteps, context).sample.float()
            return converted(noisy, guess, self.alphas[timesteps], given=self.given, wanted=self.wanted)

        return said


class WeightedTeachers:
    """Several teachers as one: the weighted mean of what they say."""

    def __init__(self, teachers: Sequence[Teacher], weights: Sequence[float]) -> None:
        """weights: one a teacher, above 0; divided by their sum."""
        self.teachers, total = tuple(teachers), sum(weights)
        self.weights = tuple(weight / total for weight in weights)

    @property
    def frozen(self) -> Mapping[str, nn.Module]:
        """All teachers' models; each name with the teacher's number."""
        return {
            f"{name}_{number}": module
            for number, teacher in enumerate(self.teachers)
            for name, module in teacher.frozen.items()
        }

    def about(self, id_embeddings: Tensor) -> Said:
        """As `Teacher.about`."""
        each = [teacher.about(id_embeddings) for teacher in self.teachers]

        def said(noisy: Tensor, timesteps: Tensor) -> Tensor:
            answers = [say(noisy, timesteps) for say in each]
            weighted = [weight * answer for weight, answer in zip(self.weights, answers, strict=True)]
            return torch.stack(weighted).sum(0)

        return said


def open_teacher(places: Mapping[str, float], models: Models, frozen: str) -> Teacher:
    """The teacher of a run, on the models' device.

    places: weights by place; none means the stack's own alone. A place is "teacher" (the stack's), a folder
    of Arc2Face (arc2face/ and encoder/), a folder or a file of a UNet, or "hub:owner/name"; one without a
    text encoder of its own shares the stack's ID prompter. frozen: the precision, as `PhotoConfig.frozen`.
    Raises StackError: the stack has no teacher. MissingFileError: nothing is there. WrongModelError: a UNet
    of another family, latents or noise levels than the base's. Further what opening its weights raises.
    """
    given = dict(places) or {TEACHER: 1.0}
    teachers = [_open_one(place, models, frozen) for place in given]
    return teachers[0] if len(teachers) == 1 else WeightedTeachers(teachers, list(given.values()))


def _open_one(place: str, models: Models, frozen: str) -> IdTeacher:
    stack, denoiser = models.stack, models.denoiser
    own = place == TEACHER
    chosen = stack if own else stack.with_parts({TEACHER: place})
    part, folder = chosen.part(TEACHER), chosen.path(TEACHER)
    length, given = part.options.get("context_length"), denoiser.prediction_type
    if own and "base" in stack.roles and folder == stack.path("base") / "unet":
        return IdTeacher(
            denoiser.unet, models.prompter, denoiser.alphas, length=length, given=given, wanted=given
        )
    dtype = precision(frozen, models.device)
    unet = _open_unet(folder, dtype).to(models.device).requires_grad_(False)
    _check_unet(place, unet, models)
    added: dict[str, nn.Module] = {TEACHER: unet}
    prompter = _own_prompter(folder, models)
    if prompter is not None:
        added[f"{TEACHER}_prompter"] = prompter
    kind = str(part.options.get("prediction_type", _kind_beside(folder, models)))
    if kind not in KINDS:
        raise WrongModelError(f"{place}: predicts {kind!r}; known here are {', '.join(KINDS)}")
    return IdTeacher(
        unet,
        prompter or models.prompter,
        denoiser.alphas,
        length=length,
        given=kind,
        wanted=given,
        frozen=added,
    )


def _open_unet(folder: Path, dtype: torch.dtype) -> Any:
    within = next((folder / name for name in UNETS if (folder / name).is_dir()), folder)
    if within.is_dir() and not (component_folder(within, "unet") / "config.json").is_file():
        raise MissingFileError(
            f"{folder}: no UNet in it (no config.json there, nor in {', '.join(UNETS)}). Give Arc2Face's "
            "folder, or a UNet's as diffusers writes it"
        )
    return filled(open_part(within, "unet"), within if within.is_dir() else SD15, dtype)


def _check_unet(place: str, unet: Any, models: Models) -> None:
    """Raises WrongModelError: it does not read what the base and the ID prompter make."""
    own = models.denoiser.unet.config
    for what, found, wanted in (
        ("latents of channels", unet.config.in_channels, own.in_channels),
        ("context of width", unet.config.cross_attention_dim, models.prompter.width),
    ):
        if found != wanted:
            raise WrongModelError(
                f"{place}: a UNet that reads {what} {found}, and this stack makes {wanted}. Give a teacher "
                "of the base's family"
            )


def _own_prompter(folder: Path, models: Models) -> Arc2FacePrompter | None:
    """The ID prompter of a folder that brings its own text encoder; None: it has none."""
    text = next((folder / n for n in ENCODER_FOLDERS if (folder / n / "config.json").is_file()), None)
    if text is None:
        return None
    model = load_text_encoder(text, torch.float32)
    prompter = Arc2FacePrompter(model, models.pipe.tokenizer, models.prompter.num_id_vectors)
    return prompter.requires_grad_(False).eval().to(models.device)


def _kind_beside(folder: Path, models: Models) -> str:
    """What the scheduler of a UNet's diffusers folder says that it predicts; the base's own without one.

    Raises WrongModelError: its noise levels are others than the base's.
    """
    from diffusers import DDIMScheduler

    homes = [folder, folder.parent] if (folder.parent / "model_index.json").is_file() else [folder]
    found_in = [home / "scheduler" for home in homes if (home / "scheduler/scheduler_config.json").is_file()]
    if not found_in:
        return models.denoiser.prediction_type
    scheduler = DDIMScheduler.from_pretrained(found_in[0], local_files_only=True)
    own, found = models.denoiser.alphas.cpu(), scheduler.alphas_cumprod
    if own.shape != found.shape or not torch.allclose(own, found, atol=1e-4):
        raise WrongModelError(
            f"{folder}: its noise levels (scheduler/) are others than the base's, so that teacher and "
            "student cannot be shown the same latents. Give a teacher of the base's schedule"
        )
    return str(scheduler.config.prediction_type)
