"""Pictures that somebody else made, by any method: folders or a list tell who and what each should show."""

import csv
import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from os.path import relpath
from pathlib import Path
from typing import Any

from adaface.errors import ConfigError, FormatError, MissingFileError
from adaface.evaluation.folder import MANIFEST, read_pictures
from adaface.evaluation.records import Picture, Subject
from adaface.evaluation.run.naming import in_a_row, known_as, pictures_in
from adaface.evaluation.run.plan import TOGETHER
from adaface.evaluation.run.prompts import OTHER, PromptLine
from adaface.files import sha256
from adaface.identity.names import slot
from adaface.spec import DEFAULT_SUBJECT

LISTS = ("pictures.jsonl", "pictures.csv")
PROMPT_FILE = "prompt.txt"  # beside pictures, where the folder's name does not tell the prompt
_CUT = 40  # letters from which on a folder's name may be a prompt that was cut off
_NUMBER = re.compile(r"(\d+)$")
_SLOT = re.compile(r"<[^<>]+>")
_KNOWN = {"file", "subject", "subjects", "prompt", "seed", "kind", "variant"}


@dataclass(eq=False)
class Outside:
    """The pictures of a folder, and what people should know of those that were passed over."""

    pictures: list[Picture] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def find_pictures(
    images: Path, subjects: Sequence[Subject], lines: Sequence[PromptLine], folder: Path
) -> Outside:
    """The pictures below `images`, as those of a run in `folder`; they stay where they are.

    One of: a list `pictures.jsonl` or `pictures.csv` (file, subject, prompt; seed, kind, variant if known);
    the folder of another run; folders SUBJECT/PROMPT/*.png, SUBJECT being alice, or alice+bob for two people.
    PROMPT is matched with `lines`; else it is what `prompt.txt` in it says, or the folder's own name.
    Raises MissingFileError: no such folder. FormatError: a list that cannot be read. ConfigError: no picture
    of any subject, or pictures whose prompt cannot be told.
    """
    images = images.expanduser()
    if not images.is_dir():
        raise MissingFileError(f"{images}: no such folder. --images needs the folder of the pictures")
    found = Outside()
    listed = next((images / name for name in LISTS if (images / name).is_file()), None)
    if listed is not None:
        rows = _from_list(listed)
    elif (images / MANIFEST).is_file():
        rows = read_pictures(images / MANIFEST)[0]
    else:
        rows = list(_from_folders(images, lines, found.notes, folder.resolve()))
    names = {one.name for one in subjects}
    rows = [_renamed(row, names) for row in rows]
    strangers = sorted({name for row in rows for name in row.subjects if name not in names})
    if strangers:
        found.notes.append(
            f"pictures of {in_a_row(strangers)} are passed over: no subject of that name is given"
        )
    known = [row for row in rows if names.issuperset(row.subjects)]
    if not known:
        held = f"it has pictures of {in_a_row(strangers)}" if strangers else "no picture was found in it"
        raise ConfigError(
            f"{images}: no picture of {in_a_row(sorted(names))}; {held}. Name its folders after the "
            "subjects: DIR/SUBJECT/PROMPT/*.png"
        )
    without = sorted(names - {name for row in known for name in row.subjects})
    if without:
        found.notes.append(f"no pictures of {in_a_row(without)}")
    found.pictures = [_placed(row, images, folder) for row in _numbered(known)]
    return found


def _renamed(row: Picture, names: set[str]) -> Picture:
    """The picture with its subjects as the run calls them."""
    cast, prompt = tuple(known_as(name, names) for name in row.subjects), row.prompt
    for told, name in zip(row.subjects, cast, strict=True):
        prompt = prompt.replace(slot(told), slot(name))
    return replace(row, subjects=cast, prompt=prompt)


def _placed(row: Picture, images: Path, folder: Path) -> Picture:
    """A picture whose file is named from the run's folder, with its digest."""
    path = images / row.file
    told = Path(relpath(path.resolve(), folder.resolve())).as_posix()
    try:
        digest, error = (sha256(path), "") if path.is_file() else ("", f"{path}: no such file")
    except OSError as trouble:
        digest, error = "", f"{path}: cannot be read ({trouble.strerror})"
    return replace(row, file=told, sha256=digest, scores={}, error=error)


def _numbered(rows: Iterable[Picture]) -> list[Picture]:
    """Seeds that tell the pictures of a prompt apart: those that are known, or else 0, 1, ..."""
    groups: dict[object, list[Picture]] = {}
    for row in rows:
        groups.setdefault(row.group, []).append(row)
    numbered = []
    for group in groups.values():
        alike = len({row.seed for row in group}) < len(group) or any(row.seed < 0 for row in group)
        numbered += [replace(row, seed=n) for n, row in enumerate(group)] if alike else group
    return numbered


def _from_list(path: Path) -> list[Picture]:
    return [_row(entry, f"{path}, line {number}") for number, entry in _entries(path)]


def _entries(path: Path) -> list[tuple[int, Mapping[str, Any]]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix == ".csv":
            return [(n, row) for n, row in enumerate(csv.DictReader(text.splitlines()), 2)]
        lines = enumerate(text.splitlines(), 1)
        return [(n, json.loads(line)) for n, line in lines if line.strip()]
    except (OSError, ValueError, csv.Error) as error:
        raise FormatError(f"{path}: not a readable list of pictures ({error}). Correct it") from error


def _row(entry: Mapping[str, Any], where: str) -> Picture:
    try:
        told = entry.get("subjects") or entry["subject"]
        cast = tuple(str(one) for one in (told.split(TOGETHER) if isinstance(told, str) else told))
        file, prompt = _text(entry, "file"), " ".join(_text(entry, "prompt").split())
        seed = entry.get("seed")
        number = -1 if seed in (None, "") else int(seed)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise FormatError(
            f"{where}: each picture needs file, subject and prompt; seed is a whole number ({error!r}). "
            "Correct the list"
        ) from error
    if not prompt or not cast:
        raise FormatError(
            f"{where}: an empty prompt or subject. Write what the picture should show, and whom"
        )
    more = {str(key): value for key, value in entry.items() if key not in _KNOWN}
    kind, variant = (str(entry.get(key) or "") for key in ("kind", "variant"))
    template = _template(prompt, cast)
    return Picture(cast, prompt, template, number, file, kind=kind, variant=variant, settings=more)


def _text(entry: Mapping[str, Any], key: str) -> str:
    if not isinstance(entry[key], str):  # a row of a CSV that is too short has None
        raise TypeError(f"{key} is {entry[key]!r}")
    return str(entry[key])


def _template(prompt: str, cast: Sequence[str]) -> str:
    """The prompt with <person> and <other>: all at once, since somebody may be called person."""
    places = {slot(name): slot(place) for name, place in zip(cast, (DEFAULT_SUBJECT, OTHER), strict=False)}
    return _SLOT.sub(lambda match: places.get(match[0], match[0]), prompt)


def _folders_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and path.name[0] != ".")


def _from_folders(
    images: Path, lines: Sequence[PromptLine], notes: list[str], run: Path
) -> Iterable[Picture]:
    """run: folder of the run, which may lie among the pictures and is none of them."""
    guessed = set()
    for person in (path for path in _folders_in(images) if path.resolve() != run):
        cast = tuple(person.name.split(TOGETHER))
        loose = pictures_in(person)
        if loose:
            if len(lines) != 1:
                raise ConfigError(
                    f"{person}: pictures without a folder of their prompt. Put them into "
                    f"{person.name}/PROMPT/, or give the one prompt of all pictures with -p"
                )
            yield from _of_folder(images, loose, cast, lines[0])
        for place in (path for path in _folders_in(person) if path.resolve() != run):
            pictures = pictures_in(place)
            line, sure = _line_of(place, cast, lines)
            if pictures and not sure:
                guessed.add(line.text)
            yield from _of_folder(images, pictures, cast, line)
    if guessed:
        notes.append(
            f"{len(guessed)} prompts are told from the names of folders, such as {sorted(guessed)[0]!r}"
        )


def _of_folder(
    images: Path, pictures: Sequence[Path], cast: tuple[str, ...], line: PromptLine
) -> Iterable[Picture]:
    for path in pictures:
        match = _NUMBER.search(path.stem)
        file = path.relative_to(images).as_posix()
        seed = -1 if match is None else int(match[1])
        yield Picture(cast, line.filled(cast), line.text, seed, file, kind=line.kind)


def _line_of(place: Path, cast: Sequence[str], lines: Sequence[PromptLine]) -> tuple[PromptLine, bool]:
    """The prompt of a folder, and whether it is sure."""
    told = _words(re.sub(r"^\d+-", "", place.name))
    for line in lines:
        for word in ("person", cast[0], "z", ""):
            known = _words(line.text.replace(slot(DEFAULT_SUBJECT), word).replace(slot(OTHER), cast[-1]))
            own = told.removeprefix(f"{_words(cast[0])} ")  # the original's folders begin with the subject
            if (told and known in (told, own)) or (len(told) >= _CUT and known.startswith((told, own))):
                return line, True
    if (place / PROMPT_FILE).is_file():
        text = " ".join((place / PROMPT_FILE).read_text(encoding="utf-8", errors="replace").split())
        if text:
            return PromptLine(_template(text, cast)), True
    text = re.sub(r"[-_ ]+", " ", place.name).strip() or place.name
    for name, word in zip(cast, (DEFAULT_SUBJECT, OTHER), strict=False):
        if spoken := _words(name):
            text = re.sub(rf"(?<!\w){re.escape(spoken)}(?!\w)", slot(word), text, flags=re.IGNORECASE)
    return PromptLine(text), False


def _words(text: str) -> str:
    """Letters and digits of any script, as they are compared."""
    return " ".join(re.findall(r"[^\W_]+", unicodedata.normalize("NFC", text).lower()))
