"""RUN -> CURVES: what a setting buys in likeness and costs in text match, value by value."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from adaface.evaluation.folder import OpenedRun
from adaface.evaluation.means import estimates, per_person
from adaface.evaluation.records import Column, Picture
from adaface.evaluation.statistics import Estimate


def curves(run: OpenedRun, columns: Sequence[Column]) -> dict[str, list[dict[str, Any]]]:
    """Of each parameter that was swept: its values, in their order, with what pictures score at each.

    A point: value, variant, recommended (the run's own setting), scores (column -> estimate) and change (the
    same of the difference to the recommended value, person by person: it is surer than two means are, since
    what makes a person easy falls out). Empty without a sweep.
    """
    pictures: dict[str, list[Picture]] = {}
    for picture in run.pictures:
        pictures.setdefault(picture.variant, []).append(picture)
    found = {}
    for parameter, values in (run.facts.get("sweep") or {}).items():
        points = [
            _point(value, variant, pictures, columns) for value, variant in values if pictures.get(variant)
        ]
        if len(points) > 1:
            found[parameter] = points
    return found


def _point(
    value: object, variant: str, pictures: Mapping[str, Sequence[Picture]], columns: Sequence[Column]
) -> dict[str, Any]:
    own, usual = pictures[variant], pictures.get("", ())
    return {
        "value": value,
        "variant": variant,
        "recommended": variant == "",
        "scores": estimates(own, columns),
        "change": {} if variant == "" else dict(_changes(own, usual, columns)),
    }


def _changes(
    pictures: Sequence[Picture], usual: Sequence[Picture], columns: Sequence[Column]
) -> Iterator[tuple[str, dict[str, Any]]]:
    for column in columns:
        change = difference(pictures, usual, column.name)
        if change is not None:
            yield column.name, asdict(change)


def difference(pictures: Sequence[Picture], before: Sequence[Picture], name: str) -> Estimate | None:
    """Mean over people of what `pictures` score above `before`, of prompts that both have; None: no such.

    Pictures of one person (or pair) and prompt are compared with each other, so both lists need only have
    some with this score in common.
    """
    ours, theirs = (
        {(p.subjects, p.template) for p in some if p.scores.get(name) is not None}
        for some in (pictures, before)
    )
    both = ours & theirs
    after, then = (
        per_person([p for p in some if (p.subjects, p.template) in both], name) for some in (pictures, before)
    )
    return Estimate.of([after[person] - then[person] for person in after if person in then])
