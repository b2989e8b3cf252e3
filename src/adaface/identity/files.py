"""A person as one safetensors file: one tensor (K, D) under the key <name>, all else in the header.

Textual-inversion loaders of other programs take exactly such a file. Shapes: K rows of a subject, D width,
D_id.
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from adaface.errors import FormatError, MissingFileError, ShapeError
from adaface.files import write_atomic
from adaface.identity.names import check_name, slot

KIND, FORMAT = "adaface-identity", 1
HEADER = "adaface"  # the only key of the header, so that equal identities give equal bytes


@dataclass(frozen=True, eq=False)
class Identity:
    """One person, ready for prompts; cannot be changed.

    name: without brackets. subject_embeds: (K, D), kept as float32 on the CPU. id_embedding: (D_id,) unit
    vector of the face, or None. provenance: where it comes from: fingerprints of encoder and base text
    encoder, recognizer, number of photos, version, licence. Raises PromptError: a bad name; ShapeError: rows
    that are not (K, D).
    """

    name: str
    subject_embeds: Tensor
    id_embedding: Tensor | None = None
    provenance: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the name and the shapes; take copies, so that nobody else's tensors are shared."""
        check_name(self.name)
        object.__setattr__(self, "subject_embeds", _copy(self.subject_embeds, "subject_embeds", "(K, D)", 2))
        if self.id_embedding is not None:
            object.__setattr__(self, "id_embedding", _copy(self.id_embedding, "id_embedding", "(D_id,)", 1))
        texts = {str(key): str(value) for key, value in self.provenance.items()}
        object.__setattr__(self, "provenance", MappingProxyType(texts))

    def save(self, path: str | Path) -> Path:
        """Write the identity; an older file of the name is replaced at once, or stays.

        Raises WriteError: the file cannot be written.
        """
        header: dict[str, Any] = {"kind": KIND, "format": FORMAT, "name": self.name}
        header["provenance"] = dict(sorted(self.provenance.items()))
        if self.id_embedding is not None:
            raw = self.id_embedding.numpy().astype("<f4", copy=False).tobytes()
            header["id_embedding"] = base64.b64encode(raw).decode()
        tensors, metadata = {slot(self.name): self.subject_embeds}, {HEADER: json.dumps(header)}
        return write_atomic(path, lambda beside: save_file(tensors, beside, metadata=metadata))

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a file of `save`.

        Raises MissingFileError: it is not there. FormatError: it is damaged, or not an identity that we
        wrote.
        """
        path = Path(path)
        header, tensors = _read(path)
        try:
            name, provenance = str(header["name"]), dict(header["provenance"])
            rows = tensors[slot(name)]
            raw = header.get("id_embedding")
            face = None if raw is None else np.frombuffer(base64.b64decode(raw, validate=True), "<f4").copy()
            return cls(name, rows, None if face is None else torch.from_numpy(face), provenance)
        except (KeyError, TypeError, ValueError, ShapeError) as error:
            raise FormatError(
                f"{path}: header and tensor do not fit ({error!r}). Make the identity again"
            ) from error


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    if path.is_dir():
        raise FormatError(f"{path}: a folder. Name one file of `adaface embed` in it")
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file; make one with `adaface embed PHOTO -o {path.name}`")
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {}).get(HEADER, "{}"))
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError, ValueError) as error:
        raise FormatError(f"{path}: not a whole safetensors file ({error}). Copy or make it again") from error
    if not isinstance(header, dict) or header.get("kind") != KIND:
        raise FormatError(f"{path}: safetensors, but no identity of adaface. Make one with `adaface embed`")
    if header.get("format") != FORMAT:
        raise FormatError(
            f"{path}: format {header.get('format')!r}, this version reads {FORMAT}. Update adaface"
        )
    if len(tensors) != 1:
        raise FormatError(f"{path}: {len(tensors)} tensors, an identity has one. Make it again")
    return header, tensors


def _copy(values: Tensor, what: str, shape: str, ndim: int) -> Tensor:
    if values.ndim != ndim or values.numel() == 0 or not values.is_floating_point():
        raise ShapeError(
            f"{what} is {tuple(values.shape)} of {values.dtype}: give {shape} of a floating type"
        )
    return values.detach().to("cpu", torch.float32, copy=True).contiguous()
