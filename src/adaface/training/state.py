"""What a run is made of between two steps: weights, their averages, and where it stands."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from adaface.errors import ConfigError, FormatError


@dataclass
class Progress:
    """Where a run stands. One object a run: it changes from step to step."""

    step: int = 0  # of the optimiser, done
    steps: int = 0  # in all
    seconds: float = 0.0  # of training, without saving and drawing
    share: float = 0.0  # of the run that is done (0..1)
    samples: int = 0  # seen in the run, by all processes
    finished: bool = False  # False also when a signal stopped the run before its end
    skipped: int = 0  # steps whose gradients were too large for float16
    learning_rate: float = 0.0
    terms: dict[str, float] = field(default_factory=dict)  # of the last step's loss, over all processes


@dataclass(frozen=True, kw_only=True)
class RunState:
    """Where a run stood, in a checkpoint. Seed and step give every generator, and its place in the data."""

    step: int
    seconds: float
    samples: int
    skipped: int
    seed: int
    parts: int  # that a batch was read in, by all processes
    learning_rate: float
    loss_scale: tuple[float, int] | None  # with float16: the scale, and good steps since it changed
    figure: float | None  # how good the run was, lower is better

    def to_json(self) -> dict[str, Any]:
        """For `from_json`."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "RunState":
        """What `to_json` wrote. Raises FormatError: a value is missing or of another kind."""
        try:
            figure, scale = value["figure"], value["loss_scale"]
            whole = {name: int(value[name]) for name in ("step", "samples", "skipped", "seed", "parts")}
            low = [name for name, number in whole.items() if number < (name == "parts")]
            if low:
                raise ValueError(f"{low[0]}={whole[low[0]]}")
            return cls(
                **whole,
                seconds=float(value["seconds"]),
                learning_rate=float(value["learning_rate"]),
                figure=None if figure is None else float(figure),
                loss_scale=None if scale is None else (float(scale[0]), int(scale[1])),
            )
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise FormatError(f"no state of a run ({error!r})") from error


@dataclass(frozen=True)
class Hooks:
    """What a run tells, and asks of, who started it; each is called in the first process only."""

    tell: Callable[[Progress], None] = lambda progress: None  # after each step
    log: Callable[[dict[str, Any]], None] = lambda row: None  # each row of metrics.jsonl
    figures: Callable[[], Mapping[str, float]] = dict  # more numbers for such a row
    # how good the averages are, lower is better, asked before each save; None: the mean loss since the last
    validate: Callable[[], float | None] = lambda: None
    # the run stands where it goes on from, and the folder is this process's: what is written only then
    begun: Callable[[Progress], None] = lambda progress: None
    # more files of a checkpoint, written into the folder that becomes it, with the averages in place
    export: Callable[[Path], None] = lambda folder: None


class Weights:
    """The trained weights of named modules, their averages, and the buffers that belong to them."""

    def __init__(self, modules: Mapping[str, nn.Module], *, averaged: bool) -> None:
        """Raises ConfigError: nothing to train, or weights that are not float32."""
        self.trained: dict[str, nn.Parameter] = {}
        self.buffers: dict[str, Tensor] = {}
        self.tables: set[str] = set()  # names of token tables
        seen: set[int] = set()  # two modules may share weights
        for module_name, module in modules.items():
            tables = {id(m.weight) for m in module.modules() if isinstance(m, nn.Embedding)}
            for name, weight in module.named_parameters(module_name):
                if weight.requires_grad and id(weight) not in seen:
                    self.trained[name] = weight
                    self.tables |= {name} if id(weight) in tables else set()
                seen.add(id(weight))
            kept = module.state_dict(prefix=f"{module_name}.")
            self.buffers |= {n: kept[n] for n, _ in module.named_buffers(module_name) if n in kept}
        if not self.trained:
            raise ConfigError("nothing to train: no weight of the recipe's modules needs a gradient")
        other = [name for name, weight in self.trained.items() if weight.dtype != torch.float32]
        if other:
            raise ConfigError(
                f"{other[0]} is {self.trained[other[0]].dtype}: small updates would be lost in it. Load what "
                "is trained as float32, and choose the arithmetic by `precision`"
            )
        self.averages = {n: w.detach().clone() for n, w in self.trained.items()} if averaged else {}

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(iter(self.trained.values())).device

    @torch.no_grad()
    def average(self, decay: float) -> None:
        """Move the averages towards the weights, by 1 - decay of the way."""
        if self.averages:
            torch._foreach_lerp_(list(self.averages.values()), list(self.trained.values()), 1 - decay)

    @torch.no_grad()
    def use_averages(self) -> None:
        """Put the averages, where there are some, in the weights' place for good."""
        for name, average in self.averages.items():
            self.trained[name].copy_(average)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """The averages in the weights' place, for a while."""
        kept = {name: self.trained[name].detach().clone() for name in self.averages}
        self.use_averages()
        try:
            yield
        finally:
            with torch.no_grad():
                for name, weight in kept.items():
                    self.trained[name].copy_(weight)

    def tensors(self) -> dict[str, Tensor]:
        """Weights and buffers as they are to be saved."""
        both = {name: weight.detach() for name, weight in self.trained.items()} | self.buffers
        return {name: tensor.contiguous() for name, tensor in both.items()}

    @torch.no_grad()
    def load(self, tensors: Mapping[str, Tensor], averages: Mapping[str, Tensor]) -> None:
        """Take over what was saved. Raises FormatError: of other names or sizes."""
        check_names(self.tensors(), tensors)
        check_names(self.averages, averages)
        for name, tensor in ({**self.trained, **self.buffers}).items():
            tensor.copy_(tensors[name])
        for name, average in self.averages.items():
            average.copy_(averages[name])


def check_names(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    """Do the tensors fit? Raises FormatError: a name is missing or too many, or a shape differs."""
    names = sorted(wanted.keys() | found.keys())
    odd = [n for n in names if _shape(wanted.get(n)) != _shape(found.get(n))]
    if odd:
        raise FormatError(
            f"a run of other sizes: {odd[0]} is {_words(found.get(odd[0]))} there and "
            f"{_words(wanted.get(odd[0]))} here, and {len(odd) - 1} more. Choose a new folder"
        )


def _shape(tensor: Tensor | None) -> torch.Size | None:
    return None if tensor is None else tensor.shape


def _words(tensor: Tensor | None) -> str:
    return "not there" if tensor is None else "x".join(map(str, tensor.shape)) or "one number"
