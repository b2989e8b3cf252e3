"""What subjects are ("young woman", "corgi"), by name: from YAML, JSON, or the original's list of them."""

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adaface.errors import ConfigError, FormatError
from adaface.evaluation.records import BroadClass, broad_class
from adaface.evaluation.run.naming import as_name
from adaface.evaluation.run.reading import text_of, yaml_of

_LIST = re.compile(r"^\s*set\s+(?:-\w+\s+)?(\w+)\s+(.*)$")  # of a fish script
_NUMBERED: tuple[BroadClass, ...] = ("object", "person", "animal")  # 0, 1, 2 in the original's files


@dataclass(frozen=True)
class About:
    """class_word: what stands for a subject in the text that scores. broad_class: which prompts it gets."""

    class_word: str = "person"
    broad_class: BroadClass = "person"

    def __post_init__(self) -> None:
        """Raises ConfigError: no word."""
        if not self.class_word.strip():
            raise ConfigError("a class word is empty. Write what the subject is, such as woman")

    def to_json(self) -> list[str]:
        """Plain values for JSON."""
        return [self.class_word, self.broad_class]


def read_about(file: str | Path) -> dict[str, About]:
    """Subjects by name: `{alice: young woman, rex: {class: corgi, kind: animal}}` in YAML or JSON, or the
    original's lists (`set -g subjects ...`, `cls_delta_strings` or else `class_names`, `broad_classes`) in a
    fish script. Names are those of folders, as `naming.as_name` writes them.

    Raises MissingFileError: no such file. FormatError: not of that form.
    """
    path = Path(file)
    rows = _rows(path, text_of(path, "--about needs a YAML or JSON file: alice: young woman"))
    return {as_name(str(name)): _about(path, str(name), row) for name, row in rows.items()}


def _rows(path: Path, text: str) -> Mapping[Any, Any]:
    if path.suffix.lower() == ".json":
        try:
            rows = json.loads(text)
        except ValueError as error:
            raise FormatError(f"{path}: not JSON ({error}). Correct it") from error
    elif _LIST.search(text) or any(_LIST.match(line) for line in text.splitlines()):
        rows = _from_fish(path, text)
    else:
        rows = yaml_of(path, text)
    if not isinstance(rows, dict) or not rows:
        raise FormatError(f"{path}: no subjects in it. Write a line a subject: alice: young woman")
    return rows


def _about(path: Path, name: str, row: Any) -> About:
    known = {"class": row} if isinstance(row, str) else row
    if not isinstance(known, dict) or not known.keys() <= {"class", "kind"}:
        raise FormatError(f"{path}: {name}: give what it is (young woman), or class and kind")
    try:
        kind = broad_class(known.get("kind", "person"))
    except ValueError as error:
        raise FormatError(f"{path}: {name}: {error}") from error
    return About(str(known.get("class", kind)), kind)


def _from_fish(path: Path, text: str) -> dict[str, dict[str, str]]:
    """Lists of equal length, as `set -g NAME values...`; "$OTHER" stands for another list.

    The original scores with its "long" class words, cls_delta_strings; class_names are the short ones.
    """
    joined = text.replace("\\\n", " ")
    matches = [match for line in joined.splitlines() if (match := _LIST.match(line))]
    try:
        lists = {match[1]: shlex.split(match[2], comments=True) for match in matches}
        names = lists["subjects"]
        lists = {name: _followed(row, lists) for name, row in lists.items()}
        words = lists.get("cls_delta_strings") or lists.get("class_names", ["person"] * len(names))
        kinds = [int(one) for one in lists.get("broad_classes", ["1"] * len(names))]
        rows = zip(names, words, kinds, strict=True)
        return {name: {"class": word, "kind": _NUMBERED[kind]} for name, word, kind in rows}
    except (KeyError, ValueError, IndexError) as error:
        raise FormatError(
            f"{path}: subjects, class_names and broad_classes (0 object, 1 person, 2 animal) should be lists "
            f"of the same length ({error!r}). Correct it, or write YAML: alice: young woman"
        ) from error


def _followed(row: list[str], lists: Mapping[str, list[str]]) -> list[str]:
    return lists.get(row[0][1:], row) if len(row) == 1 and row[0].startswith("$") else row
