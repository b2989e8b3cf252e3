"""Several processes, one training: who is who, and how they agree. Started by `torchrun`, on any nodes.

Each process holds all the weights and reads its part of the batch; DistributedDataParallel averages the
gradients while they are made. Weights are not split over the processes (FSDP): what is trained here is an
encoder of some 10^8 weights, about 2 GiB with its gradients and the optimiser's numbers; the frozen models
around it need none of these. Splitting the weights would cost messages at each layer and buy nothing.
"""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from adaface.errors import AdaFaceError, ConfigError, WriteError
from adaface.training.plan import Part

PATIENCE = timedelta(minutes=30)  # the first process saves and draws pictures while the others wait
_GIVEN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Ranks:
    """Which process of `world` processes this is. local_rank: among those of its machine."""

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    talk: "dist.ProcessGroup | None" = None  # on the CPU, for words and numbers that are no tensors

    @property
    def first(self) -> bool:
        """True for the one process that writes files."""
        return self.rank == 0

    def parts(self, accumulate: int) -> tuple[Part, ...]:
        """What this process reads of a batch, one part after the other."""
        count = self.world * accumulate
        return tuple(Part(self.rank * accumulate + i, count) for i in range(accumulate))

    def check(self, batch: int, accumulate: int) -> None:
        """Raises ConfigError: a batch (0: a recipe that draws its own) too small for all the parts."""
        parts = self.world * accumulate
        if 0 < batch < parts:
            raise ConfigError(
                f"a batch of {batch} for {self.world} processes that read it in {accumulate} parts each: "
                f"give a batch of at least {parts}"
            )

    def gather(self, value: Any) -> list[Any]:
        """What each process gave here, by rank; anything that JSON can hold."""
        if self.world == 1:
            return [value]
        text = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
        lengths = [torch.zeros(1, dtype=torch.int64) for _ in range(self.world)]
        dist.all_gather(lengths, torch.tensor([len(text)]), group=self.talk)
        longest = max(int(length) for length in lengths)
        padded = torch.zeros(longest, dtype=torch.uint8)
        padded[: len(text)] = text
        texts = [torch.zeros_like(padded) for _ in range(self.world)]
        dist.all_gather(texts, padded, group=self.talk)
        pairs = zip(texts, lengths, strict=True)
        return [json.loads(bytes(text[: int(length)].tolist())) for text, length in pairs]

    def on_first(self, action: Callable[[], object]) -> None:
        """Let the first process do something while the others wait.

        Raises what `action` raises; if that is an AdaFaceError, the others raise a WriteError of its words.
        """
        if self.world == 1:
            action()
            return
        trouble: AdaFaceError | None = None
        if self.first:
            try:
                action()
            except AdaFaceError as error:
                trouble = error
        told = self.gather("" if trouble is None else str(trouble))[0]
        if trouble is not None:
            raise trouble
        if told:
            raise WriteError(told)


ONE = Ranks()


@contextmanager
def joined(device: str | torch.device | None = None) -> Iterator[Ranks]:
    """Join the processes that `torchrun` started together; without it, this process is the only one.

    device: where this process computes; None: its GPU if there are GPUs, else the CPU.
    Raises ConfigError: more processes on this machine than GPUs, or half of torchrun's variables.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield Ranks(device=torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu")))
        return
    missing = [name for name in _GIVEN if name not in os.environ]
    if missing:
        raise ConfigError(
            f"WORLD_SIZE={world} but no {', '.join(missing)}. Start the processes with torchrun"
        )
    local = int(os.environ["LOCAL_RANK"])
    place = _device(device, local)
    gpu = place.type == "cuda"
    if gpu:
        torch.cuda.set_device(place)
    dist.init_process_group("nccl" if gpu else "gloo", timeout=PATIENCE)
    try:
        talk = dist.new_group(backend="gloo", timeout=PATIENCE) if gpu else None
        yield Ranks(dist.get_rank(), dist.get_world_size(), local, place, talk)
        with suppress(RuntimeError):  # a process that is gone is not waited for
            dist.barrier(group=talk)  # nobody closes what another one still listens to
    finally:
        dist.destroy_process_group()


def _device(wanted: str | torch.device | None, local: int) -> torch.device:
    device = torch.device(wanted or ("cuda" if torch.cuda.is_available() else "cpu"))
    if device.type != "cuda":
        return device
    count = torch.cuda.device_count()
    if local >= count:
        raise ConfigError(f"process {local} of this machine has no GPU: there are {count}. Start {count}")
    return torch.device("cuda", local)
