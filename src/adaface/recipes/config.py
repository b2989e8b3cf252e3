"""The settings that every recipe has: on which data and models, from where, how long. No torch in here."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from adaface.errors import ConfigError
from adaface.pipelines.manifest import MANIFEST
from adaface.pipelines.stack import BUILTIN
from adaface.training.settings import LoopConfig

C = TypeVar("C", bound="TrainConfig")
STACK, BEST = "stack", ":best"  # init_from: the stack's own encoder; a run's best checkpoint, not its newest
ENCODER = "encoder"  # folder of the trained encoder in a checkpoint and in a run


@dataclass(frozen=True, kw_only=True)
class SampleConfig:
    """The grid of a run: who, what, and how it is drawn.

    people: how many, evenly spaced over the data set's; 0 draws no grid. prompts: with <person> where the
    person stands. steps, guidance (at the first and the last step): none is the stack's own. How often:
    `loop.sample_steps`.
    """

    people: int = 4
    prompts: tuple[str, ...] = (
        "a photo of <person>",
        "a photo of <person> wearing sunglasses",
        "a pencil sketch of <person>",
    )
    steps: int | None = 20
    guidance: tuple[float, float] | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Raises ConfigError: a value out of range."""
        if self.people < 0 or not self.prompts:
            raise ConfigError(
                f"people={self.people}, prompts={list(self.prompts)}: give people >= 0 (0 draws no grid) and "
                "at least one prompt"
            )
        _seed(self.seed)


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """What is trained on what; a recipe's own config adds to it. Raises ConfigError: a value out of range.

    data: a folder of `adaface prepare`. stack: the models, "mini" or a folder with a stack.json. init_from:
    where the trained weights start: an encoder folder, a run (RUN its newest checkpoint, RUN:best its best),
    one of its checkpoints, "stack" for the stack's own encoder; none for the recipe's own start. batch:
    samples a step, of all processes and accumulated parts together: their number changes nothing of what is
    learned. workers: threads of each process that read samples. validation: samples of a fixed draw whose
    loss decides which checkpoint is the best; 0 takes the mean loss since the checkpoint before. tensorboard:
    curves in the run's folder.
    """

    recipe: str
    data: str | None = None
    stack: str = "mini"
    init_from: str | None = None
    seed: int = 0
    device: str = "auto"
    batch: int = 16
    workers: int = 2
    validation: int = 32
    tensorboard: bool = True
    loop: LoopConfig = field(default_factory=LoopConfig)
    samples: SampleConfig = field(default_factory=SampleConfig)

    def __post_init__(self) -> None:
        """Check each value."""
        low = [name for name in ("workers", "seed", "validation") if getattr(self, name) < 0]
        _seed(self.seed)
        if self.batch < 1 or low:
            wrong = ", ".join(f"{name}={getattr(self, name)}" for name in ("batch", *low))
            raise ConfigError(f"{wrong}: give a batch of 1 or more, the others at least 0")

    def places(self) -> dict[str, Any]:
        """Further settings of a recipe that name files or folders, with these made absolute."""
        return {}


def resolved(config: C) -> C:
    """A config whose folders are absolute, so that its run goes on from anywhere.

    A stack that goes by its name, in the package or in the folder of models, keeps it.
    """
    data, stack, begin = config.data, config.stack, config.init_from
    place = Path(stack).expanduser()
    if stack not in BUILTIN and (place / MANIFEST).is_file():
        stack = str(place.resolve())
    return replace(
        config,
        data=None if data is None else _absolute(data),
        stack=stack,
        init_from=begin if begin is None or begin == STACK else _absolute(begin),
        **config.places(),
    )


def absolute_place(place: str) -> str:
    """A place that a setting names, absolute if it is a file or folder here; a role or "hub:..." as it is."""
    return _absolute(place) if Path(place).expanduser().exists() else place


def _absolute(place: str) -> str:
    return str(Path(place).expanduser().resolve())


def _seed(seed: int) -> None:
    if seed >= 2**63:
        raise ConfigError(f"seed={seed}: give one below 2^63")
