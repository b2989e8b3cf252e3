"""Who a step with random people asks for: a distribution of ID embeddings. Shapes: N, D_id."""

import numpy as np
import torch

from adaface.data.dataset import FaceDataset
from adaface.identity.strangers import IdDistribution, load_strangers
from adaface.pipelines.stack import Stack

MOST = 20_000  # ID embeddings that are looked at, evenly spaced: more change nothing that can be seen


def open_people(kind: str, dataset: FaceDataset, stack: Stack) -> IdDistribution:
    """The distribution of people who do not exist. kind: "sphere", or "fitted" to real ones.

    Fitted to the data's ID embeddings and to those of the stack's strangers: a small data set alone knows too
    few people. Raises what reading the strangers raises.
    """
    if kind == "sphere":
        return IdDistribution.sphere(dataset.id_width)
    rows = [np.array(dataset.id_embeddings[:: -(-len(dataset) // MOST)])]
    if "strangers" in stack.roles:
        rows.append(load_strangers(stack.path("strangers"), dataset.id_width))
    return IdDistribution.fitted(torch.from_numpy(np.concatenate(rows)))
