"""What an evaluation is about, as plain records: subjects, pictures, scores. No model is opened here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

from PIL import Image

from adaface.face.types import Floats

BroadClass = Literal["person", "animal", "object"]
BROAD: tuple[BroadClass, ...] = get_args(BroadClass)
Scores = Mapping[str, float | None]  # by the name of a column; None: it cannot be said of this picture


def broad_class(text: object) -> BroadClass:
    """The kind of subject that a text names. Raises ValueError: none."""
    found = next((one for one in BROAD if one == text), None)
    if found is None:
        raise ValueError(f"kind {text!r}. Kinds are {', '.join(BROAD)}")
    return found


@dataclass(frozen=True, eq=False)
class Subject:
    """Somebody (or something) to be drawn, and the photos that say what they look like.

    given: photos that the identity is made of. scored: other photos of the same subject, which the pictures
    are compared with; empty: there are none, and the given ones score (then the figure is the given photos').
    id_embedding: (D_id,) unit vector of an identity without photos, made by the recogniser `recognizer`.
    synthetic: drawn by the ID teacher, nobody's photos.
    """

    name: str
    given: tuple[Path, ...] = ()
    scored: tuple[Path, ...] = ()
    id_embedding: Floats | None = None
    recognizer: str = "unknown"
    broad_class: BroadClass = "person"
    class_word: str = "person"
    synthetic: bool = False

    @property
    def apart(self) -> bool:
        """True if the photos that score are others than those that the identity is made of."""
        return bool(self.scored)

    @property
    def references(self) -> tuple[Path, ...]:
        """The photos that score: the other ones, or the given ones where there are no others."""
        return self.scored or self.given


@dataclass(frozen=True)
class Picture:
    """One picture of a run: what it should show, how it was made, where it lies, what it scored.

    subjects: names of those in the prompt, in its order. prompt: as used, with <names>. template: the same
    with <person> (and <other> for a second one), which all subjects share. kind: the set that it is from, as
    "scene". variant: the settings that differ from the run's own, such as "id_scale=0.5"; empty for none.
    file: relative to the run's folder, POSIX. settings: everything else that is needed to draw it again.
    error: why the file could not be read; it then has no scores.
    """

    subjects: tuple[str, ...]
    prompt: str
    template: str
    seed: int
    file: str
    kind: str = ""
    variant: str = ""
    sha256: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    scores: Scores = field(default_factory=dict)
    error: str = ""

    @property
    def key(self) -> tuple[str, tuple[str, ...], str, int]:
        """What tells it from all others of a run: variant, subjects, template, seed."""
        return (self.variant, self.subjects, self.template, self.seed)

    @property
    def group(self) -> tuple[str, tuple[str, ...], str]:
        """What it shares with its other seeds."""
        return self.key[:3]


@dataclass(frozen=True)
class Column:
    """One score: its name in files, its title for people, its definition in a sentence or two.

    better: which way is good; "neither" for what is only told. low, high: the least and most that it can be.
    anchored: photos can get it as well, of the same subject (the ceiling) and of others (the floor).
    chance: what a method that knows nothing gets on average, where that is known.
    """

    name: str
    title: str
    definition: str
    better: Literal["higher", "lower", "neither"] = "higher"
    low: float = 0.0
    high: float = 1.0
    anchored: bool = False
    chance: float | None = None


@dataclass(frozen=True, eq=False)
class Case:
    """A picture that is to be scored, opened."""

    picture: Picture
    image: Image.Image


@dataclass(frozen=True, eq=False)
class World:
    """What a score may be relative to: all subjects of the run and all its templates, in their order."""

    subjects: tuple[Subject, ...]
    templates: tuple[str, ...]

    def subject(self, name: str) -> Subject:
        """The subject of that name."""
        return next(one for one in self.subjects if one.name == name)


class Scorer(Protocol):
    """Scores pictures. Models are opened once, when it is made; what subjects need is computed in `begin`."""

    @property
    def columns(self) -> Sequence[Column]:
        """What it tells of every picture, in the order of tables."""
        ...

    @property
    def provenance(self) -> Mapping[str, str]:
        """Which models it scores with: name -> digest or version, for the report."""
        ...

    def begin(self, world: World) -> Sequence[str]:
        """Look at the photos of all subjects. Returns notes for people, such as a photo without a face."""
        ...

    def __call__(self, cases: Sequence[Case]) -> list[Scores]:
        """Scores of each picture, by the names of all columns. Cases come in whole groups of seeds."""
        ...
