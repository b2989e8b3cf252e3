"""SCORES -> MEANS: over seeds, then prompts, then people."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from adaface.evaluation.records import Column, Picture
from adaface.evaluation.statistics import Estimate

Figures = dict[str, Any]  # column -> an estimate as JSON


def per_person(pictures: Iterable[Picture], name: str) -> dict[str, float]:
    """Mean of each person: over seeds, then over prompts. Pictures of several count for the first one."""
    groups: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for picture in pictures:
        value = picture.scores.get(name)
        if value is not None:
            groups[picture.subjects[0]][picture.template].append(value)
    return {
        person: float(np.mean([np.mean(values) for values in of_prompts.values()]))
        for person, of_prompts in groups.items()
    }


def with_values(columns: Iterable[Column], pictures: Sequence[Picture]) -> list[Column]:
    """The columns that at least one of the pictures has a value of."""
    return [c for c in columns if any(picture.scores.get(c.name) is not None for picture in pictures)]


def per_prompt(pictures: Iterable[Picture], name: str) -> dict[str, float]:
    """Mean over the seeds of each prompt template."""
    groups: dict[str, list[float]] = defaultdict(list)
    for picture in pictures:
        value = picture.scores.get(name)
        if value is not None:
            groups[picture.template].append(value)
    return {template: float(np.mean(values)) for template, values in groups.items()}


def estimates(pictures: Sequence[Picture], columns: Iterable[Column]) -> Figures:
    """Column -> mean over people with its interval, and how many people and pictures it is of."""
    found = {}
    for column in columns:
        estimate = mean_of(pictures, column)
        if estimate is not None:
            scored = sum(picture.scores.get(column.name) is not None for picture in pictures)
            found[column.name] = {**asdict(estimate), "people": estimate.n, "pictures": scored}
            found[column.name]["seed_sd"] = seed_sd(pictures, column.name)
    return found


def mean_of(pictures: Iterable[Picture], column: Column) -> Estimate | None:
    """Mean of a score over people with its interval; None: no picture has it."""
    return bounded(Estimate.of(per_person(pictures, column.name).values()), column)


def seed_sd(pictures: Iterable[Picture], name: str) -> float | None:
    """Standard deviation between the seeds of a person and prompt, pooled: how little one picture says.

    None: no prompt has two seeds with a value.
    """
    groups: dict[object, list[float]] = defaultdict(list)
    for picture in pictures:
        value = picture.scores.get(name)
        if value is not None:
            groups[picture.group].append(value)
    variances = [float(np.var(values, ddof=1)) for values in groups.values() if len(values) > 1]
    return float(np.sqrt(np.mean(variances))) if variances else None


def bounded(estimate: Estimate | None, column: Column) -> Estimate | None:
    """The same with no end of its interval where the score cannot be."""
    if estimate is None or estimate.low is None or estimate.high is None:
        return estimate
    return Estimate(estimate.mean, max(column.low, estimate.low), min(column.high, estimate.high), estimate.n)
