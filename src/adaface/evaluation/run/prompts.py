"""Lists of prompts in which the subject stands as <person>: plain text, YAML, or the original's tables."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adaface.errors import ConfigError, FormatError
from adaface.evaluation.run.reading import text_of, yaml_of
from adaface.identity.names import slot
from adaface.optional import require
from adaface.prompt.template import parse
from adaface.spec import DEFAULT_SUBJECT

OTHER = "other"  # a second person stands in a template as <other>
YAML = (".yaml", ".yml")
_KIND = re.compile(r"\[([^\[\]]*)\]")  # a line of a plain text that begins a set; [] is none
_NAMED = re.compile(r"<([^\s<>]+)>")
# In the original's tables the subject is the word "z", and commas keep places for its other tokens.
_ORIGINAL = re.compile(r"(?<![\w'])z(?![\w'])(\s*,(?=\s*,))*(\s*,)?")
_COLUMNS = (3, 4, 5)  # of the original's tables: of 2023, without and with the short class prompt


@dataclass(frozen=True)
class PromptLine:
    """A prompt that all subjects share. text: with <person>, and <other> for a second one. kind: its set."""

    text: str
    kind: str = ""

    @property
    def people(self) -> int:
        """How many people it needs: 1 or 2."""
        return 2 if slot(OTHER) in self.text else 1

    def filled(self, names: Sequence[str]) -> str:
        """The prompt for these people: names[0] stands as <person>, names[1] as <other>."""
        people = dict(zip((DEFAULT_SUBJECT, OTHER), names, strict=False))
        return _NAMED.sub(lambda match: slot(people.get(match[1], match[1])), self.text)


def prompt_line(text: str, kind: str = "", where: str = "prompt") -> PromptLine:
    """A prompt as a user writes it; without <person>, the person finds a place as in `adaface generate`.

    Raises ConfigError: it is empty, or names somebody else than <person> and <other>.
    """
    text = " ".join(text.split())
    if not text:
        raise ConfigError(f'{where}: empty. Write what to draw, such as "a photo of <person> in a meadow"')
    unknown = [name for name in _NAMED.findall(text) if name not in (DEFAULT_SUBJECT, OTHER)]
    if unknown:
        raise ConfigError(
            f"{where}: {text!r} names {slot(unknown[0])}. The subject of each picture stands as <person>, a "
            "second one as <other>"
        )
    if slot(OTHER) in text and slot(DEFAULT_SUBJECT) not in text:
        raise ConfigError(f"{where}: {text!r} has <other> and no <person>. The first one is <person>")
    if slot(DEFAULT_SUBJECT) not in text:
        text = parse(text, [DEFAULT_SUBJECT]).prompt
    return PromptLine(text, kind)


def read_prompts(file: str | Path) -> tuple[PromptLine, ...]:
    """The prompts of a file, without repetitions.

    Plain text: a prompt a line; blank lines and # comments are passed over; a line "[scene]" begins the set
    "scene". YAML: a list of prompts, or sets by their names. The original's tables, tab-separated: the prompt
    column, its "z" being the subject.
    Raises MissingFileError: no such file. FormatError: not readable as any of these. ConfigError: no prompt
    in it, or one that is empty.
    """
    path = Path(file)
    text = text_of(path, "--prompts needs a text or YAML file of prompts")
    if path.suffix.lower() in YAML:
        lines = _from_yaml(path, text)
    elif any("\t" in line for line in text.splitlines()):
        lines = _from_table(path, text)
    else:
        lines = from_text(text, str(path))
    found = tuple(dict.fromkeys(lines))
    if not found:
        raise ConfigError(f"{path}: no prompt in it. Write one a line")
    return found


def from_text(text: str, where: str) -> list[PromptLine]:
    """Prompts of a plain text, a line each; `where` is what messages call it. Raises as `prompt_line`."""
    found, kind = [], ""
    for number, line in enumerate(text.splitlines(), 1):
        words = line.strip()
        if not words or words.startswith("#"):
            continue
        if match := _KIND.fullmatch(words):
            kind = match[1].strip()
        else:
            found.append(prompt_line(words, kind, f"{where}, line {number}"))
    return found


def as_text(lines: Iterable[PromptLine]) -> str:
    """A plain text that `read_prompts` reads back."""
    told: list[str] = []
    kind = ""
    for line in lines:
        if line.kind != kind:
            told += ["", f"[{line.kind}]"] if told else [f"[{line.kind}]"]
            kind = line.kind
        told.append(line.text)
    return "".join(f"{line}\n" for line in told)


def as_yaml(lines: Iterable[PromptLine]) -> str:
    """YAML that `read_prompts` reads back: sets by name. Raises MissingExtra: no pyyaml."""
    sets: dict[str, list[str]] = {}
    for line in lines:
        sets.setdefault(line.kind or "prompts", []).append(line.text)
    told: str = require("yaml", extra="eval").safe_dump(sets, allow_unicode=True, sort_keys=False, width=1000)
    return told


def _from_yaml(path: Path, text: str) -> list[PromptLine]:
    data = yaml_of(path, text)
    sets: dict[Any, Any] = data if isinstance(data, dict) else {"": data}
    found = []
    for kind, texts in sets.items():
        if not isinstance(texts, list) or not all(isinstance(one, str | None) for one in texts):
            raise FormatError(
                f"{path}: give a list of prompts, or sets by their names (scene: [...]). Put a prompt with a "
                "colon into quotes"
            )
        kind = "" if kind == "prompts" else str(kind)
        found += [prompt_line(one or "", kind, f"{path}, prompt {n}") for n, one in enumerate(texts, 1)]
    return found


def _from_table(path: Path, text: str) -> list[PromptLine]:
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        cells, where = line.split("\t"), f"{path}, line {number}"
        if len(cells) not in _COLUMNS:
            raise FormatError(
                f"{where}: {len(cells)} columns. The original's tables have samples, folder, prompt, long "
                "and short class prompt; a plain list of prompts has no tabs"
            )
        prompt = cells[1] if len(cells) == 3 else cells[2]
        found.append(prompt_line(_ORIGINAL.sub(slot(DEFAULT_SUBJECT), prompt, count=1), "", where))
    return found
