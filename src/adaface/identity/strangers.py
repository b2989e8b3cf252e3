"""Other people as ID embeddings: a file of them, and people who do not exist, drawn from where they lie.

Shapes: S or N rows of D_id numbers, R directions.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from adaface.errors import FormatError, MissingFileError

STRANGERS = "id_embeddings"  # name of the tensor (S, D_id) in a file of strangers


def load_strangers(path: str | Path, dim: int) -> NDArray[np.float32]:
    """ID embeddings of people who are not the person: (S, D_id) unit vectors, D_id = `dim`.

    Raises MissingFileError: no such file. FormatError: no such tensor in it, or of another recogniser's
    length.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    path = Path(path)
    if not path.is_file():
        raise MissingFileError(
            f"{path}: no such file; it should hold ID embeddings of strangers. Copy the stack again"
        )
    try:
        rows = load_file(path)[STRANGERS].astype(np.float32)
    except (SafetensorError, KeyError, ValueError) as error:
        raise FormatError(f'{path}: no tensor "{STRANGERS}" in it ({error}). Copy it again') from error
    if rows.ndim != 2 or rows.shape[1] != dim:
        raise FormatError(
            f"{path}: {rows.shape}, the recogniser makes (S, {dim}). Use the file of the same stack"
        )
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: NDArray[np.float32] = (rows / np.maximum(lengths, 1e-12)).astype(np.float32)
    return unit


@dataclass(frozen=True, eq=False)
class IdDistribution:
    """A Gaussian whose samples, made unit, are ID embeddings.

    mean: (D_id,). directions: (R, D_id), each as long as the deviation along it.
    """

    mean: Tensor
    directions: Tensor

    @classmethod
    def sphere(cls, width: int) -> Self:
        """All directions of D_id = `width` numbers alike. Source: AdaFace, random identities."""
        return cls(torch.zeros(width), torch.eye(width))

    @classmethod
    def fitted(cls, rows: Tensor) -> Self:
        """The Gaussian with the mean and the covariance of ID embeddings (N, D_id); N < 2 tells of none.

        Where N is small its samples stay in what the rows span.
        """
        if len(rows) < 2:
            return cls.sphere(rows.shape[1])
        mean = rows.double().mean(0)
        _, scales, directions = torch.linalg.svd(rows.double() - mean, full_matrices=False)
        spread = scales / (len(rows) - 1) ** 0.5
        return cls(mean.float(), (spread[:, None] * directions).float())

    def __call__(self, noise: Tensor) -> Tensor:
        """Standard normal numbers (B, R or more) -> unit ID embeddings (B, D_id)."""
        directions = self.directions.to(noise)
        return F.normalize(self.mean.to(noise) + noise[:, : len(directions)] @ directions, dim=-1)
