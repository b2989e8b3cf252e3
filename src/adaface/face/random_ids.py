"""People who do not exist: ID embeddings drawn from where real people's lie. Shapes: N, D_id, R."""

from dataclasses import dataclass
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor


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
