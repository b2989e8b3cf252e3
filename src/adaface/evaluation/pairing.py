"""RUNS -> DIFFERENCES: what runs have in common, and how they differ on it, person by person."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from adaface.errors import ConfigError
from adaface.evaluation.curves import difference
from adaface.evaluation.folder import OpenedRun, open_run
from adaface.evaluation.means import estimates, per_person, with_values
from adaface.evaluation.records import Column, Picture
from adaface.evaluation.scores.columns import RETRIEVAL
from adaface.evaluation.statistics import Estimate
from adaface.evaluation.summary import between, identity_column, text_column

NOTHING = 1e-6  # a difference below it is of the arithmetic: other batches, another order of sums
Pair = tuple[tuple[str, ...], str]  # subjects and template: what two runs must both have


@dataclass(frozen=True, eq=False)
class Common:
    """What runs have in common: their columns, and the pictures of each that are compared, by its name."""

    columns: tuple[Column, ...]
    pictures: Mapping[str, list[Picture]]
    notes: tuple[str, ...]


def named(folders: Sequence[str | Path]) -> dict[str, OpenedRun]:
    """Runs by the shortest names that tell them apart. Raises ConfigError: fewer than two, or one twice."""
    places = [Path(folder).resolve() for folder in folders]
    if len(places) < 2:
        raise ConfigError(f"{len(places)} run to compare: give the folders of two or more")
    twice = {place for place in places if places.count(place) > 1}
    if twice:
        raise ConfigError(f"{min(twice)}: given twice. Give each run once")
    depth = 1
    while len({place.parts[-depth:] for place in places}) < len(places):
        depth += 1
    return {"/".join(place.parts[-depth:]): open_run(place) for place in places}


def common(runs: Mapping[str, OpenedRun]) -> Common:
    """What is compared. Raises ConfigError: nothing is common to all runs."""
    own = {name: run.own for name, run in runs.items()}
    others = sorted(_other_people(runs))
    pairs = {name: {_pair(p) for p in some} for name, some in own.items()}
    shared = {pair for pair in set.intersection(*pairs.values()) if not set(pair[0]) & set(others)}
    if not shared:
        told = "; ".join(f"{name}: {_people(some)}" for name, some in own.items())
        photos = f", and {', '.join(others)} are scored with other photos" if others else ""
        raise ConfigError(
            f"no prompt of one person is in all runs ({told}){photos}. Draw the same people with the same "
            "prompts, and score them with the same photos"
        )
    columns = _columns(runs)
    notes = [*_not_common(pairs, shared), *_scorers(runs), *_left_out(runs, columns), *_relative(runs)]
    if others:
        notes.insert(0, f"People of one name with other scoring photos, left out: {', '.join(others)}")
    kept = {name: [p for p in some if _pair(p) in shared] for name, some in own.items()}
    paired, by_seed = _by_seed(kept)
    seeds = "person, prompt and seed" if by_seed else "person and prompt, since their seeds differ"
    notes.append(f"Pictures are paired by {seeds}")
    return Common(columns, paired, tuple(notes))


def differences(runs: Mapping[str, OpenedRun], both: Common) -> dict[str, Any]:
    """Means of every run and, of all but the first, differences to the first."""
    first, *rest = both.pictures
    kinds: dict[str, set[Pair]] = {}
    for picture in both.pictures[first]:  # another run may not say of which kind a prompt is
        kinds.setdefault(picture.kind, set()).add(_pair(picture))
    has = list(both.columns)
    for pictures in both.pictures.values():
        has = with_values(has, pictures)
    identity, text = identity_column(has), text_column(has)
    return {
        "format": "adaface-evaluation-comparison",
        "version": 1,
        "runs": {
            name: {
                **_about(run, both.pictures[name]),
                "between": between(run, both.pictures[name], identity) if identity else None,
            }
            for name, run in runs.items()
        },
        "columns": {column.name: asdict(column) for column in both.columns},
        "identity": identity and identity.name,
        "text": text and text.name,
        "first": first,
        "means": {name: estimates(some, both.columns) for name, some in both.pictures.items()},
        "differences": {name: _against(both, name, first, None) for name in rest},
        "kinds": {
            kind: {name: _against(both, name, first, pairs) for name in rest} for kind, pairs in kinds.items()
        },
        "notes": list(both.notes),
    }


def _against(both: Common, name: str, first: str, pairs: set[Pair] | None) -> dict[str, Any]:
    ours, theirs = (
        [p for p in both.pictures[run] if pairs is None or _pair(p) in pairs] for run in (name, first)
    )
    found = {}
    for column in both.columns:
        change = difference(ours, theirs, column.name)
        if change is not None:
            found[column.name] = {
                **asdict(change),
                "verdict": verdict(change, column),
                "people_higher": _higher(ours, theirs, column.name),
            }
    return found


def verdict(change: Estimate, column: Column) -> str:
    """better or worse; higher or lower of a score without a good side; "not sure": its interval has 0.

    "none": no difference but what the arithmetic makes.
    """
    if max(abs(value or 0.0) for value in (change.mean, change.low, change.high)) < NOTHING:
        return "none"
    if change.low is None or change.high is None or change.low <= 0 <= change.high:
        return "not sure"
    if column.better == "neither":
        return "higher" if change.mean > 0 else "lower"
    return "better" if (change.mean > 0) == (column.better == "higher") else "worse"


def _higher(ours: Sequence[Picture], theirs: Sequence[Picture], name: str) -> float | None:
    after, before = per_person(ours, name), per_person(theirs, name)
    signs = [_sign(after[person] - before[person]) for person in after if person in before]
    return float(np.mean([(sign + 1) / 2 for sign in signs])) if signs else None


def _sign(change: float) -> float:
    return 0.0 if abs(change) < NOTHING else float(np.sign(change))


def _pair(picture: Picture) -> Pair:
    return picture.subjects, picture.template


def _by_seed(pictures: Mapping[str, list[Picture]]) -> tuple[dict[str, list[Picture]], bool]:
    """The same with the seeds alone that all runs have of a pair, where every pair has some."""
    keys = [{(*_pair(p), p.seed) for p in some} for some in pictures.values()]
    shared = set.intersection(*keys)
    if {key[:2] for key in shared} != {_pair(p) for some in pictures.values() for p in some}:
        return dict(pictures), False
    return {name: [p for p in some if (*_pair(p), p.seed) in shared] for name, some in pictures.items()}, True


def _columns(runs: Mapping[str, OpenedRun]) -> tuple[Column, ...]:
    """Columns that all runs have and define alike. A retrieval among other prompts is easier or harder."""
    first, *rest = runs.values()
    retrieval = {column.name for column in RETRIEVAL} if _prompts_differ(runs) else set()
    others = [{column.name: column for column in run.columns} for run in rest]
    return tuple(
        column
        for column in first.columns
        if column.name not in retrieval
        and all(
            column.name in names and names[column.name].definition == column.definition for names in others
        )
    )


def _prompts_differ(runs: Mapping[str, OpenedRun]) -> bool:
    drawn = (
        {one["text"] for one in run.facts.get("templates", ())} or {one.template for one in run.pictures}
        for run in runs.values()
    )
    return len(set(map(frozenset, drawn))) > 1


def _left_out(runs: Mapping[str, OpenedRun], columns: Sequence[Column]) -> Iterator[str]:
    kept = {column.name for column in columns}
    dropped = {column.name for run in runs.values() for column in run.columns} - kept
    if dropped:
        yield (
            "Scores that not every run has, that are defined differently, or choose among other prompts: "
            + ", ".join(sorted(dropped))
        )


def _not_common(pairs: Mapping[str, set[Pair]], shared: set[Pair]) -> Iterator[str]:
    for name, own in pairs.items():
        rest = own - shared
        if rest:
            people = {subjects[0] for subjects, _ in rest} - {subjects[0] for subjects, _ in shared}
            also = f" (all of {', '.join(sorted(people)[:6])})" if people else ""
            yield f"{name}: {len(rest)} of its {len(own)} person-prompt pairs are not in every run{also}"


def _scorers(runs: Mapping[str, OpenedRun]) -> Iterator[str]:
    provenance = {name: run.facts.get("provenance", {}) for name, run in runs.items()}
    models = {model for one in provenance.values() for model in one}
    for model in sorted(models):
        if len({str(one.get(model)) for one in provenance.values()}) > 1:
            yield f"The runs were scored with different {model}: differences in its scores say nothing"


def _relative(runs: Mapping[str, OpenedRun]) -> Iterator[str]:
    casts = [{subject["name"]: _photos(subject) for subject in run.subjects} for run in runs.values()]
    if any(cast != casts[0] for cast in casts):
        yield "Margins are over the other people of each run, and they or their photos differ between runs"


def _photos(subject: Mapping[str, Any]) -> frozenset[str]:
    """Digests of the photos that score a subject."""
    photos = subject.get("scored") or subject.get("given") or []
    return frozenset(photo["sha256"] for photo in photos if photo.get("sha256"))


def _other_people(runs: Mapping[str, OpenedRun]) -> set[str]:
    """Names under which runs score with other photos, so that their likeness is to somebody else."""
    seen: dict[str, frozenset[str]] = {}
    others = set()
    for run in runs.values():
        for subject in run.subjects:
            digests = _photos(subject)
            if digests and seen.setdefault(subject["name"], digests) != digests:
                others.add(subject["name"])
    return others


def _people(pictures: Sequence[Picture]) -> str:
    names = sorted({picture.subjects[0] for picture in pictures})
    return ", ".join(names[:4]) + (", ..." if len(names) > 4 else "") if names else "no pictures"


def _about(run: OpenedRun, pictures: Sequence[Picture]) -> dict[str, Any]:
    return {
        "folder": str(run.folder),
        "stack": run.facts.get("stack", {}).get("name"),
        "external": bool(run.facts.get("external")),
        "settings": dict(run.facts.get("settings", {})),
        "base": run.base,
        "pictures": len(pictures),
        "people": len({picture.subjects[0] for picture in pictures}),
    }
