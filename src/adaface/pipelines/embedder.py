"""Photos of a person -> Identity, with a stack's recogniser, ID prompter and encoder. Shapes: K, D, D_id.

No diffusion model is needed for it, so that none is opened here.
"""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

import adaface
from adaface.encoder.id_prompter import Arc2FacePrompter
from adaface.encoder.inverse import AdaFaceEncoder
from adaface.errors import ConfigError, StackError
from adaface.face.analyzer import FaceAnalyzer, Photo
from adaface.face.photos import PhotoSet
from adaface.face.types import Floats
from adaface.identity.files import Identity
from adaface.identity.names import check_name
from adaface.pipelines.devices import choose_device
from adaface.pipelines.fitting import ID_SCALE
from adaface.pipelines.recognition import check_recognizer, recognizer_name, stack_analyzer
from adaface.pipelines.settings import Settings
from adaface.pipelines.stack import Stack
from adaface.spec import DEFAULT_SUBJECT

ROLES = ("encoder", "id_prompter", "recognizer")  # what is read of a stack

_log = logging.getLogger(__name__)


class Embedder:
    """The models that turn photos into identities. Threads may share one."""

    def __init__(
        self,
        encoder: AdaFaceEncoder,
        id_prompter: Arc2FacePrompter,
        *,
        analyzer: FaceAnalyzer | Callable[[], FaceAnalyzer] = FaceAnalyzer,
        settings: Settings | None = None,
        stack: Stack | None = None,
    ) -> None:
        """Join models that fit together.

        analyzer: itself, or what makes it at first use. settings: None is the defaults with the encoder's own
        id_scale.
        """
        self.encoder, self.id_prompter, self.stack = encoder, id_prompter, stack
        self.settings = settings or Settings(id_scale=encoder.config.id_scale)
        self._make_analyzer = analyzer
        self._analyzer: FaceAnalyzer | None = None
        self._encoder_fingerprint: str | None = None
        self._lock = threading.RLock()  # for what is made at first use

    @classmethod
    def from_pretrained(
        cls,
        stack: str | Path | Stack = "mini",
        *,
        encoder: str | Path | None = None,
        id_prompter: str | Path | None = None,
        recognizer: str | Path | None = None,
        device: str | torch.device = "auto",
        commercial_safe: bool = False,
        verify: bool = True,
        analyzer: FaceAnalyzer | None = None,
    ) -> Self:
        """Open what is needed of a stack; the same arguments and errors as `Personalizer.from_pretrained`."""
        loaded = with_models(stack, {}, encoder, id_prompter, recognizer)
        chosen = choose_device(device)
        if commercial_safe:
            loaded.require_commercial(*ROLES)
        if verify:
            loaded.verify(*ROLES)
        rows, prompter = load_encoder(loaded, chosen, analyzer)
        make = analyzer or partial(stack_analyzer, loaded)
        return cls(rows, prompter, analyzer=make, settings=usual_settings(loaded, rows), stack=loaded)

    @property
    def analyzer(self) -> FaceAnalyzer:
        """The face analyser, made at first use."""
        with self._lock:
            if self._analyzer is None:
                make = self._make_analyzer
                self._analyzer = make if isinstance(make, FaceAnalyzer) else make()
            return self._analyzer

    @property
    def encoder_fingerprint(self) -> str:
        """Name of the encoder's weights, which identities carry."""
        with self._lock:
            if self._encoder_fingerprint is None:
                self._encoder_fingerprint = self.encoder.fingerprint()
            return self._encoder_fingerprint

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
        keep_all: bool = False,
    ) -> Identity:
        """One or several photos of a person -> an Identity called `name`: `generate` draws it, `save` keeps
        it.

        photos: paths (also of folders), pictures, aligned crops, or what `analyzer.identity` gave.
        id_embedding: instead of photos, a ready ID embedding (D_id,) of the stack's recogniser. index,
        position, reference, strict, keep_all: which faces, see `FaceAnalyzer.identity`. Photos that were left
        out are told to the log. Raises what `FaceAnalyzer.identity` raises; PromptError: a bad name;
        ConfigError: not one of photos and id_embedding, or a recogniser that the encoder was not trained
        with.
        """
        if (photos is None) == (id_embedding is None):
            raise ConfigError("identity: give either photos or an id_embedding")
        check_name(name)
        wanted = self.encoder.config.recognizer
        check_recognizer(wanted, self.analyzer.recognizer.name)
        if isinstance(id_embedding, Tensor):
            id_embedding = id_embedding.detach().to("cpu", torch.float32).numpy()
        if id_embedding is not None:
            photos = np.asarray(id_embedding, dtype=np.float32)
        if not isinstance(photos, PhotoSet):
            photos = self.analyzer.identity(
                photos,  # type: ignore[arg-type]  # not None: checked above
                index=index,
                position=position,
                reference=reference,
                strict=strict,
                keep_all=keep_all,
            )
            for item in photos.left_out:
                _log.warning("%s left out: %s", item.name, item.reason)
        else:
            check_recognizer(wanted, photos.recognizer)
        scale = self.settings.id_scale
        embedding = torch.from_numpy(photos.id_embedding)
        with torch.inference_mode():
            id_prompt = self.id_prompter(embedding[None].to(self.encoder.positions.device))  # (1, K, D)
            rows = self.encoder(id_prompt, id_scale=scale)[0]
        return Identity(name, rows, embedding, self._provenance(len(photos.faces), scale))

    def _provenance(self, photos: int, id_scale: float) -> dict[str, str]:
        config, recognizer = self.encoder.config, self.analyzer.recognizer
        spec = getattr(recognizer, "spec", None)  # one of the caller's own may have none
        licences = [config.licence, getattr(spec, "licence", "")]
        values: dict[str, Any] = {
            "encoder": self.encoder_fingerprint,
            "base_text_encoder": config.base_text_encoder,
            "recognizer": recognizer.name,
            "photos": photos,
            ID_SCALE: id_scale,
            "licence": "; ".join(dict.fromkeys(filter(None, licences))),
            "version": adaface.__version__,
        }
        named = {"stack": self.stack.name} if self.stack else {}
        return {key: str(value) for key, value in values.items()} | named


def usual_settings(stack: Stack, encoder: AdaFaceEncoder) -> Settings:
    """What counts where a caller gives nothing: the stack, then the scale of the encoder, then defaults."""
    scale = stack.settings.get("id_scale", encoder.config.id_scale)
    return stack.recommended().override({"id_scale": scale})


def with_models(
    stack: str | Path | Stack,
    names: Mapping[str, str | Path | None],
    encoder: str | Path | None,
    id_prompter: str | Path | None,
    recognizer: str | Path | None,
) -> Stack:
    """`stack`, read if need be, with other models in the roles of `names` and in the three; None keeps one.

    Raises as `Stack.load` and `Stack.with_parts`.
    """
    loaded = stack if isinstance(stack, Stack) else Stack.load(stack)
    return loaded.with_parts(
        {**names, "encoder": encoder, "id_prompter": id_prompter, "recognizer": recognizer}
    )


def load_encoder(
    stack: Stack, device: torch.device, analyzer: FaceAnalyzer | None = None
) -> tuple[AdaFaceEncoder, Arc2FacePrompter]:
    """A stack's inverse encoder and the ID prompter before it, in float32 on `device`.

    analyzer: what is used in place of the stack's recogniser. Raises MissingFileError or FormatError: files
    are missing or do not fit. StackError: the stack's settings name another number of ID vectors.
    WrongRecognizerError: the recogniser is not the one that the encoder was trained with.
    """
    encoder = AdaFaceEncoder.from_pretrained(stack.path("encoder")).to(device)
    used = recognizer_name(stack) if analyzer is None else analyzer.recognizer.name
    check_recognizer(encoder.config.recognizer, used)
    count = encoder.config.num_id_vectors
    if stack.settings.get("num_id_vectors", count) != count:
        raise StackError(
            f'stack "{stack.name}": num_id_vectors is {stack.settings["num_id_vectors"]}, but its encoder '
            f"has {count}. Correct the settings, or put the encoder there that they are for"
        )
    prompter = Arc2FacePrompter.from_pretrained(stack.path("id_prompter"), count)
    return encoder, prompter.to(device)
