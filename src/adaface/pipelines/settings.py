"""How pictures are drawn, one checked value: built-in defaults < settings of a stack < explicit arguments."""

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from adaface.errors import ConfigError
from adaface.spec import GUIDANCE_SCALE, LAYER_WEIGHTS, STEPS

NEGATIVE_PROMPT = (
    "blurry, low quality, jpeg artifacts, deformed face, crossed eyes, bad teeth, extra fingers, "
    "duplicate person, cropped head, text, watermark"
)
MAX_STEPS = 1000
MAX_SEED = 2**63 - 1


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All that decides a picture beside prompt, person and seed.

    steps: DDIM steps. guidance_scale: at the first and at the last step, linear between; each >= 1. id_scale:
    1 is the encoder's own output, more leans beyond it, 0 is no person at all. layer_weights: for the last
    layers of the text encoder, deepest last. negative_prompt: None is the empty prompt. height, width: in
    pixels, None is the base model's own size. batch_size: pictures drawn at once; it changes speed and
    memory, not the pictures. strength: above 0 up to 1, how far from a start picture; None is the usual one.
    control_scale: 0 to 2, how strictly a control image is followed; None is 1.
    """

    steps: int = STEPS
    guidance_scale: tuple[float, float] = GUIDANCE_SCALE
    id_scale: float = 1.0
    layer_weights: tuple[float, ...] = LAYER_WEIGHTS
    negative_prompt: str | None = NEGATIVE_PROMPT
    height: int | None = None
    width: int | None = None
    batch_size: int = 4
    strength: float | None = None
    control_scale: float | None = None

    def __post_init__(self) -> None:
        """Raises ConfigError: a value out of range."""
        _whole("steps", self.steps, 1, MAX_STEPS)
        _whole("batch_size", self.batch_size, 1, 4096)
        for name in ("height", "width"):
            if getattr(self, name) is not None:
                _whole(name, getattr(self, name), 8, 8192)
                if getattr(self, name) % 8:
                    raise ConfigError(f"{name}={getattr(self, name)}: give a multiple of 8")
        _check_guidance(self.guidance_scale)
        if not _real(self.id_scale) or not 0 <= self.id_scale <= 20:
            raise ConfigError(
                f"id_scale={self.id_scale}: give a number from 0 (no person) to 20; 1 is the usual"
            )
        _check_weights(self.layer_weights)
        if self.strength is not None and not (_real(self.strength) and 0 < self.strength <= 1):
            raise ConfigError(
                f"strength={self.strength}: give a number above 0 (almost the start picture) up to 1 (hardly "
                "anything of it)"
            )
        if self.control_scale is not None and not (
            _real(self.control_scale) and 0 <= self.control_scale <= 2
        ):
            raise ConfigError(f"control_scale={self.control_scale}: give a number from 0 (not at all) to 2")
        if self.negative_prompt is not None and not isinstance(self.negative_prompt, str):
            raise ConfigError(
                f"negative_prompt={self.negative_prompt!r}: give a text, or None for an empty one"
            )

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> "Settings":
        """Settings from JSON-like values; what is not named keeps its default.

        Raises ConfigError: an unknown name (the nearest known one is told), or a value out of range.
        """
        return cls().override(values)

    def override(self, values: Mapping[str, Any]) -> "Settings":
        """These settings with `values` put over them. Raises ConfigError as `from_mapping`."""
        known = {f.name: getattr(self, f.name) for f in fields(self)}
        for key, value in values.items():
            if key not in known:
                near = difflib.get_close_matches(key, known, n=1)
                hint = f'did you mean "{near[0]}"?' if near else f"known: {', '.join(known)}"
                raise ConfigError(f'unknown setting "{key}"; {hint}')
            known[key] = tuple(value) if isinstance(value, list) else value
        return Settings(**known)

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}


def check_seeds(seed: int, num_images: int) -> range:
    """The seeds of one prompt's pictures: seed, seed + 1, ... Raises ConfigError: out of range."""
    _whole("num_images", num_images, 1, 100_000)
    _whole("seed", seed, 0, MAX_SEED - num_images)
    return range(seed, seed + num_images)


def _check_guidance(scale: object) -> None:
    pair = isinstance(scale, Sequence) and not isinstance(scale, str) and len(scale) == 2
    if not pair or not all(_real(value) and 1 <= value <= 100 for value in scale):  # type: ignore[attr-defined]
        raise ConfigError(
            f"guidance_scale={scale}: give two numbers from 1 to 100, for the first and the last step, "
            "like 4 1"
        )


def _check_weights(weights: object) -> None:
    some = isinstance(weights, Sequence) and not isinstance(weights, str) and len(weights) > 0
    if not some or not all(_real(w) and w >= 0 for w in weights) or not sum(weights) > 0:  # type: ignore[attr-defined,call-overload]
        raise ConfigError(
            f"layer_weights={weights}: give numbers >= 0, not all 0, one for each of the last layers of "
            "the text "
            "encoder"
        )


def _real(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _whole(name: str, value: object, low: int, high: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ConfigError(f"{name}={value}: give a whole number from {low} to {high}")
