"""Plans of ablations: a preset, settings that all runs share, and what each run does otherwise."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files as resources
from pathlib import Path
from typing import Any

from adaface.errors import ConfigError, MissingFileError
from adaface.mini.evidence.rows import CLASS_PROMPT, TEACHER, file_name
from adaface.recipes.config import TrainConfig
from adaface.recipes.registry import read_config
from adaface.training.config import Layer, nearest, read_yaml

PLANS = "plans"
START = "start"  # the row of the encoder that all runs begin with
_FIELDS = ("config", "settings", "runs")


@dataclass(frozen=True)
class Budget:
    """What every run of a plan may spend."""

    steps: int
    batch: int

    def __str__(self) -> str:
        return f"{self.steps} steps of {self.batch} samples"


@dataclass(frozen=True, eq=False)
class Ablations:
    """Runs that differ in what the plan says, and in nothing else. configs: by name, the whole one first."""

    origin: str
    configs: Mapping[str, TrainConfig]
    changes: Mapping[str, Mapping[str, Any]]

    @property
    def budget(self) -> Budget:
        """The same for all, which `read_plan` has checked."""
        config = next(iter(self.configs.values()))
        return Budget(config.loop.steps, config.batch)


def plans() -> list[str]:
    """Names of the plans that come with the package."""
    return sorted(path.stem for path in _folder().glob("*.yaml"))


def read_plan(name: str | Path, *over: Layer) -> Ablations:
    """A plan of the package, or a YAML file with the keys config, settings and runs.

    over: settings of all runs, stronger than the plan's. Raises MissingFileError: no such plan. ConfigError:
    it has other keys or no runs, a run's settings or name are no good, or two runs would not have the same
    seed, start or budget.
    """
    path = _find(name)
    plan = dict(read_yaml(path).values)
    runs = plan.get("runs")
    unknown = sorted(set(plan) - set(_FIELDS))
    if unknown or not isinstance(runs, Mapping) or not runs or not isinstance(plan.get("config"), str):
        raise ConfigError(
            f"{path}: {f'unknown keys {unknown}' if unknown else 'config or runs are missing'}. A plan has "
            "config (a preset), settings (of all runs) and runs (name: what it does otherwise)"
        )
    shared = Layer(path.name, _settings(path, "settings", plan.get("settings")))
    changes = {str(run): _settings(path, str(run), own) for run, own in runs.items()}
    configs = {
        run: read_config(plan["config"], shared, Layer(f"{path.name}, {run}", own), *over)
        for run, own in changes.items()
    }
    _check_names(path, list(configs))
    _check_fair(path, configs)
    return Ablations(path.stem, configs, changes)


def _settings(path: Path, where: str, values: object) -> Mapping[str, Any]:
    if values is None:
        return {}
    if not isinstance(values, Mapping):
        raise ConfigError(f'{path}: {where}: give settings, one a line, or {{}}, not "{values}"')
    return values


def _check_names(path: Path, names: Sequence[str]) -> None:
    folders = [file_name(name) for name in names]
    twice = [name for name, folder in zip(names, folders, strict=True) if folders.count(folder) > 1]
    if twice:
        raise ConfigError(f"{path}: runs {', '.join(twice)} would have one folder. Give other names")
    others = {file_name(name): name for name in (CLASS_PROMPT, TEACHER, START)}
    for name, folder in zip(names, folders, strict=True):
        if folder in others:
            raise ConfigError(f'{path}: run "{name}": "{others[folder]}" is another row. Give another name')


def _check_fair(path: Path, configs: Mapping[str, TrainConfig]) -> None:
    """Raises ConfigError: the runs would differ in what they may spend, or where they begin."""
    first, *others = configs.items()
    for name, config in others:
        for key in ("init_from", "seed", "batch", "data", "stack", "recipe"):
            if getattr(config, key) != getattr(first[1], key):
                raise ConfigError(f"{path}: {name}: another {key} than {first[0]}. Ablations share it")
        if (config.loop.steps, config.loop.seconds) != (first[1].loop.steps, first[1].loop.seconds):
            raise ConfigError(f"{path}: {name}: another budget than {first[0]}. Give all the same loop.steps")
    if first[1].loop.seconds < float("inf"):
        raise ConfigError(
            f"{path}: loop.seconds: a budget in seconds gives each run other steps. Give loop.steps"
        )


def _find(name: str | Path) -> Path:
    if str(name) in plans():
        return _folder() / f"{name}.yaml"
    if Path(name).is_file():
        return Path(name)
    raise MissingFileError(f"{name}: no such plan. Give a YAML file or a plan; {nearest(str(name), plans())}")


def _folder() -> Path:
    return Path(str(resources("adaface.mini.evidence"))) / PLANS
