"""A grammar of compositions: what a person does, wears, where and how they are shown. Words, no tensors.

A grammar is a YAML file (those in `grammars/` go by their names) or a stack's own, under "compositions" in
its settings. It has

    single: ["a photo of {subject}"]                       # phrasings without a composition
    phrasings: ["{a_style} of {subject}{wear}{place}"]      # with one; names of parts in braces
    parts:                                                  # name -> how often it is there, and its words
      wear: {share: 0.5, words: ["wearing a red cap"]}
      style: {share: 0.4, words: ["sketch"], plain: "photo"}  # plain: what stands there otherwise
    never: [["sketch", "wearing a red cap"]]                # what never occurs together

A part's words follow a space, unless a comma, the end or the beginning of the phrasing parts it already;
{a_style} has its article. At least one part is there in each composition.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.resources import files as resources
from pathlib import Path

import torch
from torch import Generator

from adaface.errors import ConfigError
from adaface.pipelines.stack import Stack
from adaface.recipes.config import STACK
from adaface.training.config import Layer, build, nearest, read_yaml

FOLDER, OWN = "grammars", "compositions"  # of the package's files; of a stack's settings
SUBJECT = "subject"
TRIES = 1000


@dataclass(frozen=True, kw_only=True)
class PartOf:
    """One part of a composition: how often it is there, its words, and what stands there otherwise."""

    share: float
    words: tuple[str, ...]
    plain: str = ""

    def __post_init__(self) -> None:
        """Raises ConfigError: no words, braces in them, or a share out of range."""
        if not 0 <= self.share <= 1 or not self.words:
            raise ConfigError(
                f"share={self.share}, words={list(self.words)}: give a share from 0 to 1, and some words"
            )
        braced = [words for words in (*self.words, self.plain) if set(words) & set("{}")]
        if braced:
            raise ConfigError(f"{braced[0]!r}: names in braces stand in phrasings. Give words without braces")


@dataclass(frozen=True, kw_only=True)
class Phrases:
    """Prompts with a place for the person and for the parts of a composition."""

    single: tuple[str, ...]
    phrasings: tuple[str, ...]


@dataclass(frozen=True)
class Composition:
    """Two prompts with one "{subject}" each, which differ by the composition, and its words."""

    single: str
    composed: str
    words: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Grammar(Phrases):
    """How compositions are made; see the file's own words. Raises ConfigError: it makes none."""

    parts: Mapping[str, PartOf]
    never: tuple[tuple[str, str], ...] = ()
    _apart: frozenset[frozenset[str]] = field(init=False, repr=False, compare=False, default=frozenset())

    def __post_init__(self) -> None:
        """Check that each phrasing can be filled, and that something is ever composed."""
        for text in (*self.single, *self.phrasings):
            self._check(text)
        if not self.single or not self.phrasings or not any(p.share > 0 for p in self.parts.values()):
            raise ConfigError("a grammar needs single, phrasings, and parts of which one has a share above 0")
        said = {words for part in self.parts.values() for words in (*part.words, part.plain)}
        lost = [words for pair in self.never for words in pair if words and words not in said]
        if lost:
            raise ConfigError(f"never: no part says {lost[0]!r}; {nearest(lost[0], sorted(said))}")
        object.__setattr__(self, "_apart", frozenset(frozenset(pair) for pair in self.never))

    def draw(self, generator: Generator) -> Composition:
        """A composition, and a single prompt for it. Raises ConfigError: `never` leaves nothing."""
        single = _one(self.single, generator)
        for _ in range(TRIES):
            chosen = {name: self._words(part, generator) for name, part in self.parts.items()}
            said = tuple(words for words in chosen.values() if words)
            text = _one(self.phrasings, generator)
            if said and self._allowed(said) and {name for name, w in chosen.items() if w} <= _named(text):
                return Composition(single, self._fill(text, chosen), said)
        raise ConfigError("grammar: no composition was found; give larger shares, or fewer pairs in never")

    def longest(self, length: Callable[[str], int] = len) -> list[str]:
        """The longest prompt of each phrasing, to find out whether a text encoder has room for all.

        length: of some words, such as how many text positions they take.
        """
        chosen = {name: max((*part.words, part.plain), key=length) for name, part in self.parts.items()}
        return [*self.single, *(self._fill(text, chosen) for text in self.phrasings)]

    def _check(self, text: str) -> None:
        names = re.findall(r"{(\w+)}", text)
        if names.count(SUBJECT) != 1:
            raise ConfigError(f"{text!r}: give one {{subject}} in each phrasing of a grammar")
        if set(re.sub(r"{\w+}", "", text)) & set("{}"):
            raise ConfigError(
                f"{text!r}: write names of parts in braces, as in {{a_style}}, and no other ones"
            )
        lost = [name for name in names if name != SUBJECT and name.removeprefix("a_") not in self.parts]
        if lost:
            raise ConfigError(
                f"{text!r}: no part {lost[0]!r} in the grammar; {nearest(lost[0], sorted(self.parts))}"
            )

    def _words(self, part: PartOf, generator: Generator) -> str:
        there = float(torch.rand((), generator=generator)) < part.share
        words = _one(part.words, generator)
        return words if there else ""

    def _allowed(self, said: Sequence[str]) -> bool:
        return not any(
            frozenset((one, other)) in self._apart for one in said for other in said if one != other
        )

    def _fill(self, text: str, chosen: Mapping[str, str]) -> str:
        def put(match: re.Match[str]) -> str:
            name = match[1].removeprefix("a_")
            if name == SUBJECT:
                return match[0]
            words = chosen[name] or self.parts[name].plain
            if words and match[1].startswith("a_"):
                words = with_article(words)
            before = text[: match.start()]
            parted = not words or not before or before[-1] in " ,"
            return words if parted else f" {words}"

        filled = re.sub(r"{(\w+)}", put, text)
        pieces = [" ".join(piece.split()) for piece in filled.split(",")]
        return ", ".join(piece for piece in pieces if piece)


def _named(text: str) -> set[str]:
    """The parts that a phrasing has a place for."""
    return {name.removeprefix("a_") for name in re.findall(r"{(\w+)}", text)}


def with_article(words: str) -> str:
    """The words with "a" or "an" before them."""
    return f"{'an' if words[:1].lower() in 'aeiou' else 'a'} {words}"


def read_grammar(name: str, stack: Stack) -> Grammar:
    """A grammar by the name of one that comes with the package, a YAML file, or "stack".

    "stack" is the stack's own, else the one that goes by the stack's name. Raises ConfigError: there is none,
    or it is not one.
    """
    if name == STACK:
        if OWN in stack.settings:
            return grammar_of(Layer(f'{OWN} of stack "{stack.name}"', stack.settings[OWN]))
        if stack.name not in known():
            raise ConfigError(
                f'grammar="{STACK}": stack "{stack.name}" brings no "{OWN}" in its settings. Give the name '
                f"of a grammar ({', '.join(known())}) or a YAML file"
            )
        name = stack.name
    own = Path(str(resources("adaface.recipes.composition"))) / FOLDER / f"{name}.yaml"
    if own.is_file() or Path(name).is_file():
        return grammar_of(read_yaml(own if own.is_file() else name))
    raise ConfigError(
        f'grammar="{name}": no YAML file, and no grammar of that name; {nearest(name, known())}'
    )


def grammar_of(layer: Layer) -> Grammar:
    """A grammar from its plain values. Raises ConfigError: they are no grammar's; names the place."""
    try:
        return _made(layer)
    except ConfigError as error:
        if layer.origin in str(error):
            raise
        raise ConfigError(f"{layer.origin}: {error}") from error


def _made(layer: Layer) -> Grammar:
    values = dict(layer.values)
    parts, never = values.pop("parts", None), values.pop("never", ())
    try:
        pairs = tuple((str(one), str(other)) for one, other in never)
        given = {str(name): dict(part) for name, part in dict(parts or {}).items()}
    except (TypeError, ValueError):
        raise ConfigError(
            f"{layer.origin}: parts has to be names with share and words below them, never a list of pairs"
        ) from None
    made = {name: build(PartOf, [Layer(f"{layer.origin}: {name}", part)]) for name, part in given.items()}
    phrases = build(Phrases, [replace(layer, values=values)])
    return Grammar(single=phrases.single, phrasings=phrases.phrasings, parts=made, never=pairs)


def known() -> list[str]:
    """Names of the grammars that come with the package."""
    folder = Path(str(resources("adaface.recipes.composition"))) / FOLDER
    return sorted(path.stem for path in folder.glob("*.yaml"))


def _one(texts: Sequence[str], generator: Generator) -> str:
    return texts[int(torch.randint(len(texts), (1,), generator=generator))]
