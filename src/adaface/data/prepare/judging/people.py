"""The class word of each person: from a file of the user's, from metainfo.json, from guesses, else
"person".
"""

from collections.abc import Iterable, Mapping, Sequence
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
    folders: Mapping[str, Path],
    given: Mapping[str, str],
) -> dict[str, PersonSummary]:
    """Every person with a photo, in the order of `verdicts`.

    guesses: (age, gender) of each person's photos. folders: where metainfo.json may lie. given: folder name
    -> class word, which counts before anything else. Raises FormatError: a metainfo.json that is damaged.
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
            info=_info(name, own, guesses.get(name, ()), folders, given),
        )
        for name, own in photos.items()
    }


def _info(
    name: str, own: Sequence[Verdict], guesses: Sequence[tuple[float, str]], folders: Mapping[str, Path],
    given: Mapping[str, str],
) -> Metainfo:  # fmt: skip
    if own[0].photo.mixed:
        return Metainfo(person_type=UNKNOWN)
    likeness = [verdict.similarity for verdict in own if verdict.kept and verdict.similarity is not None]
    average = round(float(np.mean(likeness)), 4) if likeness else None
    folder = folders.get(name)
    written = read_metainfo(folder) if folder is not None else Metainfo()
    found = written if written.person_type in WORDS else vote(guesses)
    word = given.get(name, given.get(name.rpartition("/")[2])) or found.person_type or UNKNOWN
    return replace(found, person_type=word, avg_sim=average)
