"""Pictures of a person: photos -> identity -> prompts -> pictures. Shapes: N pictures, T text positions, K
rows, D width.
"""

from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any, Self

import torch
from PIL import Image
from torch import Tensor

from adaface.encoder.fingerprint import text_encoder_fingerprint
from adaface.encoder.id_prompter import Arc2FacePrompter
from adaface.encoder.inverse import AdaFaceEncoder
from adaface.errors import ConfigError
from adaface.face.analyzer import FaceAnalyzer
from adaface.face.types import ImageSource
from adaface.identity.files import Identity
from adaface.pipelines.base import (
    StableDiffusionPipeline,
    base_parts,
    check_family,
    load_base,
)
from adaface.pipelines.canvas.controlnet import check_controlnet, check_fit, load_controlnet
from adaface.pipelines.canvas.pictures import Canvas, check_pictures, open_canvas, settle
from adaface.pipelines.devices import Memory, choose_device, choose_dtype
from adaface.pipelines.drawing import Drawing, OnStep, base_size, draw
from adaface.pipelines.embedder import ROLES, Embedder, load_encoder, usual_settings, with_models
from adaface.pipelines.fitting import as_identities, fit_rows, origin_notes
from adaface.pipelines.generation import Generation
from adaface.pipelines.recognition import stack_analyzer
from adaface.pipelines.settings import Settings, check_seeds
from adaface.pipelines.stack import Stack
from adaface.prompt.embedding import PromptEmbedding, embed_prompt
from adaface.sources.licences import require_commercial
from adaface.text.clip import TextEncoder


class Unset(Enum):
    """Tells "not given" from None, which means "none, please"."""

    UNSET = "unset"


UNSET = Unset.UNSET


class Personalizer(Embedder):
    """All models of a stack, ready to draw people.

    Threads may share one: no call leaves anything behind in it.
    """

    def __init__(
        self,
        pipe: StableDiffusionPipeline,
        encoder: AdaFaceEncoder,
        id_prompter: Arc2FacePrompter,
        *,
        analyzer: FaceAnalyzer | Callable[[], FaceAnalyzer] = FaceAnalyzer,
        settings: Settings | None = None,
        stack: Stack | None = None,
        controlnet: Any = None,
        memory: Memory | None = None,
        commercial_safe: bool = False,
    ) -> None:
        """Join models that fit together; `from_pretrained` does it for a stack.

        pipe: a stock pipeline with text encoder and tokenizer; it is shared, not changed. analyzer: itself,
        or what makes it at first use. settings: what `generate` takes where its caller gives nothing.
        controlnet: a ControlNetModel for this base, or the path of its diffusers folder, opened at first use.
        memory: how the models of `pipe` are offloaded; None: not. commercial_safe: `generate` refuses people
        whose files forbid commercial use.
        """
        super().__init__(encoder, id_prompter, analyzer=analyzer, settings=settings, stack=stack)
        self.pipe = pipe
        self._controlnet = controlnet
        self.memory, self.commercial_safe = memory or Memory(), commercial_safe
        self.text = TextEncoder(pipe.text_encoder)
        self._text_fingerprint: str | None = None

    @classmethod
    def from_pretrained(
        cls,
        stack: str | Path | Stack = "mini",
        *,
        base: str | Path | None = None,
        text_encoder: str | Path | None = None,
        vae: str | Path | None = None,
        encoder: str | Path | None = None,
        id_prompter: str | Path | None = None,
        recognizer: str | Path | None = None,
        device: str | torch.device = "auto",
        dtype: str | torch.dtype | None = None,
        offload: str | None = None,
        slicing: bool = False,
        tiling: bool = False,
        safety_checker: bool = True,
        commercial_safe: bool = False,
        verify: bool = True,
        analyzer: FaceAnalyzer | None = None,
        controlnet: Any = None,
    ) -> Self:
        """Open a stack: "mini", a folder with a stack.json, or the name of one below the folder of models.

        base (a diffusers folder or one LDM file), text_encoder, vae, encoder, id_prompter, recognizer: in
        place of the stack's own; a path, or "hub:owner/name@revision". A path that is not there is never
        asked of the hub. device: "auto", "cpu", "cuda", "cuda:1", "mps". dtype: of the base model; None is
        half precision on CUDA, else float32. offload, slicing, tiling: see `devices.Memory`. safety_checker:
        False leaves out the base's own. commercial_safe: refuse weights, and people's files, that forbid
        commercial use; an `analyzer` or a ControlNet that is handed over open has no licence to be seen.
        verify: compare the files with the manifest's hashes first. analyzer: one that is open already, with
        the stack's recogniser. controlnet: for control images, a ControlNetModel, or its diffusers folder
        named as the other parts are; None is the stack's own, if it has one.
        Raises MissingFileError: no such stack, part or ControlNet. StackError: files are damaged or do not
        fit. WrongModelError: a base of another family. WrongRecognizerError: not the encoder's. FormatError:
        a file that is not what it should be. HubError: a part cannot be fetched. LicenceError: see above.
        ConfigError: no such device or dtype. MissingExtra: offloading needs accelerate.
        """
        ready = controlnet if not isinstance(controlnet, str | Path) else None
        own = {"base": base, "text_encoder": text_encoder, "vae": vae}
        own |= {} if ready is not None else {"controlnet": controlnet}
        loaded = with_models(stack, own, encoder, id_prompter, recognizer)
        memory = Memory(offload, slicing, tiling, choose_device(device))
        kind = choose_dtype(dtype, memory.device)
        roles = [role for role in own if role in loaded.roles] + list(ROLES)
        if commercial_safe:
            loaded.require_commercial(*roles)
        if verify:
            loaded.verify(*roles)
        if "controlnet" in roles:
            ready = check_controlnet(loaded.path("controlnet"))
        rows, prompter = load_encoder(loaded, memory.home, analyzer)
        parts = base_parts(loaded, safety_checker)
        check_family(parts, rows.config.width)
        pipe = load_base(parts, memory.home, kind)
        memory.settle(pipe)
        make = analyzer or partial(stack_analyzer, loaded)
        return cls(
            pipe,
            rows,
            prompter,
            analyzer=make,
            settings=usual_settings(loaded, rows),
            stack=loaded,
            controlnet=ready,
            memory=memory,
            commercial_safe=commercial_safe,
        )

    @property
    def controlnet(self) -> Any:
        """The ControlNetModel that reads control images, opened at first use; None if there is none.

        Raises as `adaface.pipelines.canvas.controlnet.load_controlnet`, and StackError: it is for another
        kind of base model.
        """
        with self._lock:
            if isinstance(self._controlnet, str | Path):
                where = getattr(self.pipe, "_execution_device", self.pipe.device)
                self._controlnet = load_controlnet(self._controlnet, where, self.pipe.unet.dtype)
            if self._controlnet is not None:
                check_fit(self._controlnet, self.pipe.unet)
            return self._controlnet

    @property
    def fingerprints(self) -> Mapping[str, str]:
        """Names of the weights that an identity depends on: "encoder" and "base_text_encoder"."""
        with self._lock:
            if self._text_fingerprint is None:
                exact = self.text.token_embedding.weight.dtype == torch.float32  # else rounded: another one
                self._text_fingerprint = text_encoder_fingerprint(self.text.model) if exact else "unknown"
            return {"encoder": self.encoder_fingerprint, "base_text_encoder": self._text_fingerprint}

    def generate(
        self,
        prompts: str | Sequence[str],
        identity: Identity | Sequence[Identity],
        *,
        num_images: int = 4,
        seed: int = 0,
        steps: int | None = None,
        guidance_scale: float | tuple[float, float] | None = None,
        id_scale: float | None = None,
        layer_weights: Sequence[float] | None = None,
        negative_prompt: str | None | Unset = UNSET,
        height: int | None = None,
        width: int | None = None,
        batch_size: int | None = None,
        init_image: ImageSource | None = None,
        strength: float | None = None,
        mask: ImageSource | None = None,
        control_image: ImageSource | None = None,
        control_scale: float | None = None,
        on_step: OnStep | None = None,
        on_batch: Callable[[Generation], None] | None = None,
    ) -> Generation:
        """Draw `num_images` pictures for each prompt; picture k of a prompt has the seed `seed` + k.

        prompts: a person stands in them as <name>; a sole one finds a place by itself. What is None or not
        given is taken from the stack. guidance_scale: at the first and the last step, or one number for all.
        negative_prompt: None switches it off. The other settings: see `Settings`.

        init_image: a picture to start from, instead of noise. strength: how far from it, above 0 (almost
        itself) up to 1; usual is 0.8, and 1 under a mask. `steps` counts all steps, of which that share is
        done. mask: over `init_image`, white is drawn anew; pixels where it is black are `init_image`'s own,
        bit by bit, and grey mixes. control_image: what the ControlNet reads, such as edges or a pose.
        control_scale: how strictly, usual is 1. Each of them is cut in the middle to height x width.

        on_step: told steps done and steps in all. on_batch: given each batch as soon as it is drawn, to save
        or show it; its notes are those known before drawing. Raises ConfigError: a setting out of range, or
        one that lacks another. PromptError: a prompt that names somebody else, or is too long. FormatError:
        an identity made for another kind of base model. LicenceError: see `from_pretrained`. ImageError or
        MissingFileError: a picture that cannot be read. StackError: a ControlNet for another kind of base.
        """
        sources = {"init_image": init_image, "mask": mask, "control_image": control_image}
        weights = {"strength": strength, "control_scale": control_scale}
        check_pictures({**sources, **weights}, controlnet=self._controlnet is not None)
        chosen = _chosen(
            guidance_scale,
            layer_weights,
            negative_prompt,
            {"steps": steps, "id_scale": id_scale, "height": height, "width": width, "batch_size": batch_size}
            | weights,
        )
        settings = self.settings.override(chosen)
        seeds = check_seeds(seed, num_images)
        people = as_identities(identity)
        if self.commercial_safe:
            require_commercial({one.name: one.provenance.get("licence", "") for one in people})
        size = base_size(self.pipe)
        canvas = open_canvas((settings.height or size[0], settings.width or size[1]), **sources)
        plan, used, notes = self._plan(_as_texts(prompts), people, seeds, settle(settings, canvas), canvas)

        def made(start: int, images: Sequence[Image.Image]) -> Generation:
            part = slice(start, start + len(images))
            told = tuple(dict.fromkeys(notes))
            return Generation(
                tuple(images), used[part], tuple(plan.seeds[part]), plan.settings, told, canvas.digests
            )

        tell = None if on_batch is None else lambda start, images: on_batch(made(start, images))
        images, hidden = draw(self.pipe, plan, on_step, tell)
        notes += [f"picture {k + 1} was blacked out by the base model's safety checker" for k in hidden]
        return made(0, images)

    def _plan(
        self,
        texts: Sequence[str],
        people: Sequence[Identity],
        seeds: Sequence[int],
        settings: Settings,
        canvas: Canvas,
    ) -> tuple[Drawing, tuple[str, ...], list[str]]:
        """What to draw, the prompt of each picture as it is used, and what the user should know."""
        subjects = {
            one.name: fit_rows(one, self.encoder, self.text.width, settings.id_scale).to(
                self.text.token_embedding.weight
            )
            for one in people
        }
        embedded = [self._embed(text, subjects, settings) for text in texts]
        negative = self._embed(settings.negative_prompt or "", {}, settings)
        notes = [*canvas.notes, *(note for one in people for note in origin_notes(one, self.fingerprints))]
        named = [*zip((f"prompt {text!r}" for text in texts), embedded, strict=True)]
        notes += [f"{name}: {one.note}" for name, one in (*named, ("negative prompt", negative)) if one.note]
        pictures = [(one, number) for one in embedded for number in seeds]
        plan = Drawing(
            [one.prompt_embeds for one, _ in pictures],
            negative.prompt_embeds,
            [number for _, number in pictures],
            settings,
            canvas,
            None if canvas.control is None else self.controlnet,
            self.memory,
        )
        return plan, tuple(one.prompt for one, _ in pictures), notes

    def prompt_embeds(self, prompt: str, subjects: Mapping[str, Tensor]) -> PromptEmbedding:
        """One prompt as `generate` embeds it, with the stack's own settings; `.prompt_embeds` is (1, T, D).

        subjects: by name, the rows (K, D) that fill <name> in the prompt; empty for a prompt without people.
        Raises PromptError: a prompt that names somebody else, or is too long.
        """
        return self._embed(prompt, subjects, self.settings)

    def _embed(self, prompt: str, subjects: Mapping[str, Tensor], settings: Settings) -> PromptEmbedding:
        with self._lock, torch.inference_mode():
            return embed_prompt(
                self.text, self.pipe.tokenizer, prompt, subjects, layer_weights=settings.layer_weights
            )


def _chosen(
    guidance_scale: float | tuple[float, float] | None,
    layer_weights: Sequence[float] | None,
    negative_prompt: str | None | Unset,
    rest: Mapping[str, Any],
) -> dict[str, Any]:
    """What the caller gave, by the names and in the forms of `Settings`."""
    same = isinstance(guidance_scale, int | float)
    given = {
        **rest,
        "guidance_scale": (guidance_scale, guidance_scale) if same else guidance_scale,
        "layer_weights": None if layer_weights is None else tuple(layer_weights),
    }
    chosen = {key: value for key, value in given.items() if value is not None}
    return chosen if isinstance(negative_prompt, Unset) else {**chosen, "negative_prompt": negative_prompt}


def _as_texts(prompts: str | Sequence[str]) -> list[str]:
    texts = [prompts] if isinstance(prompts, str) else list(prompts or ())
    if not texts or not all(isinstance(text, str) for text in texts):
        raise ConfigError("prompts: give a text, or a list of at least one text")
    return texts
