"""RUN -> CAVEATS: what its figures do not say, in sentences for people."""

from collections.abc import Iterator, Mapping
from typing import Any

from adaface.evaluation.anchors import SAME
from adaface.evaluation.folder import OpenedRun
from adaface.evaluation.means import with_values
from adaface.evaluation.run.naming import in_a_row

FEW_PEOPLE = 12
_ALWAYS = (
    "Whether somebody who looks at the pictures finds them like or good: no human judged anything",
    "Pose, expression, skin detail, and how natural a picture looks",
    "Differences between groups of people (age, sex, skin): figures are of all subjects together",
)


def notes(run: OpenedRun) -> list[str]:
    """What a reader should know first: what the run itself noted, and what its records show."""
    return [*run.facts.get("notes", []), *_notes(run)]


def _notes(run: OpenedRun) -> Iterator[str]:
    subjects = run.subjects
    synthetic = [s["name"] for s in subjects if s.get("synthetic")]
    if synthetic:
        yield (
            f"Synthetic people: {in_a_row(synthetic)}. The stack's own ID teacher drew their photos. The "
            "figures say how well the encoder follows its teacher, not how well it draws a real person"
        )
    given = [s["name"] for s in subjects if given_score(s)]
    if given:
        yield (
            f"Given photos score: {in_a_row(given)}. There is none beside those that made the identity, "
            "so a method that copies the given photo looks better than it is"
        )
    if run.dropped:
        yield f"Half-written lines of the manifest, dropped: {run.dropped}"
    unscored = sum(not picture.scores for picture in run.pictures)
    if unscored:
        yield f"Pictures that could not be read or scored, and are in no mean: {unscored}"
    if any(len(picture.subjects) > 1 for picture in run.pictures):
        yield (
            "Pictures of two people count for the first one in tables by person. Each is in several pairs, "
            "so intervals over them are somewhat too narrow"
        )


def given_score(subject: Mapping[str, Any]) -> bool:
    """Whether the photos that make a subject's identity score it as well. subject: as run.json has it."""
    return bool(subject.get("given")) and not subject.get("apart", True)


def not_measured(run: OpenedRun) -> list[str]:
    """What nobody should read into the figures, since nothing in the run measures it."""
    return [*_missing(run), *_ALWAYS]


def _missing(run: OpenedRun) -> Iterator[str]:
    names = {column.name for column in with_values(run.columns, run.own)}
    people = {picture.subjects[0] for picture in run.own}
    if len(people) == 1:
        yield "How much the figures vary between people: there is one, so means have no interval"
    elif len(people) < FEW_PEOPLE:
        yield f"Small differences: {len(people)} people make wide intervals"
    if not any(name.startswith("similarity_") and name != "similarity_given" for name in names):
        yield (
            "Likeness by a second recogniser: the only one here is the one that makes the identity (and that "
            "the encoder was trained with, where it was), so the likeness is judged by a party to it"
        )
    if not any(photo.kind == SAME for photo in run.anchors):
        yield "The ceiling: no subject has a photo beside those that score, to be compared with them"
    else:
        yield (
            "A ceiling under each prompt: the photos that make it are plain ones. Behind sunglasses or in a "
            "sketch a recogniser knows nobody well, so a low likeness there is not the method's fault alone"
        )
    if len({picture.seed for picture in run.own}) < 2:
        yield "How much pictures of one prompt differ: there is one seed a prompt"
    if not any(name.startswith("dino") for name in names):
        yield "Likeness of the whole picture by DINO: no such model was given"
    if not any(len(picture.subjects) > 1 for picture in run.own):
        yield "Several people in one picture"
    if any(subject.get("synthetic") for subject in run.subjects):
        yield "Photos of real people, in the light and with the cameras of their lives"
