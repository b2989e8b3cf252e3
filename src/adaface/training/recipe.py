"""What the loop trains: a recipe draws plans and turns them into losses. Terms of a loss are scalars."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from PIL.Image import Image
from torch import Generator, Tensor, nn

from adaface.training.plan import Part, StepPlan, mixed, sample_generator, seeds


class Recipe(Protocol):
    """One experiment: named modules, plans, and the loss of a plan.

    An attribute `unused = False` says that each step gives each trained weight a gradient in every process;
    without it, several processes look after each pass which weights have none.
    """

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        """What is trained, by the name it is saved under; an attribute that holds a dict will do.

        Weights that need gradients are trained, in float32, and saved, and so are persistent buffers.
        """

    def draw(self, step: int, generator: Generator, share: float) -> StepPlan:
        """The plan of a step (from 1), from nothing but these; share: of the run that is done (0..1)."""

    def prepare(self, plan: StepPlan, part: Part) -> None:
        """Told some steps before `loss` may be asked for the same: begin to read, and return at once."""

    def loss(self, plan: StepPlan, part: Part) -> dict[str, Tensor]:
        """Named scalar terms, weighted, each a mean over the samples of this part; their sum is minimised."""

    def sample(self) -> Image | None:
        """A picture of what the averaged modules do now, or None."""

    def names(self, plan: StepPlan) -> Sequence[str]:
        """What a person calls the plan's samples, in their order."""


class Stepping(Protocol):
    """A recipe in one method, which chooses its own samples."""

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        """As `Recipe.modules`."""

    def step(self, generator: Generator) -> dict[str, Tensor]:
        """Terms as of `Recipe.loss`; everything random comes from the generator."""

    def sample(self) -> Image | None:
        """As `Recipe.sample`."""


@dataclass(frozen=True)
class Seeded:
    """A recipe in one method as one of plans: a plan is one seed, from which each part makes its own."""

    inner: Stepping

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        """The inner recipe's."""
        return self.inner.modules

    def draw(self, step: int, generator: Generator, share: float) -> StepPlan:
        """One seed."""
        return StepPlan(step=step, seeds=seeds(generator, 1))

    def prepare(self, plan: StepPlan, part: Part) -> None:
        """Nothing is known of a step before it is done."""

    def loss(self, plan: StepPlan, part: Part) -> dict[str, Tensor]:
        """One step of the inner recipe."""
        return self.inner.step(sample_generator(mixed(plan.seeds[0], part.index)))

    def sample(self) -> Image | None:
        """The inner recipe's."""
        return self.inner.sample()

    def names(self, plan: StepPlan) -> Sequence[str]:
        """None: the seed says all."""
        return ()
