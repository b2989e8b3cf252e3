"""What the operations share: what they take, what they say of their results."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from adaface.checkpoints.kinds import Kind
from adaface.checkpoints.surgery.writing import check_free
from adaface.checkpoints.tensors import Weights
from adaface.errors import ConfigError
from adaface.files import sha256
from adaface.sources.heads import is_folder

CHECKPOINTS = (Kind.SD1, Kind.SD1_EDITING)
SOURCES = {  # what a model can be taken from
    "text_encoder": (*CHECKPOINTS, Kind.TEXT_ENCODER),
    "vae": (*CHECKPOINTS, Kind.SD2, Kind.VAE),
    "unet": (*CHECKPOINTS, Kind.UNET),
}
ORIGIN = "adaface_origin"  # key of the header's metadata
SUFFIX = ".safetensors"
NOT_WRITTEN = (".ckpt", ".pt", ".pth", ".bin")


@dataclass(frozen=True)
class Written:
    """What an operation has written."""

    path: Path
    bytes: int = 0  # of the tensors that were written, copied files aside
    tensors: int = 0  # written
    changed: int = 0  # of them not the base's own
    left_out: tuple[str, ...] = ()  # names of the base's tensors that would no longer be true


def origin(operation: str, *inputs: Weights, shares: Sequence[float] | None = None) -> dict[str, str]:
    """What the header tells of where a file comes from: the operation, names and SHA-256 of the inputs."""
    files = dict.fromkeys(part.path for weights in inputs for part in getattr(weights, "parts", [weights]))
    told: dict[str, object] = {
        "made_by": f"adaface {version('adaface')}",
        "operation": operation,
        "inputs": [{"file": path.name, "sha256": sha256(path)} for path in files],
    }
    return {ORIGIN: json.dumps(told | ({"shares": list(shares)} if shares else {}))}


def check_out(base: Path, out: Path, overwrite: bool) -> None:
    """Raises ConfigError: a result of the base's form, file or folder, cannot be put at `out`."""
    is_file, from_folder = out.suffix.lower() == SUFFIX, is_folder(base)
    if from_folder and is_file:
        raise ConfigError(f"{out}: {base} is a folder, and so is the result. Name a new folder")
    if not from_folder and base.is_file() and not is_file:
        raise ConfigError(f"{out}: {base} is a file, and so is the result. Name one that ends with {SUFFIX}")
    check_out_name(out)
    check_free(out, overwrite=overwrite)


def check_out_name(out: Path) -> None:
    """Raises ConfigError: the name of a file that is not written here; it would become a folder's."""
    if out.suffix.lower() in NOT_WRITTEN:
        raise ConfigError(f"{out}: no {out.suffix} is written. Name a {SUFFIX} file or a new folder")
