"""What an evaluation is asked for, as plain values that can be compared with those of a run begun before."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adaface.errors import ConfigError
from adaface.evaluation.records import BROAD, BroadClass
from adaface.evaluation.run.about import About
from adaface.evaluation.run.plan import Sweep, parse_sweeps
from adaface.evaluation.run.prompts import PromptLine
from adaface.evaluation.run.protocols import Protocol, protocol_prompts
from adaface.evaluation.run.subjects import Splitting
from adaface.evaluation.run.synthetic import MOST
from adaface.pipelines.settings import Settings, check_seeds
from adaface.pipelines.stack import Stack

Tell = Callable[[str, int, int], None]  # what is being done, how many are done, of how many


def tell_nobody(stage: str, done: int, total: int) -> None:
    """For callers who do not want to know."""


@dataclass(frozen=True)
class Extra:
    """A further entry of run.json, for the report.

    of: what decides it, as plain JSON. make: makes it, once in a run and again where `of` has changed.
    """

    of: Mapping[str, Any]
    make: Callable[[], Any]


@dataclass(frozen=True, kw_only=True)
class Request:
    """One evaluation.

    folder: of the run. stack: all models. subjects: folders of photos and identity files; none: `people`
    synthetic ones. about: class words and kinds of subjects by name. prompts: in place of the protocol's.
    num_images: seeds of each prompt, from `seed` on; None: the protocol's. settings: over those of the
    protocol and of the stack. sweeps: as `plan.parse_sweeps` takes them. images: a folder of pictures that
    somebody else made. clip, dino, second: as `scores.choose.scorers` takes them. models: keyword arguments
    of `Personalizer.from_pretrained`. more: further entries of run.json by their names.
    """

    folder: Path
    stack: Stack
    protocol: Protocol
    subjects: Sequence[str | Path] = ()
    people: int = MOST
    splitting: Splitting = field(default_factory=Splitting)
    about: Mapping[str, About] = field(default_factory=dict)
    prompts: Sequence[PromptLine] = ()
    num_images: int | None = None
    seed: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)
    sweeps: Sequence[str] = ()
    images: Path | None = None
    clip: str | None = None
    dino: str | None = None
    second: str = "auto"
    models: Mapping[str, Any] = field(default_factory=dict)
    more: Mapping[str, Extra] = field(default_factory=dict)

    @property
    def seeds(self) -> range:
        """Of each prompt's pictures. Raises ConfigError: out of range."""
        count = self.protocol.num_images if self.num_images is None else self.num_images
        return check_seeds(self.seed, count)

    def lines(self, broad_class: BroadClass = "person") -> tuple[PromptLine, ...]:
        """The prompts for subjects of a kind. Raises ConfigError: the stack has none."""
        return tuple(self.prompts) or protocol_prompts(self.protocol, self.stack, broad_class)

    def variants(self) -> tuple[dict[str, Settings], tuple[Sweep, ...]]:
        """Settings by the name of their variant, and the sweeps.

        Raises ConfigError: see `parse_sweeps`; or there is nothing to draw, and yet something says how.
        """
        drawing = [*(["sweep"] if self.sweeps else []), *self.settings]
        drawing += ["num_images"] if self.num_images is not None else []
        if drawing and self.images is not None:
            raise ConfigError(
                f"{', '.join(drawing)}: of pictures that are drawn, and --images takes those that are there. "
                "Leave one of them out"
            )
        usual = self.stack.recommended().override(self.protocol.settings)
        return parse_sweeps(self.sweeps, usual.override(self.settings))

    def to_json(self) -> dict[str, Any]:
        """All that decides the pictures, the models apart."""
        lines = {kind: self.lines(kind) for kind in self._kinds()}
        settings = self.variants()[0][""].to_json()
        return {
            "subjects": [str(Path(one).expanduser().resolve()) for one in self.subjects],
            "people": None if self.subjects else self.people,
            "about": {name: one.to_json() for name, one in sorted(self.about.items())},
            "given": self.splitting.given,
            "keep_all": self.splitting.keep_all,
            "protocol": None if self.prompts else self.protocol.name,
            "prompts": {kind: [[line.text, line.kind] for line in found] for kind, found in lines.items()},
            "seeds": list(self.seeds),
            "settings": {name: value for name, value in settings.items() if name != "batch_size"},
            "sweep": [part for text in self.sweeps for part in text.split()],
            "images": None if self.images is None else str(self.images.expanduser().resolve()),
        }

    def _kinds(self) -> list[BroadClass]:
        used = {one.broad_class for one in self.about.values()} | {"person"}
        return [kind for kind in BROAD if kind in used]
