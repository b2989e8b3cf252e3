"""Where the models run, and in which precision."""

import torch

from adaface.errors import ConfigError

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


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
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(
            f'device "{device}": not usable here ({reason}). Give cpu, cuda, mps or auto'
        ) from error
    return chosen


def choose_dtype(dtype: str | torch.dtype | None, device: torch.device) -> torch.dtype:
    """None: half precision on CUDA, else float32 (half gives black pictures on MPS and is slow on CPUs).

    Raises ConfigError: an unknown name.
    """
    if dtype is None:
        return torch.float16 if device.type == "cuda" else torch.float32
    if isinstance(dtype, torch.dtype) and dtype in DTYPES.values():
        return dtype
    if dtype not in DTYPES:
        raise ConfigError(f"dtype={dtype}: give one of {', '.join(DTYPES)}")
    return DTYPES[str(dtype)]
