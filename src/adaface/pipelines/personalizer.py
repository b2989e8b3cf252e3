"""Pictures of a person: photos -> identity -> prompts -> pictures. Shapes: N pictures, T text positions, K
rows, D width.
"""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

import adaface
from adaface.encoder.fingerprint import text_encoder_fingerprint
from adaface.encoder.id_prompter import Arc2FacePrompter
from adaface.encoder.inverse import AdaFaceEncoder
from adaface.errors import ConfigError
from adaface.face.analyzer import FaceAnalyzer, Photo
from adaface.face.photos import PhotoSet
from adaface.face.types import Floats
from adaface.identity.files import Identity
from adaface.identity.names import check_name
from adaface.pipelines.base import StableDiffusionPipeline, choose_device, choose_dtype, load_base
from adaface.pipelines.drawing import Drawing, OnStep, draw
from adaface.pipelines.fitting import ID_SCALE, as_identities, fit_rows, origin_notes
from adaface.pipelines.generation import Generation
from adaface.pipelines.recognition import stack_analyzer
from adaface.pipelines.settings import Settings, check_seeds
from adaface.pipelines.stack import Stack
from adaface.prompt.embedding import PromptEmbedding, embed_prompt
from adaface.spec import DEFAULT_SUBJECT
from adaface.text.clip import TextEncoder

_log = logging.getLogger(__name__)


class Unset(Enum):
    """Tells "not given" from None, which means "none, please"."""

    UNSET = "unset"


UNSET = Unset.UNSET


class Personalizer:
    """All models of a stack, ready to draw people. Threads may share one: no call leaves anything behind in
    it.
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
    ) -> None:
        """Join models that fit together; `from_pretrained` does it for a stack.

        pipe: a stock pipeline with text encoder and tokenizer; it is shared, not changed. analyzer: itself,
        or what makes it at first use. settings: what `generate` takes where its caller gives nothing.
        """
        self.pipe, self.encoder, self.id_prompter, self.stack = pipe, encoder, id_prompter, stack
        self.settings = settings or Settings()
        self.text = TextEncoder(pipe.text_encoder)
        self._make_analyzer = analyzer
        self._analyzer: FaceAnalyzer | None = None
        self._fingerprints: Mapping[str, str] | None = None
        self._lock = (
            threading.RLock()
        )  # for what is made at first use, and for the tokenizer, which threads cannot share

    @classmethod
    def from_pretrained(
        cls,
        stack: str | Path | Stack = "mini",
        *,
        device: str | torch.device = "auto",
        dtype: str | torch.dtype | None = None,
        verify: bool = True,
        analyzer: FaceAnalyzer | None = None,
    ) -> Self:
        """Open a stack: "mini", or a folder with a stack.json.

        device: "auto", "cpu", "cuda", ... dtype: of the base model; None is half precision on CUDA, else
        float32. verify: compare the files with the manifest's hashes first. analyzer: one that is open
        already, with the stack's recogniser. Raises MissingFileError: no such stack. StackError: its files
        are damaged or do not fit. ConfigError: no such device or dtype.
        """
        stack = stack if isinstance(stack, Stack) else Stack.load(stack)
        chosen = choose_device(device)
        kind = choose_dtype(dtype, chosen)
        if verify:
            stack.verify("base", "encoder", "id_prompter", "recognizer")
        encoder = AdaFaceEncoder.from_pretrained(stack.path("encoder")).to(chosen)
        prompter = Arc2FacePrompter.from_pretrained(
            stack.path("id_prompter"), encoder.config.num_id_vectors
        ).to(chosen)
        pipe = load_base(stack.path("base"), chosen, kind)
        settings = stack.recommended()
        return cls(
            pipe,
            encoder,
            prompter,
            analyzer=analyzer or (lambda: stack_analyzer(stack)),
            settings=settings,
            stack=stack,
        )

    @property
    def analyzer(self) -> FaceAnalyzer:
        """The face analyser, made at first use."""
        with self._lock:
            if self._analyzer is None:
                make = self._make_analyzer
                self._analyzer = make if isinstance(make, FaceAnalyzer) else make()
            return self._analyzer

    @property
    def fingerprints(self) -> Mapping[str, str]:
        """Names of the weights that an identity depends on: "encoder" and "base_text_encoder"."""
        with self._lock:
            if self._fingerprints is None:
                exact = (
                    self.text.token_embedding.weight.dtype == torch.float32
                )  # else rounded, so another fingerprint
                base = text_encoder_fingerprint(self.text.model) if exact else "unknown"
                self._fingerprints = {"encoder": self.encoder.fingerprint(), "base_text_encoder": base}
            return self._fingerprints

    def identity(
        self,
        photos: Photo | Sequence[Photo] | PhotoSet | None = None,
        *,
        id_embedding: Sequence[float] | Floats | Tensor | None = None,
        name: str = DEFAULT_SUBJECT,
        index: int | None = None,
        position: tuple[float, float] | None = None,
        reference: Photo | None = None,
        strict: bool = False,
    ) -> Identity:
        """One or several photos of a person -> an Identity called `name`, which `generate` draws and `save`
        keeps.

        photos: paths (also of folders), pictures, aligned crops, or what `analyzer.identity` gave.
        id_embedding: instead of photos, a ready ID embedding (D_id,) of the stack's recogniser. index,
        position, reference, strict: which face, see `FaceAnalyzer.face`. Photos that were left out are told
        to the log. Raises what `FaceAnalyzer.identity` raises; PromptError: a bad name; ConfigError: not one
        of photos and id_embedding.
        """
        if (photos is None) == (id_embedding is None):
            raise ConfigError("identity: give either photos or an id_embedding")
        check_name(name)
        if id_embedding is not None:
            photos = np.asarray(id_embedding, dtype=np.float32)
        if not isinstance(photos, PhotoSet):
            choice = {"index": index, "position": position, "reference": reference, "strict": strict}
            photos = self.analyzer.identity(photos, **choice)  # type: ignore[arg-type]  # the check above
            for item in photos.left_out:
                _log.warning("%s left out: %s", item.name, item.reason)
        scale = self.settings.id_scale
        embedding = torch.from_numpy(photos.id_embedding)
        with torch.inference_mode():
            id_prompt = self.id_prompter(embedding[None].to(self.encoder.positions.device))  # (1, K, D)
            rows = self.encoder(id_prompt, id_scale=scale)[0]
        return Identity(name, rows, embedding, self._provenance(len(photos.faces), scale))

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
        on_step: OnStep | None = None,
    ) -> Generation:
        """Draw `num_images` pictures for each prompt; picture k of a prompt has the seed `seed` + k.

        prompts: a person stands in them as <name>; a sole one finds a place by itself. What is None or not
        given is taken from the stack. guidance_scale: at the first and the last step, or one number for all.
        negative_prompt: None switches it off. The other settings: see `Settings`. on_step: told steps done
        and steps in all. Raises ConfigError: a setting out of range. PromptError: a prompt that names
        somebody else, or is too long. FormatError: an identity made for another kind of base model.
        """
        given = {
            "steps": steps,
            "guidance_scale": (guidance_scale,) * 2
            if isinstance(guidance_scale, int | float)
            else guidance_scale,
            "id_scale": id_scale,
            "layer_weights": None if layer_weights is None else tuple(layer_weights),
            "height": height,
            "width": width,
            "batch_size": batch_size,
        }
        chosen: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
        if not isinstance(negative_prompt, Unset):
            chosen["negative_prompt"] = negative_prompt
        settings = self.settings.override(chosen)
        seeds = check_seeds(seed, num_images)
        people = as_identities(identity)
        notes = [note for one in people for note in origin_notes(one, self.fingerprints)]
        subjects = {
            one.name: fit_rows(one, self.encoder, self.text.width, settings.id_scale).to(
                self.text.token_embedding.weight
            )
            for one in people
        }
        texts = _as_texts(prompts)
        embedded = [self._embed(text, subjects, settings) for text in texts]
        negative = self._embed(settings.negative_prompt or "", {}, settings)
        notes += [
            f"prompt {text!r}: {one.note}" for text, one in zip(texts, embedded, strict=True) if one.note
        ]
        notes += [f"negative prompt: {negative.note}"] if negative.note else []
        pictures = [(one, number) for one in embedded for number in seeds]
        plan = Drawing(
            [one.prompt_embeds for one, _ in pictures],
            negative.prompt_embeds,
            [n for _, n in pictures],
            settings,
        )
        images, hidden = draw(self.pipe, plan, on_step)
        notes += [f"picture {k + 1} was blacked out by the base model's safety checker" for k in hidden]
        used, numbers = tuple(one.prompt for one, _ in pictures), tuple(number for _, number in pictures)
        return Generation(images, used, numbers, settings, tuple(dict.fromkeys(notes)))

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

    def _provenance(self, photos: int, id_scale: float) -> dict[str, str]:
        config = self.encoder.config
        values: dict[str, Any] = {
            "encoder": self.fingerprints["encoder"],
            "base_text_encoder": config.base_text_encoder,
            "recognizer": self.analyzer.recognizer.name,
            "photos": photos,
            ID_SCALE: id_scale,
            "licence": config.licence,
            "version": adaface.__version__,
        }
        return {key: str(value) for key, value in values.items()} | (
            {"stack": self.stack.name} if self.stack else {}
        )


def _as_texts(prompts: str | Sequence[str]) -> list[str]:
    texts = [prompts] if isinstance(prompts, str) else list(prompts or ())
    if not texts or not all(isinstance(text, str) for text in texts):
        raise ConfigError("prompts: give a text, or a list of at least one text")
    return texts
