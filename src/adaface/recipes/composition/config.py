"""The settings of stage 2: how often it composes, with which words, from where, and what counts."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from adaface.errors import ConfigError
from adaface.recipes import distill_identity, reconstruct
from adaface.recipes.composition.grammar import known
from adaface.recipes.config import STACK, absolute_place

MOST_STEPS = 3  # of denoising in one training step (AdaFace, stage 2)


@dataclass(frozen=True, kw_only=True)
class Weights:
    """What each term of a compositional step counts; 0 leaves it out, and what only it needs.

    words: prompt delta. features: feature delta. face, background, matches, leak: elastic matching.
    attention, norm: attention delta and norm. outside: the person's attention beside the face. target: what
    the person adds to the class, added to the class's composed picture. identity: likeness of the decoded
    face.
    """

    words: float = 0.003
    features: float = 0.5
    face: float = 0.5
    background: float = 1.0
    matches: float = 0.0
    leak: float = 0.0
    attention: float = 0.0
    norm: float = 0.0
    outside: float = 0.0
    target: float = 5.0
    identity: float = 0.3

    def __post_init__(self) -> None:
        """Raises ConfigError: a weight below 0, or none above it."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        if not all(0 <= value < math.inf for value in values.values()) or not any(values.values()):
            raise ConfigError(f"weights={values}: give numbers from 0, one of them above it")

    @property
    def of_pictures(self) -> tuple[str, ...]:
        """The names of those above 0 that need a picture: all but the prompt delta."""
        return tuple(f.name for f in fields(self) if f.name != "words" and getattr(self, f.name))

    @property
    def of_layers(self) -> dict[str, float]:
        """Those that captured features are needed for, if any is above 0."""
        names = ("features", "face", "background", "matches", "leak", "attention", "norm", "outside")
        return {name: getattr(self, name) for name in names if getattr(self, name)}


@dataclass(frozen=True, kw_only=True)
class ComposeConfig:
    """One compositional step.

    grammar: "stack" (its own, or the one of its name), the name of one that comes with the package, or a YAML
    file. layers: of the UNet that features are compared at, with weights (see `Capture`). anchor: share of
    the encoder as it was at the start in the rows of the single prompt. denoising: most denoising steps, each
    number up to it as often. primed: share of the steps that begin with a drawing that was cut short; the
    others begin with the photo. prime_steps, prime_subject: of that drawing, and the person's share in what
    leads it.
    levels, photo_levels: noise levels of the first step, as shares of all, after a drawing and with a photo.
    candidates: noises to choose among, by the stack's CLIP; 0 trusts the teacher. level, margin: how much
    better than the plain words, and than the student's picture, a teacher has to fit (see
    `adaface.recipes.composition.judge`). guidance: of all drawings here; none is the stack's own.
    """

    grammar: str = "stack"
    layers: Mapping[str, float] = field(default_factory=lambda: {"mid_block": 1.0, "up_blocks": 1.0})
    weights: Weights = field(default_factory=Weights)
    anchor: float = 0.9
    denoising: int = 2
    primed: float = 0.5
    prime_steps: int = 4
    prime_subject: float = 0.2
    levels: tuple[float, float] = (0.45, 0.65)
    photo_levels: tuple[float, float] = (0.8, 1.0)
    candidates: int = 2
    level: float = 0.0
    margin: float = 0.002
    guidance: float | None = None

    def __post_init__(self) -> None:
        """Raises ConfigError: a value out of range."""
        shares = ("anchor", "primed", "prime_subject")
        bad = [f"{name}={getattr(self, name)}" for name in shares if not 0 <= getattr(self, name) <= 1]
        if bad:
            raise ConfigError(f"{', '.join(bad)}: give numbers from 0 to 1")
        if not 1 <= self.denoising <= MOST_STEPS or self.prime_steps < 1 or self.candidates < 0:
            raise ConfigError(
                f"denoising={self.denoising}, prime_steps={self.prime_steps}, candidates={self.candidates}: "
                f"give 1 to {MOST_STEPS}, one or more, and 0 or more"
            )
        for name in ("levels", "photo_levels"):
            low, high = getattr(self, name)
            if not 0 < low <= high <= 1:
                raise ConfigError(f"{name}={[low, high]}: give the least and the most, above 0 and up to 1")


@dataclass(frozen=True, kw_only=True)
class Config(distill_identity.Config, reconstruct.Config):
    """Stage 2: composition, with reconstruction and stage 1 beside it.

    compose_every: each so many-th step is compositional. distill_share: of the other steps, those of stage 1;
    the rest reconstructs photos. compose: the compositional step's own settings. background_weight is 0, so
    that no photo's background gets into the person's rows.
    """

    recipe: str = "distill_composition"
    compose_every: int = 3
    distill_share: float = 0.2
    max_rollout: int = MOST_STEPS
    background_weight: float = 0.0
    compose: ComposeConfig = field(default_factory=ComposeConfig)

    def __post_init__(self) -> None:
        """Check each value."""
        super().__post_init__()
        if self.compose_every < 1 or not 0 <= self.distill_share <= 1:
            raise ConfigError(
                f"compose_every={self.compose_every}, distill_share={self.distill_share}: give 1 or more, "
                "and 0 to 1"
            )

    def places(self) -> dict[str, Any]:
        """As of `TrainConfig`."""
        name = self.compose.grammar
        place = name if name in (STACK, *known()) else absolute_place(name)
        return {**super().places(), "compose": replace(self.compose, grammar=place)}
