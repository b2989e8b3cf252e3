"""Samples of coming steps, read in the background, so that the device does not wait. Shapes: B, S, h x w."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Generator

from adaface.training.plan import Part, StepPlan

T = TypeVar("T")


class Loader(Generic[T]):
    """Reads samples in threads: pictures are decoded and augmented outside of Python's lock.

    waited: seconds that `take` had to wait for the readers so far.
    """

    def __init__(self, load: Callable[[int, int], T], workers: int = 2) -> None:
        """load: row and seed -> sample; called in several threads. workers: 0 reads when it is asked for."""
        self._load = load
        self._pool = ThreadPoolExecutor(workers, "adaface-read") if workers else None
        self._coming: dict[tuple[int, int], Future[T]] = {}
        self.waited = 0.0

    def prepare(self, plan: StepPlan, part: Part) -> None:
        """Begin to read this part of a plan; returns at once."""
        if self._pool is None:
            return
        for index in part.take(range(len(plan.rows))):
            key = (plan.step, index)
            if key not in self._coming:
                self._coming[key] = self._pool.submit(self._load, plan.rows[index], plan.seeds[index])

    def take(self, plan: StepPlan, part: Part) -> list[T]:
        """The samples of this part of a plan, in its order, prepared before or not. Raises what reading
        raises.
        """
        started = time.monotonic()
        samples = [self._take(plan, index) for index in part.take(range(len(plan.rows)))]
        self.waited += time.monotonic() - started
        return samples

    def close(self) -> None:
        """Stop the threads; what was prepared and not taken is forgotten."""
        self._coming.clear()
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def _take(self, plan: StepPlan, index: int) -> T:
        coming = self._coming.pop((plan.step, index), None)
        return self._load(plan.rows[index], plan.seeds[index]) if coming is None else coming.result()


class PeopleSampler:
    """Draws rows of a data set: first a person, then one of their photos.

    A person of n photos is drawn with a weight of n ** balance: 1 draws each photo alike, 0 each person. A
    folder of many people counts by its photos whatever the balance is. Source: AdaFace's sampler, which is
    balance 1; docs/method.md.
    """

    def __init__(self, people: ArrayLike, mixed: Sequence[bool], balance: float) -> None:
        """people: number of the person of each row. mixed: for each person's number, is it a mixed folder?"""
        order = np.asarray(people)
        self._rows = np.argsort(order, kind="stable")  # grouped by person
        counts = np.bincount(order, minlength=len(mixed))
        self._starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
        self._counts = counts
        weights = np.where(np.asarray(mixed), counts, counts.astype(np.float64) ** balance)
        weights = np.where(counts > 0, weights, 0.0)
        self._bounds = np.cumsum(weights) / weights.sum()

    def draw(self, count: int, generator: Generator) -> tuple[int, ...]:
        """Rows of `count` photos, with replacement."""
        which, where = torch.rand(2, count, generator=generator, dtype=torch.float64).numpy()
        person = np.minimum(np.searchsorted(self._bounds, which, side="right"), len(self._bounds) - 1)
        photo = (where * self._counts[person]).astype(np.int64)
        return tuple(int(row) for row in self._rows[self._starts[person] + photo])
