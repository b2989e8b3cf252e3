"""Who a step with random people asks for: a distribution of ID embeddings. Shapes: N, D_id."""

import numpy as np
import torch

from adaface.data.dataset import FaceDataset
from adaface.face.random_ids import IdDistribution
from adaface.pipelines.stack import Stack

MOST = 20_000  # ID embeddings that are looked at, evenly spaced: more change nothing that can be seen


def open_people(kind: str, dataset: FaceDataset, stack: Stack) -> IdDistribution:
    """The distribution of people who do not exist. kind: "sphere", or "fitted" to real ones.

    Fitted to the ID embeddings of the data.
    """
    if kind == "sphere":
        return IdDistribution.sphere(dataset.id_width)
    rows = np.array(dataset.id_embeddings[:: -(-len(dataset) // MOST)])
    return IdDistribution.fitted(torch.from_numpy(rows))
