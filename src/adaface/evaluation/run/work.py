"""The work of a run: pictures are drawn, saved, scored, part by part, and noted as soon as they are done."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from adaface.errors import ImageError
from adaface.evaluation.anchors import anchors
from adaface.evaluation.folder import ANCHORS, MANIFEST, line, read_pictures
from adaface.evaluation.records import Case, Picture, Scorer, Scores, World
from adaface.evaluation.run.begin import append
from adaface.evaluation.run.plan import Unit
from adaface.evaluation.run.request import Tell
from adaface.face.images import load_image
from adaface.files import sha256, write_atomic, write_text
from adaface.identity.files import Identity
from adaface.pipelines.generation import Generation
from adaface.pipelines.personalizer import Personalizer
from adaface.pipelines.settings import Settings

Key = tuple[str, tuple[str, ...], str, int]
SCORED_AT_ONCE = 32  # pictures, in whole groups of seeds


@dataclass(eq=False)
class Book:
    """The manifest of a run while it goes: every picture that is known, by its key.

    dropped: half-written lines that were found.
    """

    folder: Path
    known: dict[Key, Picture] = field(default_factory=dict)
    dropped: int = 0

    @classmethod
    def open(cls, folder: Path) -> "Book":
        """What was done before; a half-written line is taken away. Raises FormatError: a damaged manifest."""
        path = folder / MANIFEST
        if not path.is_file():
            return cls(folder)
        pictures, dropped = read_pictures(path)
        book = cls(folder, {picture.key: picture for picture in pictures}, dropped)
        if dropped:
            book.rewrite(pictures)
        return book

    def missing(self, pictures: Sequence[Picture]) -> list[Picture]:
        """Those that are not drawn, or do not lie there as they were."""
        return [one for one in pictures if not is_there(self.folder, self.known.get(one.key))]

    def look_at(self, pictures: Sequence[Picture]) -> list[Picture]:
        """Note pictures that somebody else made, where they are new or have changed; these are returned."""
        known = [self.known.get(one.key) for one in pictures]
        new = [
            one
            for one, was in zip(pictures, known, strict=True)
            if was is None or (was.sha256, was.file) != (one.sha256, one.file)
        ]
        self.note(new)
        return new

    def forget_scores(self) -> None:
        """As if nothing had been scored, on the disk too: a stop would mix old and new. Raises WriteError."""
        self.known = {key: replace(one, scores={}) for key, one in self.known.items()}
        self.rewrite(list(self.known.values()))

    def note(self, pictures: Sequence[Picture]) -> None:
        """Add lines; a later line of the same picture counts. Raises WriteError."""
        self.known |= {picture.key: picture for picture in pictures}
        append(self.folder / MANIFEST, "".join(map(line, pictures)))

    def rewrite(self, pictures: Sequence[Picture]) -> None:
        """All lines anew, in this order. Raises WriteError."""
        write_text(self.folder / MANIFEST, "".join(map(line, pictures)))


@dataclass(eq=False)
class Clock:
    """Seconds and pictures of drawing and of scoring, those of earlier starts included.

    photos_s: seconds that the scorers looked at photos, which every run has to pay once: those that score,
    and those that are scored as if they were pictures.
    """

    draw_s: float = 0.0
    drawn: int = 0
    score_s: float = 0.0
    scored: int = 0
    photos_s: float = 0.0

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> "Clock":
        """What `to_json` gave; entries that are no numbers begin anew."""
        return cls(**{name: told[name] for name in vars(cls()) if isinstance(told.get(name), int | float)})

    def to_json(self) -> dict[str, float]:
        """Plain values for run.json."""
        return {name: round(value, 3) for name, value in vars(self).items()}

    @contextmanager
    def counted(self, name: str) -> Iterator[None]:
        """Add the seconds that are spent inside to `name`; what is broken off does not count."""
        started = time.perf_counter()
        yield
        setattr(self, name, getattr(self, name) + time.perf_counter() - started)


def is_there(folder: Path, picture: Picture | None) -> bool:
    """Whether a picture was drawn, and lies there as it was."""
    if picture is None or picture.error:
        return False
    path = folder / picture.file
    return path.is_file() and sha256(path) == picture.sha256


class Painter:
    """Draws what is missing of a plan."""

    def __init__(
        self,
        personalizer: Personalizer,
        people: Mapping[str, Identity],
        variants: Mapping[str, Settings],
        book: Book,
    ) -> None:
        """people: the identity of each subject, by name. variants: settings by name."""
        self.personalizer, self.people, self.variants, self.book = personalizer, people, variants, book
        self.notes: list[str] = []

    def __call__(self, unit: Unit, missing: Sequence[Picture]) -> None:
        """Draw and save `missing`, pictures of the unit; each is noted when its batch is done.

        Raises as `Personalizer.generate`, and WriteError.
        """
        by_prompt: dict[tuple[str, str], list[Picture]] = {}
        for picture in missing:
            by_prompt.setdefault((picture.template, picture.prompt), []).append(picture)
        alike: dict[tuple[int, ...], list[list[Picture]]] = {}  # prompts that miss the same seeds
        for pictures in by_prompt.values():
            alike.setdefault(tuple(picture.seed for picture in pictures), []).append(pictures)
        settings = self.variants[unit.variant]
        for seeds, prompts in alike.items():
            for start, count in _stretches(seeds):
                self._draw(settings, unit.cast, [row[start : start + count] for row in prompts])

    def _draw(self, settings: Settings, cast: Sequence[str], rows: Sequence[Sequence[Picture]]) -> None:
        """rows: for each prompt its pictures, the same seeds one after another."""
        coming = iter([picture for row in rows for picture in row])
        told = settings.to_json()

        def save(batch: Generation) -> None:
            done = []
            for image, seed in zip(batch.images, batch.seeds, strict=True):
                picture = next(coming)
                assert picture.seed == seed
                path = self.book.folder / picture.file
                write_atomic(path, partial(image.save, format="PNG"))
                done.append(replace(picture, sha256=sha256(path), settings=told))
            self.book.note(done)

        given = {name: value for name, value in vars(settings).items() if value is not None}
        made = self.personalizer.generate(
            [row[0].prompt for row in rows],
            [self.people[name] for name in cast],
            num_images=len(rows[0]),
            seed=rows[0][0].seed,
            on_batch=save,
            **{"negative_prompt": settings.negative_prompt, **given},
        )
        self.notes += [note for note in made.notes if note not in self.notes]


def _stretches(seeds: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Where runs of consecutive seeds begin in `seeds`, and how long they are."""
    start = 0
    for k in range(1, len(seeds) + 1):
        if k == len(seeds) or seeds[k] != seeds[k - 1] + 1:
            yield start, k - start
            start = k


class Judge:
    """All scorers as one."""

    def __init__(self, scorers: Sequence[Scorer], world: World, clock: Clock) -> None:
        """Looks at the photos of all subjects; `notes` is what the scorers say of them."""
        self.scorers, self.world, self.clock = scorers, world, clock
        with clock.counted("photos_s"):
            self.notes = [note for scorer in scorers for note in scorer.begin(world)]
        self.columns = [column for scorer in scorers for column in scorer.columns]
        self.provenance = {name: value for scorer in scorers for name, value in scorer.provenance.items()}

    def __call__(self, folder: Path, pictures: Sequence[Picture]) -> list[Picture]:
        """The pictures with their scores; one that cannot be read says so in `error` and has none."""
        images = {file: _open(folder / file) for file in dict.fromkeys(one.file for one in pictures)}
        opened = [_case(picture, images[picture.file]) for picture in pictures]
        cases = [one for one in opened if isinstance(one, Case)]
        scores = iter(self._scores(cases))
        return [replace(one.picture, scores=next(scores)) if isinstance(one, Case) else one for one in opened]

    def is_scored(self, picture: Picture) -> bool:
        """Whether the picture has all scores already."""
        return picture.scores.keys() >= {column.name for column in self.columns}

    def _scores(self, cases: Sequence[Case]) -> list[Scores]:
        merged: list[dict[str, float | None]] = [{} for _ in cases]
        if not cases:
            return []
        for scorer in self.scorers:
            for row, found in zip(merged, scorer(cases), strict=True):
                row.update(found)
        return list(merged)


def _open(path: Path) -> Image.Image | str:
    """The picture, or why it cannot be opened."""
    try:
        return Image.fromarray(load_image(path))
    except ImageError as error:
        return " ".join(str(error).split())


def _case(picture: Picture, image: Image.Image | str) -> Case | Picture:
    if isinstance(image, str):
        return replace(picture, error=image, scores={})
    return Case(replace(picture, error=""), image)


def score_all(book: Book, pictures: Sequence[Picture], judge: Judge) -> None:
    """Score those of `pictures` that have no scores yet, with all seeds of their groups, and note them."""
    current = [book.known[picture.key] for picture in pictures if picture.key in book.known]
    waiting = {one.group for one in current if not one.error and not judge.is_scored(one)}
    todo = [one for one in current if one.group in waiting]
    for part in _parts(todo, lambda one: one.group):
        with judge.clock.counted("score_s"):
            judged = judge(book.folder, part)
            book.note(judged)
        judge.clock.scored += sum(not one.error for one in judged)


def _parts(pictures: Sequence[Picture], key: Callable[[Picture], object]) -> Iterator[list[Picture]]:
    """Parts of bounded size that tear no group of pictures of one `key` apart."""
    groups: dict[object, list[Picture]] = {}
    for picture in pictures:
        groups.setdefault(key(picture), []).append(picture)
    part: list[Picture] = []
    for group in groups.values():
        if part and len(part) + len(group) > SCORED_AT_ONCE:
            yield part
            part = []
        part += group
    if part:
        yield part


def work_through(
    book: Book,
    units: Sequence[Unit],
    missing: Sequence[Picture],
    painter: Painter | None,
    judge: Judge,
    tell: Tell,
) -> None:
    """Draw what is missing and score it, one cast of one variant after another; no painter draws nothing."""
    done, total = 0, sum(len(unit.pictures) for unit in units)
    wanted, clock = {picture.key for picture in missing}, judge.clock
    waiting: list[Picture] = []  # drawn, and not looked at by the scorers, which like many at once
    for unit in units:
        if painter is not None:
            new = [picture for picture in unit.pictures if picture.key in wanted]
            with clock.counted("draw_s"):
                painter(unit, new)
            clock.drawn += len(new)
        waiting += unit.pictures
        if len(waiting) >= SCORED_AT_ONCE:
            score_all(book, waiting, judge)
            waiting = []
        done += len(unit.pictures)
        tell("Drawing and scoring" if painter is not None else "Scoring", done, total)
    score_all(book, waiting, judge)


def score_anchors(folder: Path, judge: Judge, seed: int) -> None:
    """Score photos as if they were pictures, where a start before has not, and write them to anchors.jsonl.

    Photos that cannot be read are left out. Raises WriteError. FormatError: a damaged anchors.jsonl.
    """
    path, photos = folder / ANCHORS, anchors(judge.world, seed)
    before = read_pictures(path)[0] if path.is_file() else []
    known = {(one.key, one.file): one for one in before if judge.is_scored(one)}
    new = [one for one in photos if (one.key, one.file) not in known]
    with judge.clock.counted("photos_s"):
        parts = _parts(new, lambda one: one.file)  # who stands for several people is looked at once
        judged = [one for part in parts for one in judge(folder, part)]
    known |= {(one.key, one.file): one for one in judged if not one.error}
    found = [known[one.key, one.file] for one in photos if (one.key, one.file) in known]
    write_text(path, "".join(map(line, found)))
