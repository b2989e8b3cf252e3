"""What a run will take: its plan, parameters, memory and time, found by a few steps that change nothing."""

import os
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from adaface.recipes.config import TrainConfig, resolved
from adaface.recipes.registry import open_recipe
from adaface.training.config import to_plain
from adaface.training.distributed import Ranks
from adaface.training.plan import Part, StepPlan, step_generator
from adaface.training.step import Stepper, total

if TYPE_CHECKING:
    from adaface.recipes.registry import Experiment

MB = 1e6
SHOWN = 4  # names of samples
STEPS = 2  # that are timed, after a first one


@dataclass(frozen=True)
class Memory:
    """Megabytes of one process, by what they are for; on a GPU, of the GPU."""

    process: float  # Python and all libraries, measured; 0 on a GPU, and where the system does not tell
    frozen: float  # models that are not trained
    weights: float
    gradients: float
    optimizer: float
    averages: float
    activations: float  # what backward needs of the forward pass, or what saving needs, if it is more

    @property
    def total(self) -> float:
        """The most that the process has at once."""
        return sum(asdict(self).values())


@dataclass(frozen=True)
class Estimate:
    """What `adaface train --dry-run` says."""

    config: dict[str, Any]
    data: dict[str, Any]
    processes: int
    per_process: int  # samples of a step
    parameters: dict[str, int]  # by part
    trained: int
    memory: Memory
    seconds_a_step: float
    steps: int
    seconds: float  # of the whole run
    plan: dict[str, Any]  # the first step's
    names: list[str]  # its samples'

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self) | {"memory": asdict(self.memory) | {"total": self.memory.total}}

    def lines(self) -> list[str]:
        """The same for people."""
        memory = ", ".join(f"{name} {value:.0f}" for name, value in asdict(self.memory).items())
        parts = ", ".join(f"{name} {count / 1e6:.1f}M" for name, count in self.parameters.items())
        keys = ("recipe", "data", "stack", "init_from", "seed", "device")
        named = ", ".join(f"{key}={self.config[key]}" for key in keys)
        hours = self.seconds / 3600
        return [
            f"plan: {named}",
            f"data: {self.data['samples']} pictures of {self.data['people']} people, latents: "
            f"{self.data['latents']}, recogniser {self.data['recognizer']}, index {self.data['data'][:12]}",
            f"step: {self.config['batch']} samples over {self.processes} processes, {self.per_process} each",
            f"first step: {', '.join(self.names[:SHOWN])}{', ...' * (len(self.names) > SHOWN)}; "
            f"coins {self.plan['coins']}",
            f"parameters: {self.trained / 1e6:.1f}M trained; {parts}",
            f"memory a process: about {self.memory.total:.0f} MB ({memory})"
            + ("" if self.memory.process else "; the process's own comes on top"),
            f"time: {self.seconds_a_step:.3f} s a step, {self.steps} steps: "
            + (f"{hours:.1f} hours" if hours >= 1 else f"{self.seconds / 60:.1f} minutes"),
        ]


def estimate(config: TrainConfig, ranks: Ranks) -> Estimate:
    """Open a recipe, do some steps of it, and let go of it. Raises what opening it raises."""
    config = resolved(config)
    ranks.check(config.batch, config.loop.accumulate)
    recipe = open_recipe(config, ranks.device)
    try:
        stepper = Stepper(recipe, config.loop, ranks)
        plan = recipe.draw(1, step_generator(config.seed, 1), 0.0)
        memory = _memory(recipe, stepper, plan)
        seconds = _time(recipe, config, stepper)
        count = len(stepper.parts[0].take(plan.rows))
        models = {**recipe.modules, **recipe.frozen}
        steps = int(min(config.loop.steps, max(1, config.loop.seconds / seconds)))
        return Estimate(
            config=to_plain(config),
            data=recipe.about(),
            processes=ranks.world,
            per_process=count * config.loop.accumulate,
            parameters={name: _count(module.parameters()) for name, module in models.items()},
            trained=_count(stepper.weights.trained.values()),
            memory=memory,
            seconds_a_step=seconds,
            steps=steps,
            seconds=steps * seconds,
            plan=plan.to_json(),
            names=list(recipe.names(plan)),
        )
    finally:
        recipe.close()


def _memory(recipe: "Experiment", stepper: Stepper, plan: StepPlan) -> Memory:
    """The memory of one process at its peak.

    What is there whatever the batch is: measured after a step of one sample a part, in which libraries and
    optimiser take what they take at first use. The activations are counted at one and at two samples, and
    grow evenly from there.
    """
    device, trained = stepper.ranks.device, stepper.weights.trained.values()
    least = stepper.ranks.world * stepper.config.accumulate
    small = replace(plan, rows=plan.rows[:least], seeds=plan.seeds[:least])
    stepper.update(stepper.gradients(small), 0, 0.0)
    there = 0.0 if device.type == "cuda" else _resident() / MB
    counted = Memory(
        process=0.0,
        frozen=_bytes(t for m in recipe.frozen.values() for t in [*m.parameters(), *m.buffers()]) / MB,
        weights=_bytes(trained) / MB,
        gradients=_bytes(trained) / MB,
        optimizer=_bytes(_tensors(stepper.optimizers.state_dict())) / MB,
        averages=_bytes(stepper.weights.averages.values()) / MB,
        activations=0.0,
    )
    counts = sorted({max(1, min(count, len(plan.rows))) for count in (1, 2)})
    seen = [_activations(recipe, stepper, plan, count) / MB for count in counts]
    samples = len(stepper.parts[0].take(plan.rows))
    step = max(seen[-1], seen[0] + (seen[-1] - seen[0]) * (samples - 1))
    # a checkpoint keeps the weights aside while the averages are looked at; the optimiser's file is made in
    # main memory
    save = max(counted.averages, 0.0 if device.type == "cuda" else counted.optimizer)
    return replace(counted, process=max(0.0, there - counted.total), activations=max(step, save))


def _resident() -> int:
    """Bytes of main memory that this process has now; 0 where the system does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:  # no Linux
        pass
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # so far: the steps after it may need more
    return peak * (1 if sys.platform == "darwin" else 1024)


def _tensors(value: object) -> Iterator[Tensor]:
    """All tensors in nested dictionaries and lists."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict | list | tuple):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _tensors(item)


def _activations(recipe: "Experiment", stepper: Stepper, plan: StepPlan, samples: int) -> int:
    """Bytes that a forward pass over so many samples keeps for the backward pass."""
    part = Part(0, max(1, len(plan.rows) // samples))
    known = {p.untyped_storage().data_ptr() for m in recipe.modules.values() for p in m.parameters()}
    known |= {p.untyped_storage().data_ptr() for m in recipe.frozen.values() for p in m.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with stepper.autocast(), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = total(recipe.loss(plan, part))
    size = sum(kept.values())
    del loss
    return size


def _time(recipe: "Experiment", config: TrainConfig, stepper: Stepper) -> float:
    """Seconds of a step, its update included; the weights are other ones afterwards."""
    device, took = stepper.ranks.device, []
    for step in range(1, 2 + STEPS):
        plan = recipe.draw(step, step_generator(config.seed, step), 0.0)
        for part in stepper.parts:
            recipe.prepare(plan, part)
        _wait(device)
        started = time.perf_counter()
        stepper.update(stepper.gradients(plan), step - 1, 0.0)
        _wait(device)
        took.append(time.perf_counter() - started)
    return sum(took[1:]) / STEPS


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _count(parameters: Iterable[Tensor]) -> int:
    return sum(p.numel() for p in parameters)


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(t.numel() * t.element_size() for t in tensors)
