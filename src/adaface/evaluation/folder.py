"""RUN FOLDER -> RECORDS: the files of an evaluation and their text, for writers and readers."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from adaface.errors import FormatError, MissingFileError
from adaface.evaluation.records import Column, Picture

RUN_JSON, MANIFEST, ANCHORS = "run.json", "manifest.jsonl", "anchors.jsonl"
SUMMARY, REPORT, PLOTS = "summary.json", "report.html", "plots"
FORMAT = "adaface-evaluation"


@dataclass(frozen=True, eq=False)
class OpenedRun:
    """What lies in a run folder, as records.

    facts: run.json. pictures: all lines of the manifest, in its order. anchors: photos that were scored as if
    they were pictures, of kind "same" (the ceiling) and "other" (the floor). dropped: half-written lines.
    """

    folder: Path
    facts: Mapping[str, Any]
    pictures: tuple[Picture, ...]
    anchors: tuple[Picture, ...] = ()
    dropped: int = 0
    columns: tuple[Column, ...] = field(default=())

    @property
    def name(self) -> str:
        """The folder's own name."""
        return self.folder.resolve().name

    @cached_property
    def base(self) -> str:
        """The variant that figures are of: "" (the run's own settings), or the first where there is none."""
        variants = [picture.variant for picture in self.pictures]
        return "" if "" in variants or not variants else variants[0]

    @cached_property
    def own(self) -> list[Picture]:
        """The pictures that figures are of: those of the variant `base`."""
        return [picture for picture in self.pictures if picture.variant == self.base]

    @property
    def subjects(self) -> Sequence[Mapping[str, Any]]:
        """Who was drawn, as run.json says it."""
        return self.facts.get("subjects", [])

    def file(self, path: str) -> Path:
        """A path of the run's files as it lies on this disk."""
        return self.folder / path  # an absolute one stays


def line(picture: Picture) -> str:
    """A picture as one line of a manifest, with its end; `read_pictures` reads it."""
    return json.dumps(asdict(picture), ensure_ascii=False) + "\n"


def read_pictures(path: Path) -> tuple[list[Picture], int]:
    """The pictures of a manifest, and how many half-written lines were dropped (the last one at most).

    Of several lines of one picture the last counts: one is added when it is drawn, one when it is scored.
    Raises MissingFileError: no such file. FormatError: a damaged line that is not the last.
    """
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file. Give the folder of a run of `adaface evaluate`")
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    whole, rest = lines[:-1], lines[-1]
    pictures: dict[object, Picture] = {}
    for number, text in enumerate(whole, 1):
        try:
            picture = _picture(json.loads(text))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise FormatError(
                f"{path}: line {number} is damaged ({error}). Take that line out and go on with the run"
            ) from error
        pictures[picture.key] = picture  # in the place of the first
    return list(pictures.values()), int(bool(rest))


def open_run(folder: str | Path) -> OpenedRun:
    """Read a run folder.

    Raises MissingFileError: no run.json or no manifest there. FormatError: a file that is not what it should
    be.
    """
    folder = Path(folder)
    facts = read_facts(folder)
    pictures, dropped = read_pictures(folder / MANIFEST)
    anchors = folder / ANCHORS
    photos = read_pictures(anchors)[0] if anchors.is_file() else []
    try:
        columns = tuple(Column(**_known(Column, row)) for row in facts.get("columns", []))
    except (TypeError, AttributeError) as error:
        raise FormatError(
            f"{folder / RUN_JSON}: its columns cannot be read ({error}). Run it again"
        ) from error
    return OpenedRun(folder, facts, tuple(pictures), tuple(photos), dropped, columns)


def read_facts(folder: Path) -> Mapping[str, Any]:
    """What a run was asked to do: run.json.

    Raises MissingFileError: no such file. FormatError: it is not the run.json of an evaluation.
    """
    path = folder / RUN_JSON
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file. Give the folder of a run of `adaface evaluate`")
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise FormatError(
            f"{path}: not readable as JSON ({error}). Copy the folder again, or choose another one (-o)"
        ) from error
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        raise FormatError(f'{path}: no "format": "{FORMAT}" in it. Give the folder of an evaluation')
    return facts


def _picture(row: Mapping[str, Any]) -> Picture:
    known = _known(Picture, row)
    return Picture(**{**known, "subjects": tuple(known["subjects"])})


def _known(kind: type, row: Mapping[str, Any]) -> dict[str, Any]:
    names = {one.name for one in fields(kind)}
    return {name: value for name, value in row.items() if name in names}
