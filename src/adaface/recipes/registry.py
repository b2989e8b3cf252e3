"""Which recipes and presets there are, and from the settings to a recipe. No torch in here."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.resources import files as resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from adaface.errors import ConfigError, MissingFileError
from adaface.recipes.config import TrainConfig
from adaface.training.config import Layer, build, nearest, read_yaml

if TYPE_CHECKING:
    import torch
    from torch import nn

    from adaface.training.plan import StepPlan
    from adaface.training.recipe import Recipe

    class Experiment(Recipe, Protocol):
        """A recipe as `adaface train` runs it: data and models in place."""

        @property
        def frozen(self) -> Mapping[str, nn.Module]:
            """The models that are not trained, by their role."""

        @property
        def waited(self) -> float:
            """Seconds that this process has waited for samples so far."""

        def kind(self, plan: StepPlan) -> str:
            """What kind of step a plan is of, in words: steps of one kind take alike in memory and time."""

        def dearest(self, plan: StepPlan) -> StepPlan:
            """The plan with which a step of its kind takes the most memory, whatever its samples are."""

        def validate(self) -> float | None:
            """How good the present weights are, lower is better; None: nobody knows."""

        def export(self, folder: Path) -> None:
            """Write what a user opens of the present weights below `folder`."""

        def about(self) -> dict[str, Any]:
            """What a run keeps of the data it saw."""

        def close(self) -> None:
            """Let go of threads and files."""


# name -> module with a class `Config` (a TrainConfig) and `open_recipe(config, device, start)`
RECIPES = {
    "reconstruct": "adaface.recipes.reconstruct",
    "distill_identity": "adaface.recipes.distill_identity",
    "distill_composition": "adaface.recipes.distill_composition",
}
CONFIGS = "configs"  # folder of the presets in the package


def presets() -> list[str]:
    """Names of the configs that come with the package; those in a folder of theirs as "sd15/identity"."""
    folder = _folder()
    return sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml"))


def find_config(name: str | Path) -> Path:
    """The file of a preset's name, or the YAML file of that path; a recipe's name is its preset's.

    Raises MissingFileError: neither; names the presets.
    """
    for known in (str(name), str(name).replace("_", "-")):
        if known in presets():
            return _folder() / f"{known}.yaml"
    if Path(name).is_file():
        return Path(name)
    hint = nearest(str(name), presets())
    raise MissingFileError(f"{name}: no such config. Give a YAML file or a preset; {hint}")


def load_config(layers: Sequence[Layer]) -> TrainConfig:
    """The config of the recipe that the layers name. Raises ConfigError: an unknown recipe, or bad
    settings.
    """
    named = [str(layer.values["recipe"]) for layer in layers if "recipe" in layer.values]
    recipe = named[-1] if named else ""
    if recipe not in RECIPES:
        raise ConfigError(f'recipe="{recipe}": no such recipe; {nearest(recipe, sorted(RECIPES))}')
    kind: type[TrainConfig] = import_module(RECIPES[recipe]).Config
    return build(kind, layers)


def read_config(name: str | Path, *over: Layer) -> TrainConfig:
    """A preset or a YAML file with layers over it. Raises as `find_config`, `read_yaml` and `load_config`."""
    return load_config([read_yaml(find_config(name)), *over])


def open_recipe(config: TrainConfig, device: "torch.device", start: Path | None = None) -> "Experiment":
    """The recipe of a config with its data and models; start: see the recipe's own `open_recipe`."""
    opened: Experiment = import_module(RECIPES[config.recipe]).open_recipe(config, device, start)
    return opened


def _folder() -> Path:
    return Path(str(resources("adaface.recipes"))) / CONFIGS
