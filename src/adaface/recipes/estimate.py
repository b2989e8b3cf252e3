"""What a run will take: its plan, parameters, memory and time, found by a few steps that change nothing."""

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from adaface.recipes.config import TrainConfig, resolved
from adaface.recipes.kept import Kept
from adaface.recipes.registry import open_recipe
from adaface.training.config import to_plain
from adaface.training.distributed import Ranks
from adaface.training.plan import Part, StepPlan, step_generator
from adaface.training.step import Stepper, total

if TYPE_CHECKING:
    from adaface.recipes.registry import Experiment

MB = 1e6
SHOWN = 4  # names of samples
STEPS = 2  # of each kind that are timed, at most
ENOUGH_S = 1.0  # of a kind's timed steps: a longer step is timed once, what sways it is small beside it
DRAWN = 600  # plans over the whole run, that tell how often a kind of step comes: to 4 % at most
Say = Callable[[str], None]


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
class Kind:
    """Steps that take equal memory and time, such as those of three denoising steps."""

    name: str
    share: float  # of the run's steps, 0..1
    seconds: float  # a step, its update included
    activations: float  # megabytes


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
    seconds_a_step: float  # the mean over its kinds
    steps: int
    seconds: float  # of the whole run
    kinds: list[Kind]  # the most frequent one first
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
        kinds = [
            f"{kind.share:.0%} {kind.name}: {kind.seconds:.3f} s, activations {kind.activations:.0f} MB"
            for kind in self.kinds
        ]
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
            *([f"kinds of steps: {'; '.join(kinds)}"] if len(kinds) > 1 else []),
        ]


def estimate(config: TrainConfig, ranks: Ranks, say: Say = lambda text: None) -> Estimate:
    """Open a recipe, do some steps of it, and let go of it. Raises what opening it raises.

    say: is told what is done next, each time that it takes seconds.
    """
    config = resolved(config)
    ranks.check(config.batch, config.loop.accumulate)
    say("opening the models")
    recipe = open_recipe(config, ranks.device)
    try:
        stepper = Stepper(recipe, config.loop, ranks)
        plan = recipe.draw(1, step_generator(config.seed, 1), 0.0)
        plans = _kinds(recipe, config)
        memory, activations = _memory(recipe, stepper, {name: kind[0] for name, kind in plans.items()}, say)
        drawn, took = sum(map(len, plans.values())), _times(recipe, plans, stepper, say)
        kinds = [Kind(name, len(kind) / drawn, took[name], activations[name]) for name, kind in plans.items()]
        seconds = sum(kind.share * kind.seconds for kind in kinds)
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
            kinds=kinds,
            plan=plan.to_json(),
            names=list(recipe.names(plan)),
        )
    finally:
        recipe.close()


def _kinds(recipe: "Experiment", config: TrainConfig) -> dict[str, list[StepPlan]]:
    """Plans from all over the run by their kind, the most frequent kind first."""
    found: dict[str, list[StepPlan]] = {}
    steps = config.loop.steps
    for number in torch.randint(1, steps + 1, (DRAWN,), generator=step_generator(config.seed, 0)).tolist():
        plan = recipe.draw(number, step_generator(config.seed, number), number / steps)
        found.setdefault(recipe.kind(plan), []).append(plan)
    return dict(sorted(found.items(), key=lambda item: -len(item[1])))


def _memory(
    recipe: "Experiment", stepper: Stepper, plans: Mapping[str, StepPlan], say: Say
) -> tuple[Memory, dict[str, float]]:
    """The memory of one process at its peak, and the activations of each kind of step.

    What is there whatever the batch is: measured after a step of one sample a part, in which libraries and
    optimiser take what they take at first use. The activations are counted at one and at two samples, and
    grow evenly from there; those of the kind that takes most are the peak's.
    """
    device, trained = stepper.ranks.device, stepper.weights.trained.values()
    least = stepper.ranks.world * stepper.config.accumulate
    say("memory: a first step")
    plan = next(iter(plans.values()))
    small = replace(plan, rows=plan.rows[:least], seeds=plan.seeds[:least])
    stepper.update(stepper.gradients(small), 0, 0.0)
    there = 0.0 if device.type == "cuda" else _resident() / MB
    counted = Memory(
        process=0.0,
        frozen=_bytes(_once(recipe.frozen.values())) / MB,
        weights=_bytes(trained) / MB,
        gradients=_bytes(trained) / MB,
        optimizer=_bytes(_tensors(stepper.optimizers.state_dict())) / MB,
        averages=_bytes(stepper.weights.averages.values()) / MB,
        activations=0.0,
    )
    kinds = {}
    for name, plan in plans.items():
        say(f"memory: {name}")
        kinds[name] = _grown(recipe, stepper, plan)
    # a checkpoint keeps the weights aside while the averages are looked at; the optimiser's file is made in
    # main memory
    save = max(counted.averages, 0.0 if device.type == "cuda" else counted.optimizer)
    process = max(0.0, there - counted.total)
    return replace(counted, process=process, activations=max(*kinds.values(), save)), kinds


def _grown(recipe: "Experiment", stepper: Stepper, plan: StepPlan) -> float:
    """Megabytes of activations of a step of this plan's kind, in one part of one process, at their most."""
    plan = recipe.dearest(plan)
    counts = sorted({max(1, min(count, len(plan.rows))) for count in (1, 2)})
    seen = [_activations(recipe, stepper, plan, count) / MB for count in counts]
    samples = len(stepper.parts[0].take(plan.rows))
    return max(seen[-1], seen[0] + (seen[-1] - seen[0]) * (samples - 1))


def _once(modules: Iterable[nn.Module]) -> Iterable[Tensor]:
    """Parameters and buffers, those that several modules share once: a teacher may be the base's UNet."""
    return {id(t): t for m in modules for t in [*m.parameters(), *m.buffers()]}.values()


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
    """Most bytes that the loss of so many samples keeps at once for backward passes."""
    part = Part(0, max(1, len(plan.rows) // samples))
    models = [*recipe.modules.values(), *recipe.frozen.values()]
    known = {p.untyped_storage().data_ptr() for m in models for p in m.parameters()}
    with stepper.autocast(), Kept(known) as kept:
        loss = total(recipe.loss(plan, part))
    del loss
    return kept.most


def _times(
    recipe: "Experiment", plans: Mapping[str, Sequence[StepPlan]], stepper: Stepper, say: Say
) -> dict[str, float]:
    """Seconds of a step of each kind, its update included; the weights are other ones afterwards."""
    ranks = stepper.ranks
    say("time: a first step")
    _timed(recipe, next(iter(plans.values()))[0], stepper)  # it pays for what is set up once
    found = {}
    for name, kind in plans.items():
        say(f"time: {name}")
        took: list[float] = []
        while len(took) < STEPS and sum(took) < ENOUGH_S:
            seconds = _timed(recipe, kind[len(took) % len(kind)], stepper)
            took.append(max(ranks.gather(seconds)))  # the slowest's: all do as many, or some would wait
        found[name] = sum(took) / len(took)
    return found


def _timed(recipe: "Experiment", plan: StepPlan, stepper: Stepper) -> float:
    """Seconds of one step whose samples are asked for before."""
    for part in stepper.parts:
        recipe.prepare(plan, part)
    _wait(stepper.ranks.device)
    started = time.perf_counter()
    stepper.update(stepper.gradients(plan), 0, 0.0)
    _wait(stepper.ranks.device)
    return time.perf_counter() - started


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _count(parameters: Iterable[Tensor]) -> int:
    return sum(p.numel() for p in parameters)


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(t.numel() * t.element_size() for t in tensors)
