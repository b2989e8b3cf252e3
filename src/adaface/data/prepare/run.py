"""Folders of photos -> a data set in a folder: looks in parallel, judgement, report, shards.

OUT holds prepare.json from the first moment on, which makes the folder ours, and .work while photos are
looked at; dataset.json comes last. An interrupted run goes on where it was.
"""

import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from adaface.data.executors import run_chunks
from adaface.data.layout import CARD
from adaface.data.original_layout import PERSON_TYPES, Metainfo, read_person_types, write_person_types
from adaface.data.prepare.export import (
    Kept,
    drop_original_layout,
    entry_of,
    kept_photos,
    write_original_layout,
)
from adaface.data.prepare.judging.identity import ASSUMED, IdentityThreshold, measured, threshold_of
from adaface.data.prepare.judging.judge import Verdict, judge
from adaface.data.prepare.judging.people import nobody, read_written, summarize
from adaface.data.prepare.looking.stage import NamedAnalyzer, Stage, clear, clear_half_done, read_chunk
from adaface.data.prepare.outputs import (
    DONE,
    LOOKS_KEPT,
    NOTE,
    WORK,
    begin,
    check_places,
    locked,
    write_note,
)
from adaface.data.prepare.settings import PrepareSettings, digest, looking
from adaface.data.prepare.sources import Found, find_photos
from adaface.data.prepare.telling.report import HTML, JSONL, Report, write_report
from adaface.data.prepare.telling.sheet import SHEET, spread, write_sheet
from adaface.data.record import Chunk, Look, Photo
from adaface.data.shards import ShardWriter
from adaface.errors import ConfigError, NothingKeptError
from adaface.face.analyzer import FaceAnalyzer
from adaface.face.recognize import RecognizerSpec
from adaface.face.traits.age_gender import AgeGenderBackend
from adaface.face.traits.parse import FaceParser
from adaface.face.types import FaceRecognizer
from adaface.files import half_written

CHUNK, FEW, SMALL_CHUNK = 64, 1024, 8  # photos a chunk; of few, smaller ones, so that all workers have some
NAMED = 3  # folders that the console names; the report names all
BYTES_A_PIXEL = 0.6  # of a crop with its mask, encoded: from 0.3 of small old photos to 1 of sharp ones
Runner = Callable[[Sequence[Chunk], Stage], None]
Tell = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is to be prepared, and where to.

    out: the folder for the data set. data_roots, mixed_roots: as of
    `adaface.data.prepare.sources.find_photos`. analyzer, parser, traits: make the networks in each worker,
    so they must be picklable. person_types: a JSON file, folder name -> class word. original_layout: write
    the original's own layout as well, below out/original. restart: make anew what is in `out`. keep_looks:
    keep what was seen, in out/.work, so that a restart with other thresholds looks at no photo again.
    """

    out: Path
    data_roots: Sequence[str | Path] = ()
    mixed_roots: Sequence[str | Path] = ()
    settings: PrepareSettings = field(default_factory=PrepareSettings)
    analyzer: Callable[[], FaceAnalyzer] = field(default_factory=NamedAnalyzer)
    parser: Callable[[], FaceParser] | None = None
    traits: Callable[[], AgeGenderBackend] | None = None
    person_types: Path | None = None
    original_layout: bool = False
    restart: bool = False
    keep_looks: bool = False


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What came out. rejected: code -> number of photos. empty: people without a photo. passed_over: files
    that are no photos. hash: of the index; the data set's name. fresh: False if it was finished before.
    """

    out: Path
    photos: int
    kept: int
    people: int
    rejected: Mapping[str, int]
    empty: Sequence[str]
    passed_over: int
    hash: str
    fresh: bool = True


def prepare(request: Request, run: Runner = run_chunks, tell: Tell = lambda words: None) -> Prepared:
    """Make the data set; the same request goes on after an interruption.

    run: calls the stage's worker with every chunk: `adaface.data.executors.run_chunks`, with workers and a
    bar if need be, or `adaface.data.executors.on_ray.run_chunks_on_ray`. tell: is told in words what is
    being done. Raises ConfigError, MissingFileError: folders or settings that do not fit. FormatError: a
    file of facts is damaged. WriteError: no room; what is done is kept. ImageError: a file cannot be read
    just now; the same. NothingKeptError: no photo is fit; the report says why.
    """
    out = Path(request.out).expanduser().resolve()  # workers may stand in another folder
    found = find_photos(request.data_roots, request.mixed_roots)
    check_places(out, [Path(root).expanduser() for root in (*request.data_roots, *request.mixed_roots)])
    for name in found.nested[:NAMED]:
        tell(
            f"{found.folders[name]}: all its photos lie in folders within, and are taken for one person's. "
            "If each of these is a person's, stop, and give this folder instead of the one above it"
        )
    given = {} if request.person_types is None else read_person_types(request.person_types)
    people = dict.fromkeys(photo.person for photo in found.photos if not photo.mixed)
    if strangers := nobody(given, found.folders):
        some = ", ".join(strangers[:8]) + (" ..." if len(strangers) > 8 else "")
        tell(f"{request.person_types}: nobody has the name of {len(strangers)} folders in it: {some}")
    facts = _Facts(given, read_written(people, found.folders))
    stage = Stage(out / WORK, request.settings, request.analyzer, request.parser, request.traits)
    recorded = _recorded(request)
    settings, threshold = recorded.settings, recorded.threshold
    if threshold is not None and threshold.source == ASSUMED:
        tell(_assumed(settings["recognizer"], threshold))
    inputs = digest([settings, [_state(photo) for photo in found.photos], asdict(facts)])
    with locked(out):
        done = begin(out, settings, inputs, restart=request.restart)
        if done is not None:
            if done.get(LOOKS_KEPT) is not True:
                clear(stage.work)  # of a run that was killed at its very end
            return Prepared(out=out, fresh=False, **done["result"])
        chunks = plan_chunks(found.photos, recorded.looks)
        clear_half_done(stage.work)
        for name in (NOTE, JSONL, HTML, SHEET, PERSON_TYPES, CARD):
            for half in half_written(out / name):  # by a run that was killed
                half.unlink()
        _tell_room(out, len(found.photos), request.settings.size, tell)
        left = [chunk for chunk in chunks if not (stage.work / chunk.name).is_dir()]
        if left:
            run(left, stage)
        result = _finish(_Finish(request, out, found, chunks, facts, settings, threshold, tell))
        note = {"state": DONE, "settings": settings, "inputs": inputs, LOOKS_KEPT: request.keep_looks}
        write_note(out, {**note, "result": result})
        clear(stage.work, [chunk.name for chunk in chunks] if request.keep_looks else ())
    return Prepared(out=out, **result)


def plan_chunks(photos: Sequence[Photo], settings: str) -> list[Chunk]:
    """Photos in chunks, whose names change with the digest of what looks depend on, and with size and time
    of any file.
    """
    size = CHUNK if len(photos) > FEW else SMALL_CHUNK
    groups = [tuple(photos[k : k + size]) for k in range(0, len(photos), size)]
    return [
        Chunk(f"{k:06d}-{digest([settings, [_state(photo) for photo in group]])[:16]}", group)
        for k, group in enumerate(groups)
    ]


@dataclass(frozen=True)
class _Recorded:
    """settings: with the models' names, as they are written down. threshold: of the identity filter. looks:
    digest of what a look at a photo depends on.
    """

    settings: dict[str, Any]
    threshold: IdentityThreshold | None
    looks: str


def _recorded(request: Request) -> _Recorded:
    recognizer = request.analyzer().recognizer
    figures = _figures(request, recognizer) if request.settings.filter_people else None
    recorded = {
        **asdict(request.settings),
        "recognizer": recognizer.name,
        "parser": None if request.parser is None else request.parser().name,
        "traits": None if request.traits is None else request.traits().name,
        "original_layout": request.original_layout,
        "least_similarity": None if figures is None else asdict(figures),
    }
    return _Recorded(recorded, figures, digest([looking(recorded), _feeding(recognizer)]))


def _feeding(recognizer: FaceRecognizer) -> dict[str, Any] | None:
    """What of a recogniser's spec changes its vectors, if it has one: a JSON file that may be edited."""
    spec = getattr(recognizer, "spec", None)
    if not isinstance(spec, RecognizerSpec):
        return None
    return {name: value for name, value in asdict(spec).items() if name not in ("same_person", "licence")}


def _assumed(recognizer: str, figures: IdentityThreshold) -> str:
    return (
        f"Nobody has measured recogniser {recognizer} here: by its name, antelopev2's figure of the original "
        f"is taken (similarity {figures.mean:.2f} to the mean of many photos, {figures.pair:.2f} of two). "
        "Look through the report; --same-person sets another"
    )


def _figures(request: Request, recognizer: FaceRecognizer) -> IdentityThreshold | None:
    """Of the identity filter; None: there is nobody to filter. Raises ConfigError: nobody knows any."""
    if request.settings.same_person is not None:
        return IdentityThreshold(request.settings.same_person, request.settings.same_person)
    spec = getattr(recognizer, "spec", recognizer)
    figures = threshold_of(recognizer.name, measured(spec))
    if figures is None and request.data_roots:
        raise ConfigError(
            f"recogniser {recognizer.name}: nobody has measured how similar two photos of one person are to "
            "it. Give --same-person COSINE (or same_person in its spec), or --keep-all to compare no photos"
        )
    return figures


def _state(photo: Photo) -> list[object]:
    """What tells whether a file has changed; not where it lies, so that a moved folder is the same."""
    files = [photo.file] if photo.mask is None else [photo.file, photo.folder / photo.mask]
    return [photo.root, photo.path, photo.person, photo.mixed, *(_size_and_time(file) for file in files)]


def _size_and_time(file: Path) -> list[int]:
    try:
        found = file.stat()
    except OSError:  # the look at it will say why
        return [0, 0, 0]
    # who was refused and then permitted has changed neither size nor time
    return [found.st_size, found.st_mtime_ns, int(os.access(file, os.R_OK))]


def _tell_room(out: Path, photos: int, size: int, tell: Tell) -> None:
    """Say beforehand that the disk may be too small; how well the crops can be packed is only guessed."""
    wanted = 2 * photos * (BYTES_A_PIXEL * size**2 + 4096)  # in chunks, and once more in shards
    free = shutil.disk_usage(out).free
    if wanted > free:
        tell(f"This may need {_size(wanted)} of disk while it works, and {_size(free)} are free")


def _size(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


@dataclass(frozen=True)
class _Facts:
    """What is known of people beside their photos. given: by the user's file. written: by metainfo.json."""

    given: Mapping[str, str]
    written: Mapping[str, Metainfo]


@dataclass(frozen=True)
class _Finish:
    request: Request
    out: Path
    found: Found
    chunks: Sequence[Chunk]
    facts: _Facts
    settings: dict[str, Any]
    threshold: IdentityThreshold | None
    tell: Tell

    @property
    def work(self) -> Path:
        return self.out / WORK

    def looks(self) -> Iterator[Look]:
        return chain.from_iterable(read_chunk(self.work, chunk) for chunk in self.chunks)

    def kept(self, verdicts: Sequence[Verdict], some: frozenset[int] | None = None) -> Iterator[Kept]:
        return kept_photos(self.work, self.chunks, verdicts, some)


def _finish(job: _Finish) -> dict[str, Any]:
    """Everything behind the looks; returns what prepare.json keeps as the result."""
    job.tell("Comparing the photos")
    near = job.request.settings.drop_near_duplicates
    judged = judge(job.looks(), job.threshold, near_duplicates=near)
    people = summarize(judged.verdicts, judged.guesses, job.facts.written, job.facts.given)
    job.tell("Writing the report")
    report = Report(job.settings, job.found, judged.verdicts, people)
    write_report(job.out, report)
    if not any(verdict.kept for verdict in judged.verdicts):
        raise NothingKeptError(
            f"{job.out}: none of the {report.photos} photos was kept. Its report.html says why of each"
        )
    write_sheet(job.out, job.kept(judged.verdicts, spread(judged.verdicts)))
    if job.request.original_layout:
        write_original_layout(job.out, job.kept(judged.verdicts), people)
    else:
        drop_original_layout(job.out)
    named = {name: person.class_word for name, person in people.items() if person.kept and not person.mixed}
    write_person_types(job.out / PERSON_TYPES, named)
    job.tell("Writing the data set")
    image_size, recognizer = job.request.settings.size, job.settings["recognizer"]
    with ShardWriter(job.out, image_size=image_size, recognizer=recognizer, settings=job.settings) as writer:
        for kept in job.kept(judged.verdicts):
            writer.add(entry_of(kept, people[kept.photo.person], job.request.settings.image_type))
    return {
        "photos": report.photos,
        "kept": writer.summary.rows,
        "people": writer.summary.people,
        "rejected": dict(report.by_code),
        "empty": job.found.empty,
        "passed_over": len(job.found.passed_over),
        "hash": writer.summary.hash,
    }
