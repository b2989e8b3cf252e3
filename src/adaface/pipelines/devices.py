"""Where the models run, in which precision, and how memory is saved."""

import logging
from dataclasses import dataclass
from typing import Any

import torch

from adaface.errors import ConfigError
from adaface.optional import require

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
SHORT = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}
OFFLOADS = ("model", "sequential")
CPU = torch.device("cpu")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Memory:
    """How memory is saved; speed is lost, the pictures stay the same up to rounding.

    offload: None, "model" (each model visits the device when it is needed) or "sequential" (each layer does:
    least memory, very slow). slicing: pictures are decoded one by one. tiling: and in overlapping tiles, for
    large ones. device: where the models work. Raises ConfigError: another name of offload, or one although
    `device` is the CPU, where there is nothing to offload from. MissingExtra: it needs accelerate.
    """

    offload: str | None = None
    slicing: bool = False
    tiling: bool = False
    device: torch.device = CPU

    def __post_init__(self) -> None:
        if self.offload not in (None, *OFFLOADS):
            raise ConfigError(f"offload={self.offload}: give {' or '.join(OFFLOADS)}, or none")
        if self.offload is not None and self.device.type == "cpu":
            raise ConfigError(f"offload={self.offload}: the models are on the CPU already. Leave it out")
        if self.offload is not None:
            require("accelerate", extra="offload")

    @property
    def home(self) -> torch.device:
        """Where models wait: on the CPU if they are offloaded, else on `device`."""
        return self.device if self.offload is None else CPU

    def settle(self, pipe: Any) -> None:
        """Switch the decoder's slicing and tiling of a pipeline on as asked for.

        If models are offloaded, the text encoder, which is small, stays on the CPU, in float32: half
        precision is slow there.
        """
        for wanted, name in ((self.slicing, "slicing"), (self.tiling, "tiling")):
            if wanted:
                getattr(pipe.vae, f"enable_{name}")()
        if self.offload is not None:
            pipe.text_encoder.float()

    def visit(self, pipe: Any) -> None:
        """Have the offloaded models of a pipeline visit `device` in its next call."""
        if self.offload is not None:
            getattr(pipe, f"enable_{self.offload}_cpu_offload")(device=self.device)


def choose_device(device: str | torch.device = "auto") -> torch.device:
    """The device of that name; "auto" is CUDA, else Apple's MPS, else the CPU.

    Raises ConfigError: there is no such device here.
    """
    if str(device) == "auto":
        best = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        return torch.device(best)
    try:
        chosen = torch.device(device)
        torch.empty(1, device=chosen)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0].split(". ")[0] if str(error) else type(error).__name__
        raise ConfigError(
            f'device "{device}": not usable here ({reason}). Give cpu, cuda, cuda:1, mps or auto'
        ) from error
    return chosen


def choose_dtype(dtype: str | torch.dtype | None, device: torch.device) -> torch.dtype:
    """None or "auto": half precision on CUDA, else float32 (half is slow on CPUs).

    Names are those of torch, or fp32, fp16, bf16. On MPS float16 gives black pictures, so that float32 is
    taken there and the log says so. Raises ConfigError: an unknown name.
    """
    if dtype is None or dtype == "auto":
        return torch.float16 if device.type == "cuda" else torch.float32
    name = SHORT.get(str(dtype), str(dtype).removeprefix("torch."))
    if name not in DTYPES:
        raise ConfigError(f"dtype={dtype}: give one of {', '.join((*DTYPES, *SHORT))}")
    if device.type == "mps" and name == "float16":
        _log.warning("float16 gives black pictures on MPS: float32 is used")
        return torch.float32
    return DTYPES[name]
