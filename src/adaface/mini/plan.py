"""What a build was asked to do, and what each training took: `build.json`, and figures for the card."""

import dataclasses
import json
import platform
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from adaface.errors import ConfigError, FormatError
from adaface.files import write_atomic
from adaface.mini.config import PRESETS, BuildConfig
from adaface.pipelines.stack import Stack
from adaface.training.settings import LoopConfig
from adaface.training.state import Progress

DURATIONS = ("seconds", "steps")  # of a loop: these alone may change while a build goes on
LOOPS = [name.name for name in dataclasses.fields(BuildConfig) if name.type in (LoopConfig, "LoopConfig")]


def agree(file: Path, config: BuildConfig, start: Path | None, vae_start: Path | None) -> None:
    """Compare the settings with those that the build began with, then write them to `file`.

    Raises ConfigError: another setting than the length of a loop differs. FormatError: not our file.
    """
    asked: dict[str, Any] = {"preset": preset_name(config)}
    asked |= {"start": named(start), "vae_start": named(vae_start)}
    asked |= dataclasses.asdict(config)
    text = json.dumps(asked, indent=2) + "\n"
    if file.is_file():
        try:
            begun = dict(json.loads(file.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            raise FormatError(f"{file}: not a build's settings ({error}). Choose a new --out") from error
        for name, before, now in _differences(begun, json.loads(text)):
            raise ConfigError(
                f"{file}: this build began with {name} = {before}, now it is {now}. Go on with the same "
                "options, or choose a new --out"
            )
    write_atomic(file, lambda path: path.write_text(text, encoding="utf-8"))


def _differences(
    before: dict[str, Any], now: dict[str, Any], within: str = ""
) -> Iterator[tuple[str, object, object]]:
    """Settings of both that differ, with their names ("base_step.batch")."""
    for name, value in now.items():
        place = f"{within}{name}"
        if place == "preset" or name not in before:
            continue  # the preset's name says nothing beyond its settings
        if isinstance(value, dict) and isinstance(before[name], dict):
            yield from _differences(before[name], value, f"{place}.")
        elif value != before[name] and not (within.rstrip(".") in LOOPS and name in DURATIONS):
            yield place, before[name], value


def preset_name(config: BuildConfig) -> str | None:
    """The preset that these settings are, None if they are nobody's."""
    return next((name for name, known in PRESETS.items() if known == config), None)


def named(start: Path | None) -> str | None:
    """A stack to go on from by its name, any other folder by its last part: no path of a machine."""
    if start is None:
        return None
    return Stack.load(start).name if (start / "stack.json").is_file() else start.resolve().name


def trained(runs: Sequence[Progress], config: BuildConfig, device: torch.device) -> dict[str, object]:
    """What the card says of a training, from its runs one after the other."""
    return {
        "device": device_name(device),
        "seconds": round(sum(run.seconds for run in runs), 1),
        "steps": sum(run.step for run in runs),
        "preset": preset_name(config),
    }


def device_name(device: torch.device) -> str:
    """What a card calls the device."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return f"{platform.machine()} {device.type}, {torch.get_num_threads()} threads"
