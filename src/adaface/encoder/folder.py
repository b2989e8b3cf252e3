"""One encoder as a folder: config.json and model.safetensors, nothing pickled."""

import dataclasses
import difflib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from adaface.encoder.config import AdaFaceEncoderConfig
from adaface.errors import ConfigError, FormatError, MissingFileError
from adaface.files import write_atomic
from adaface.text.folder import read_tensors

KIND, FORMAT = "adaface-encoder", 1
CONFIG, WEIGHTS = "config.json", "model.safetensors"


def write_encoder(folder: str | Path, config: AdaFaceEncoderConfig, tensors: Mapping[str, Tensor]) -> None:
    """Write weights and config of an encoder; each file appears whole or not at all.

    Raises WriteError: the folder cannot be written.
    """
    folder = Path(folder)
    rows = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    text = json.dumps({"kind": KIND, "format": FORMAT, **dataclasses.asdict(config)}, indent=2) + "\n"
    write_atomic(folder / WEIGHTS, lambda path: save_file(rows, path, metadata={"format": "pt"}))
    write_atomic(folder / CONFIG, lambda path: path.write_text(text, encoding="utf-8"))


def read_encoder(folder: str | Path) -> tuple[AdaFaceEncoderConfig, dict[str, Tensor]]:
    """Config and tensors of an encoder's folder.

    Raises MissingFileError: a file is not there. FormatError: it is not an encoder, of an unknown format, or
    damaged.
    """
    folder = Path(folder)
    return _read_config(folder / CONFIG), read_tensors(folder / WEIGHTS)


def _read_config(path: Path) -> AdaFaceEncoderConfig:
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file; an encoder's folder holds {CONFIG} and {WEIGHTS}")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise FormatError(f"{path}: not JSON ({error}). Copy or download it again") from error
    if not isinstance(values, dict) or values.pop("kind", None) != KIND:
        raise FormatError(
            f"{path}: not the config of an AdaFace encoder (no kind {KIND!r}). Give an encoder's folder"
        )
    if (number := values.pop("format", None)) != FORMAT:
        raise FormatError(
            f"{path}: format {number!r}, this version reads {FORMAT}. Update adaface, or convert again"
        )
    return _make_config(path, values)


def _make_config(path: Path, values: dict[str, Any]) -> AdaFaceEncoderConfig:
    known = [f.name for f in dataclasses.fields(AdaFaceEncoderConfig)]
    for name in values.keys() - set(known):
        near = difflib.get_close_matches(name, known, 3, 0.4) or known
        raise FormatError(
            f"{path}: unknown entry {name!r}; known near it: {', '.join(near)}. Correct or remove it"
        )
    try:
        return AdaFaceEncoderConfig(**values)
    except (ConfigError, TypeError) as error:
        raise FormatError(f"{path}: {error}") from error
