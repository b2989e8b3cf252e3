"""What a recipe of the inverse encoder trains with: a stack's models, a prepared data set, a start."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Generator

from adaface.data.dataset import FaceDataset
from adaface.encoder.fingerprint import text_encoder_fingerprint
from adaface.encoder.id_prompter import Arc2FacePrompter
from adaface.encoder.inverse import AdaFaceEncoder
from adaface.errors import ConfigError, MissingFileError, WrongModelError
from adaface.pipelines.base import base_parts, load_base
from adaface.pipelines.recognition import check_recognizer, recognizer_name
from adaface.pipelines.stack import Stack
from adaface.recipes.config import BEST, ENCODER, STACK
from adaface.spec import NUM_ID_VECTORS
from adaface.training.checkpoint import HASHES, best, latest, verify
from adaface.training.step import TYPES


def open_dataset(folder: str | None, stack: Stack) -> FaceDataset:
    """The prepared data set that a run names.

    Raises ConfigError: it names none. WrongRecognizerError: its ID embeddings are of another recogniser than
    the stack's. Further what `FaceDataset` raises.
    """
    if folder is None:
        raise ConfigError(
            "data: no data set is named. Prepare one with `adaface prepare PHOTOS OUT`, then give --data OUT"
        )
    dataset = FaceDataset(folder)
    check_recognizer(recognizer_name(stack), dataset.recognizer)
    return dataset


def open_base(stack: Stack) -> Any:
    """A stack's base as a stock pipeline on the CPU, in float32. Raises as `load_base`."""
    return load_base(base_parts(stack, safety_checker=False), torch.device("cpu"), torch.float32)


def open_encoder(
    stack: Stack, pipe: Any, start: AdaFaceEncoder | None, recognizer: str
) -> tuple[Arc2FacePrompter, AdaFaceEncoder]:
    """A stack's ID prompter and the encoder to be trained, in float32 on the CPU.

    pipe: of `open_base`. start: the encoder to go on from; None is a copy of the base's text encoder.
    recognizer: whose ID embeddings it will be trained with. Raises WrongModelError: the encoder is for text
    features of another width. Further what opening the prompter raises.
    """
    count = int(stack.settings.get("num_id_vectors", NUM_ID_VECTORS))
    encoder = start or AdaFaceEncoder.from_text_encoder(pipe.text_encoder, pipe.tokenizer, count)
    width = pipe.text_encoder.config.hidden_size
    if encoder.config.width != width:
        raise WrongModelError(
            f"init_from: an encoder of rows {encoder.config.width} wide, but the base of the stack "
            f'"{stack.name}" reads {width}. Start from an encoder of this base\'s family'
        )
    encoder.config = dataclasses.replace(
        encoder.config,
        base_text_encoder=text_encoder_fingerprint(pipe.text_encoder),
        recognizer=recognizer,
        licence=_licence(stack, encoder),
    )
    count = encoder.config.num_id_vectors
    return Arc2FacePrompter.from_pretrained(stack.path("id_prompter"), count), encoder


def precision(frozen: str, device: torch.device) -> torch.dtype:
    """The type of the models that are not trained: "fp32", "bf16", or "auto", which is bf16 on CUDA."""
    if frozen == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    return TYPES[frozen]


def start_encoder(
    init_from: str | None, stack: Stack, multipliers: Sequence[int], noise: float, generator: Generator
) -> AdaFaceEncoder | None:
    """The encoder that `init_from` names, its keys and values expanded; None if it names none.

    init_from: "stack", an encoder folder, a run, or one of its checkpoints. multipliers: for all layers, or
    one a layer; none keeps it. noise: of the copies. Raises MissingFileError: there is no encoder.
    ConfigError: another number of multipliers than layers, or some without an encoder.
    """
    if init_from is None:
        if multipliers:
            raise ConfigError(
                f"kv_multipliers={list(multipliers)}: they expand an encoder that was trained before. Give "
                "it as init_from, or leave them out"
            )
        return None
    folder = stack.path(ENCODER) if init_from == STACK else find_encoder(init_from)
    encoder = AdaFaceEncoder.from_pretrained(folder)
    if not multipliers:
        return encoder
    factors = multipliers[0] if len(multipliers) == 1 else tuple(multipliers)
    return encoder.expand_attention(factors, noise, generator)


def find_encoder(place: str | Path) -> Path:
    """The encoder folder that a place means: itself, or that of a checkpoint, or of a run's newest one.

    "RUN:best" is that of the run's best checkpoint. Raises MissingFileError: none is there. DamagedFileError:
    a checkpoint that is not what was written.
    """
    path = Path(place).expanduser()
    choose = latest
    if path.name.endswith(BEST) and not path.exists():
        path, choose = path.with_name(path.name.removesuffix(BEST)), best
    if (path / "config.json").is_file():
        return _whole(path, path.parent)
    chosen = choose(path) if path.is_dir() else None
    for folder in (*([chosen / ENCODER] if chosen else []), path / ENCODER):
        if (folder / "config.json").is_file():
            return _whole(folder, path)
    problem = "no encoder in it" if path.is_dir() else "no such folder"
    raise MissingFileError(
        f"init_from={place}: {problem}. Give an encoder's folder (config.json, model.safetensors), a run of "
        '`adaface train` (RUN, or RUN:best), one of its checkpoints, or "stack"'
    )


def _whole(encoder: Path, checkpoint: Path) -> Path:
    """The encoder of a checkpoint, held against its hashes; of what has none, as it is."""
    if (checkpoint / HASHES).is_file():
        verify(checkpoint)
    return encoder


def _licence(stack: Stack, encoder: AdaFaceEncoder) -> str:
    """Of what the training starts from; the data's own terms come on top, and nobody here knows them."""
    known = encoder.config.licence
    return known if known != "unknown" else stack.part("base").licence
