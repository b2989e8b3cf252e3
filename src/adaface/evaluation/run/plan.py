"""What a run will draw: variants of the settings x casts of subjects x prompts x seeds, in a fixed order."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from adaface.errors import ConfigError
from adaface.evaluation.records import Picture, Subject
from adaface.evaluation.run.prompts import PromptLine
from adaface.files import slug
from adaface.pipelines.settings import Settings

PICTURES = "pictures"  # folder of the run
TOGETHER = "+"  # between the names of people who share a picture; no name has it
ALIASES = {"guidance": "guidance_scale"}
SWEPT = ("id_scale", "guidance_scale", "steps")  # numbers that decide a picture


@dataclass(frozen=True)
class Sweep:
    """One setting and the values that are tried, as they were written; `variants` has their names."""

    setting: str
    values: tuple[str, ...]
    variants: tuple[str, ...]


@dataclass(frozen=True)
class Unit:
    """A part of the work: the pictures of one cast in one variant, whole groups of seeds."""

    variant: str
    cast: tuple[str, ...]
    pictures: Sequence[Picture]


@dataclass(frozen=True)
class Plan:
    """All that is to be drawn.

    variants: name -> settings, the run's own under "". prompts: by subject's name, those of its kind. seeds:
    of each prompt's pictures.
    """

    variants: Mapping[str, Settings]
    prompts: Mapping[str, Sequence[PromptLine]]
    subjects: Sequence[Subject]
    seeds: range

    @property
    def lines(self) -> tuple[PromptLine, ...]:
        """All prompts, each once."""
        return tuple(dict.fromkeys(line for one in self.subjects for line in self.prompts[one.name]))

    def units(self) -> Iterator[Unit]:
        """The parts of the work: a cast's prompts with all their seeds."""
        numbers = {line: number for number, line in enumerate(self.lines, 1)}
        for variant in self.variants:
            for k, subject in enumerate(self.subjects):
                for cast, lines in self._casts(k, subject).items():
                    pictures = [
                        self._picture(variant, cast, line, numbers[line], seed)
                        for line in lines
                        for seed in self.seeds
                    ]
                    yield Unit(variant, cast, pictures)

    def _casts(self, k: int, subject: Subject) -> dict[tuple[str, ...], list[PromptLine]]:
        """Who is in the pictures of a subject: alone, and with the next one of the list."""
        following = self.subjects[(k + 1) % len(self.subjects)].name
        casts: dict[tuple[str, ...], list[PromptLine]] = {}
        for line in self.prompts[subject.name]:
            cast = (subject.name,) if line.people == 1 else (subject.name, following)
            casts.setdefault(cast, []).append(line)
        return casts

    def _picture(
        self, variant: str, cast: tuple[str, ...], line: PromptLine, number: int, seed: int
    ) -> Picture:
        place = [PICTURES, *([variant] if variant else []), TOGETHER.join(cast)]
        file = "/".join([*place, f"{number:02d}-{slug(line.text, empty='prompt')}", f"{seed}.png"])
        return Picture(cast, line.filled(cast), line.text, seed, file, kind=line.kind, variant=variant)


def check_pairs(lines: Sequence[PromptLine], subjects: Sequence[Subject]) -> None:
    """Raises ConfigError: prompts for two people, and only one subject."""
    if len(subjects) < 2 and any(line.people > 1 for line in lines):
        raise ConfigError(
            "prompts with <other> need two people, but there is one subject. Name another one, or choose "
            "other prompts"
        )


def units_of(pictures: Sequence[Picture]) -> list[Unit]:
    """Pictures that are there, as parts of the work."""
    casts: dict[tuple[str, tuple[str, ...]], list[Picture]] = {}
    for picture in pictures:
        casts.setdefault((picture.variant, picture.subjects), []).append(picture)
    return [Unit(variant, cast, found) for (variant, cast), found in casts.items()]


def parse_sweeps(texts: Sequence[str], base: Settings) -> tuple[dict[str, Settings], tuple[Sweep, ...]]:
    """`--sweep` -> variants by name (the run's own settings under "" first), and what was swept.

    texts: "id_scale=0.5,1,1.5 guidance=1,2", also one by one; a guidance may be a pair, "4:1". Each setting
    is swept by itself, the others stay as in `base`; a value that is the run's own is no variant of its own.
    Raises ConfigError: not of that form, an unknown setting, or a value out of range.
    """
    variants, sweeps = {"": base}, {}
    for text in (part for given in texts for part in given.split()):
        name, equals, values = text.partition("=")
        setting = ALIASES.get(name, name)
        if not equals or setting not in SWEPT:
            raise ConfigError(
                f"--sweep {text}: give a setting and its values, as id_scale=0.5,1,1.5. Settings that can be "
                f"swept: {', '.join(SWEPT)}"
            )
        if setting in sweeps:
            raise ConfigError(f"--sweep: {setting} twice. Give all its values at once, with commas between")
        sweeps[setting] = _sweep(setting, values.split(","), base, variants)
    return variants, tuple(sweeps.values())


def _sweep(setting: str, values: Sequence[str], base: Settings, variants: dict[str, Settings]) -> Sweep:
    usual = getattr(base, setting)
    told: dict[str, str] = {}
    for text in (value.strip() for value in values):
        value = _value(setting, text)
        if value == usual:
            told[text] = ""
        else:
            told[text] = f"{setting}={text}"
            variants[told[text]] = base.override({setting: value})
    if "" not in told.values() and usual is not None:
        told[_as_text(usual)] = ""
    ordered = sorted(told, key=lambda text: _sort_key(setting, text))
    return Sweep(setting, tuple(ordered), tuple(told[text] for text in ordered))


def _value(setting: str, text: str) -> float | int | tuple[float, float]:
    try:
        if setting == "guidance_scale":
            first, _, last = text.partition(":")
            return (float(first), float(last or first))
        return int(text) if setting == "steps" else float(text)
    except ValueError:
        raise ConfigError(f"--sweep {setting}: {text!r} is not a number. Write {setting}=0.5,1,1.5") from None


def _sort_key(setting: str, text: str) -> tuple[float, float]:
    value = _value(setting, text)
    return value if isinstance(value, tuple) else (value, value)


def _as_text(value: float | tuple[float, float]) -> str:
    if isinstance(value, tuple):
        return f"{value[0]:g}" if value[0] == value[1] else f"{value[0]:g}:{value[1]:g}"
    return f"{value:g}"
