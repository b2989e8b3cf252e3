"""A name for weights that no renaming, casting or copying of the file changes."""

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor
from transformers import CLIPTextModel

from adaface.text.clip import text_parts


def fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """sha256 over names, shapes and float32 values of weights, as "sha256:..."; the order does not matter.

    Half-precision weights have the same fingerprint when they are loaded as float32; rounding float32 ones
    changes it.
    """
    digest = hashlib.sha256()
    for name in sorted(tensors):
        values = tensors[name].detach().to("cpu", torch.float32).contiguous()
        digest.update(f"{name}{tuple(values.shape)}".encode())
        digest.update(values.numpy().astype("<f4", copy=False).tobytes())
    return f"sha256:{digest.hexdigest()}"


def text_encoder_fingerprint(model: CLIPTextModel) -> str:
    """Fingerprint of a CLIP text model, the same in either layout of transformers."""
    weights = dict(text_parts(model).state_dict())
    weights.pop("embeddings.position_ids", None)  # a buffer of old versions, no weight
    return fingerprint(weights)
