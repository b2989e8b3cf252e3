"""The class word of each person: from a file of the user's, from metainfo.json, from guesses, else
"person".
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from adaface.data.original_layout import UNKNOWN, WORDS, Metainfo, read_metainfo, vote
from adaface.data.prepare.judging.judge import Verdict


@dataclass(frozen=True)
class PersonSummary:
    """One person in numbers. info: class word, gender, age as far as known, mean similarity of the kept."""

    name: str
    mixed: bool
    photos: int
    kept: int
    info: Metainfo

    @property
    def class_word(self) -> str:
        """One of the original's six words, or "person"."""
        return self.info.person_type or UNKNOWN


def summarize(
    verdicts: Iterable[Verdict],
    guesses: Mapping[str, Sequence[tuple[float, str]]],
    written: Mapping[str, Metainfo],
    given: Mapping[str, str],
) -> dict[str, PersonSummary]:
    """Every person with a photo, in the order of `verdicts`.

    guesses: (age, gender) of each person's photos. written: what metainfo.json says, as of `read_written`.
    given: folder name -> class word, which counts before anything else.
    """
    photos: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        photos.setdefault(verdict.photo.person, []).append(verdict)
    return {
        name: PersonSummary(
            name=name,
            mixed=own[0].photo.mixed,
            photos=len(own),
            kept=sum(verdict.kept for verdict in own),
            info=_info(name, own, guesses.get(name, ()), written, given),
        )
        for name, own in photos.items()
    }


def read_written(people: Iterable[str], folders: Mapping[str, Path]) -> dict[str, Metainfo]:
    """What metainfo.json says of each person; nobody where there is none.

    Raises FormatError: one is damaged.
    """
    found = {name: read_metainfo(folders[name]) for name in people if name in folders}
    return {name: info for name, info in found.items() if info != Metainfo()}


def nobody(given: Mapping[str, str], people: Collection[str]) -> list[str]:
    """Folder names in `given` that no person has."""
    known = {*people, *(_folder_name(name) for name in people)}
    return sorted(name for name in given if name not in known)


def _folder_name(name: str) -> str:
    return name.rpartition("/")[2]  # people of the same name under two roots have the root's before it


def _info(
    name: str, own: Sequence[Verdict], guesses: Sequence[tuple[float, str]], written: Mapping[str, Metainfo],
    given: Mapping[str, str],
) -> Metainfo:  # fmt: skip
    if own[0].photo.mixed:
        return Metainfo(person_type=UNKNOWN)
    likeness = [verdict.similarity for verdict in own if verdict.kept and verdict.similarity is not None]
    average = round(float(np.mean(likeness)), 4) if likeness else None
    own_facts = written.get(name, Metainfo())
    found = own_facts if own_facts.person_type in WORDS else vote(guesses)
    word = given.get(name, given.get(_folder_name(name))) or found.person_type or UNKNOWN
    return replace(found, person_type=word, avg_sim=average)
