"""The original's names for what lies beside photos, read and written.

X.png, X_mask.png (only 255 counts as the person), metainfo.json in a person's folder, and
meta_subj2person_type.json: a JSON object, folder name -> one of six words.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from adaface.errors import FormatError, MissingFileError
from adaface.files import write_atomic

MASK, METAINFO, PERSON_TYPES = "_mask.png", "metainfo.json", "meta_subj2person_type.json"
WORDS = ("girl", "boy", "young woman", "young man", "woman", "man")  # the original's six
UNKNOWN = "person"
CHILD, YOUNG = 18, 29  # up to this age, in years
_GENDERS = {"m": "male", "male": "male", "1": "male", "f": "female", "female": "female", "0": "female"}
TO_TELL = 2 / 3  # share of the photos that must agree on man or woman


@dataclass(frozen=True, kw_only=True)
class Metainfo:
    """What metainfo.json says of a person; None: nothing. avg_sim: mean similarity of the kept photos."""

    person_type: str | None = None
    gender: str | None = None
    age: float | None = None
    avg_sim: float | None = None


def person_type(gender: str | None, age: float | None) -> str:
    """One of the original's six words, or "person" where gender or age is not known."""
    if gender not in ("female", "male") or age is None:
        return UNKNOWN
    kind = 0 if age <= CHILD else 2 if age <= YOUNG else 4
    return WORDS[kind + (gender == "male")]


def vote(guesses: Sequence[tuple[float, str]]) -> Metainfo:
    """Age and gender of one person out of guesses, one a photo: mean age, and the gender that two of three
    photos have, else none.
    """
    if not guesses:
        return Metainfo()
    age = sum(age for age, _ in guesses) / len(guesses)
    male = sum(gender == "male" for _, gender in guesses) / len(guesses)
    gender = "male" if male >= TO_TELL else "female" if 1 - male >= TO_TELL else None
    return Metainfo(person_type=person_type(gender, age), gender=gender, age=round(age, 1))


def read_metainfo(folder: Path) -> Metainfo:
    """What metainfo.json in a person's folder says; all None where there is none.

    Raises FormatError: not JSON, or not what it should be.
    """
    path = folder / METAINFO
    if not path.is_file():
        return Metainfo()
    data = _object(path)
    word, gender, age = data.get("person_type"), data.get("gender"), data.get("age")
    similarity = data.get("avg_sim")
    known = _GENDERS.get(str(gender).lower())
    years = float(age) if isinstance(age, int | float) else None
    return Metainfo(
        person_type=_word(path, word) if word else person_type(known, years),
        gender=known,
        age=years,
        avg_sim=float(similarity) if isinstance(similarity, int | float) else None,
    )


def read_person_types(path: str | Path) -> dict[str, str]:
    """meta_subj2person_type.json: folder name -> class word.

    Raises MissingFileError: no such file. FormatError: not JSON, or a word that is none of the six or
    "person".
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file. It should hold " + '{"folder name": "woman", ...}')
    return {str(name): _word(path, word) for name, word in _object(path).items()}


def write_person_types(path: str | Path, types: Mapping[str, str]) -> Path:
    """Write meta_subj2person_type.json. Raises WriteError."""
    return _write_json(Path(path), dict(sorted(types.items())))


def write_metainfo(folder: Path, info: Metainfo) -> Path:
    """Write metainfo.json into a person's folder. Raises WriteError."""
    names = ("gender", "age", "person_type", "avg_sim")
    return _write_json(folder / METAINFO, {name: getattr(info, name) for name in names})


def _write_json(path: Path, data: object) -> Path:
    text = json.dumps(data, indent=1, ensure_ascii=True) + "\n"
    return write_atomic(path, lambda beside: beside.write_text(text, encoding="utf-8"))


def _object(path: Path) -> dict[str, object]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise FormatError(f"{path}: not readable as JSON ({error}). Mend it, or take it away") from error
    if not isinstance(data, dict):
        raise FormatError(f"{path}: not a JSON object. Mend it, or take it away")
    return data


def _word(path: Path, word: object) -> str:
    if word not in (*WORDS, UNKNOWN):
        known = ", ".join((*WORDS, UNKNOWN))
        raise FormatError(f"{path}: {word!r} is no class word. The words are {known}")
    return str(word)
