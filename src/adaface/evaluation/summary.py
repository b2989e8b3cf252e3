"""RUN -> FIGURES: every score as a mean with its interval, by person, prompt, kind and variant."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from itertools import product
from typing import Any

import numpy as np

from adaface.evaluation.anchors import OTHER, SAME
from adaface.evaluation.curves import curves
from adaface.evaluation.folder import OpenedRun
from adaface.evaluation.honesty import not_measured, notes
from adaface.evaluation.means import Figures, bounded, estimates, mean_of, per_person, per_prompt, with_values
from adaface.evaluation.records import Column, Picture
from adaface.evaluation.statistics import Estimate, share, widened

CASES = 8  # best and worst pictures that are named


def summarize(run: OpenedRun) -> dict[str, Any]:
    """All figures of a run, ready for JSON.

    overall: of the run's own settings; variants, kinds, prompts, people: the same for each of them. The
    interval of a person is over prompts, every other one over people. anchors: what photos score, and where
    the pictures lie between them. best, worst: pictures by the columns of `identity` and `text`.
    """
    columns = run.columns
    own = run.own
    has = with_values(columns, own)
    identity, text = identity_column(has), text_column(has)
    return {
        "format": "adaface-evaluation-summary",
        "version": 1,
        "run": run.name,
        "counts": counts(run),
        "columns": {column.name: asdict(column) for column in columns},
        "identity": identity and identity.name,
        "text": text and text.name,
        "base": run.base,
        "overall": estimates(own, columns),
        "anchors": anchored(run),
        "variants": _by(run.pictures, lambda picture: picture.variant, columns),
        "kinds": _by(own, lambda picture: picture.kind, columns),
        "kinds_between": kinds_between(run, identity),
        "prompts": _by(own, lambda picture: picture.template, columns),
        "people": _people(own, columns),
        "curves": curves(run, columns),
        "worst": {column.name: cases(own, column, worst=True) for column in (identity, text) if column},
        "best": {column.name: cases(own, column, worst=False) for column in (identity, text) if column},
        "without_face": [picture.file for picture in own if picture.scores.get("face_found") == 0],
        "unscored": [{"file": p.file, "error": p.error} for p in own if not p.scores],
        "not_measured": not_measured(run),
        "notes": notes(run),
    }


def identity_column(columns: Sequence[Column]) -> Column | None:
    """The score that says whether it is the person: of the recogniser that no training has seen, if any."""
    names = [c for c in columns if c.name.startswith("similarity") and c.name != "similarity_given"]
    return next((c for c in names if c.name != "similarity"), names[0] if names else None)


def text_column(columns: Sequence[Column]) -> Column | None:
    """The score that says whether the picture fits its words."""
    return next((column for column in columns if column.name == "clip_t"), None)


def counts(run: OpenedRun) -> dict[str, int]:
    """How many of what the figures are of."""
    own = run.own
    return {
        "pictures": len(own),
        "people": len({picture.subjects[0] for picture in own}),
        "prompts": len({picture.template for picture in own}),
        "seeds": len({picture.seed for picture in own}),
        "all_pictures": len(run.pictures),
        "without_face": sum(picture.scores.get("face_found") == 0 for picture in own),
        "unscored": sum(not picture.scores for picture in own),
        "dropped_lines": run.dropped,
    }


def anchored(run: OpenedRun) -> dict[str, Any]:
    """Column -> what photos of the same subject score (same), what others' photos do (other), and more.

    swapped: what the same pictures score against the other subjects' photos, as far as the run tells (a
    similarity minus its margin): what any face by this method gets. between: where the pictures lie from a
    face of nobody in particular (0) to the person's own photos (1). nearer: share of pictures that are nearer
    to their person than to the others. photos_apart: share of pairs in which a photo of the person scores
    above one of somebody else: whether the score can tell these people apart at all.
    """
    kinds = {kind: [photo for photo in run.anchors if photo.kind == kind] for kind in (SAME, OTHER)}
    found = {}
    for column in run.columns:
        if not column.anchored:
            continue
        found[column.name] = {
            **{kind: _row(mean_of(photos, column)) for kind, photos in kinds.items()},
            "swapped": _row(mean_of(against_others(run.own, column.name), column)),
            "between": between(run, run.own, column),
            "nearer": _nearer(run.own, margin_of(column.name)),
            "photos_apart": _row(_above(kinds[SAME], kinds[OTHER], column.name)),
        }
    return found


def kinds_between(run: OpenedRun, identity: Column | None) -> Figures:
    """`between` of the identity column for each kind of prompt that has it."""
    if identity is None or not identity.anchored:
        return {}
    kinds = dict.fromkeys(picture.kind for picture in run.own)
    rows = {kind: between(run, [p for p in run.own if p.kind == kind], identity) for kind in kinds}
    return {kind: row for kind, row in rows.items() if row is not None}


def margin_of(name: str) -> str:
    """The margin that belongs to a similarity: similarity_dlib -> margin_dlib."""
    return name.replace("similarity", "margin", 1) if name.startswith("similarity") else ""


def against_others(pictures: Sequence[Picture], name: str) -> list[Picture]:
    """The pictures with their mean similarity to the other subjects' photos as `name`, where it is known."""
    pairs = [(picture, picture.scores.get(name), picture.scores.get(margin_of(name))) for picture in pictures]
    return [
        replace(picture, scores={name: value - margin})
        for picture, value, margin in pairs
        if value is not None and margin is not None
    ]


def _nearer(own: Sequence[Picture], margin: str) -> Figures | None:
    """A picture without a face has the margin 0, and is not nearer."""
    nearer = [
        replace(picture, scores={margin: float(value > 0)})
        for picture in own
        if (value := picture.scores.get(margin)) is not None
    ]
    return _row(mean_of(nearer, Column(margin, "", "")))


def between(run: OpenedRun, pictures: Sequence[Picture], column: Column) -> Figures | None:
    """Where pictures lie from a face of nobody in particular (0) to other photos of the person (1).

    By the margin of a similarity, which is 0 for nobody in particular; of other scores by what chance gives,
    or else by what photos of other people score. None: there are not two people with such photos.
    """
    name, floor = column.name, column.chance
    if margin_of(name) in {one.name for one in run.columns}:
        name, floor = margin_of(name), 0.0
    drawn = per_person(pictures, name)
    same, other = (per_person([p for p in run.anchors if p.kind == k], name) for k in (SAME, OTHER))
    floors = other if floor is None else dict.fromkeys(drawn, floor)
    names = [person for person in drawn if person in same and person in floors]
    if len(names) < 2:
        return None
    part = np.array([drawn[person] - floors[person] for person in names])
    whole = np.array([same[person] - floors[person] for person in names])
    if whole.mean() <= 0:  # the score cannot tell the photos apart: no share of nothing
        return None
    return _row(Estimate(*widened(share(part, whole), len(names)), len(names)))


def _above(high: Sequence[Picture], low: Sequence[Picture], name: str) -> Estimate | None:
    """Share of pairs of one person, half for a tie, averaged over people."""
    shares = []
    for person in {picture.subjects[0] for picture in high}:
        ours, theirs = (
            [value for p in some if p.subjects[0] == person and (value := p.scores.get(name)) is not None]
            for some in (high, low)
        )
        pairs = [float(a > b) + float(a == b) / 2 for a, b in product(ours, theirs)]
        if pairs:
            shares.append(float(np.mean(pairs)))
    return bounded(Estimate.of(shares), Column("share", "", ""))


def _row(estimate: Estimate | None) -> Figures | None:
    return None if estimate is None else asdict(estimate)


def _by(
    pictures: Sequence[Picture], key: Callable[[Picture], str], columns: Sequence[Column]
) -> dict[str, Figures]:
    groups: dict[str, list[Picture]] = defaultdict(list)
    for picture in pictures:
        groups[key(picture)].append(picture)
    return {name: estimates(some, columns) for name, some in groups.items()}


def _people(pictures: Sequence[Picture], columns: Sequence[Column]) -> dict[str, Figures]:
    """As `_by`, with intervals over the prompts of each person."""
    groups: dict[str, list[Picture]] = defaultdict(list)
    for picture in pictures:
        groups[picture.subjects[0]].append(picture)
    found: dict[str, Figures] = {}
    for name, some in groups.items():
        found[name] = {}
        for column in columns:
            estimate = bounded(Estimate.of(per_prompt(some, column.name).values()), column)
            if estimate is not None:
                found[name][column.name] = {**asdict(estimate), "prompts": estimate.n}
    return found


def cases(pictures: Sequence[Picture], column: Column, *, worst: bool, most: int = CASES) -> list[Figures]:
    """The pictures at one end of a score, the outermost first. Equal ones come in the order of the run."""
    scored = [(value, p) for p in pictures if (value := p.scores.get(column.name)) is not None]
    upward = worst == (column.better != "lower")
    scored.sort(key=lambda one: one[0] if upward else -one[0])
    return [
        {
            "value": value,
            "file": picture.file,
            "subjects": list(picture.subjects),
            "prompt": picture.prompt,
            "seed": picture.seed,
            "scores": dict(picture.scores),
        }
        for value, picture in scored[:most]
    ]
