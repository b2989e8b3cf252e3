"""One evaluation from beginning to end: subjects, pictures, scores, report; the same request goes on."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import adaface
from adaface.errors import ConfigError, FaceError, WriteError
from adaface.evaluation import report
from adaface.evaluation.folder import ANCHORS
from adaface.evaluation.records import Picture, Subject, World
from adaface.evaluation.run.begin import (
    BEGUN,
    DONE,
    before,
    identities_of,
    parts_of,
    subject_row,
    subjects_of,
    write_facts,
)
from adaface.evaluation.run.outside import find_pictures
from adaface.evaluation.run.plan import Plan, Unit, check_pairs, units_of
from adaface.evaluation.run.request import Request, Tell, tell_nobody
from adaface.evaluation.run.subjects import Cast, cast_of, find_subjects
from adaface.evaluation.run.synthetic import (
    PEOPLE,
    Teacher,
    as_subject,
    check_people,
    draw_people,
    forget_people,
)
from adaface.evaluation.run.work import Book, Clock, Judge, Painter, score_anchors, work_through
from adaface.evaluation.scores.choose import CLIP, DINO, scorers
from adaface.face.analyzer import FaceAnalyzer
from adaface.files import held
from adaface.identity.files import Identity
from adaface.optional import require
from adaface.pipelines.devices import choose_device
from adaface.pipelines.personalizer import Personalizer
from adaface.pipelines.recognition import stack_analyzer

DRAWS = ("base", "text_encoder", "vae", "encoder", "id_prompter", "recognizer")  # roles that decide pictures
SCORES = ("clip", "strangers")


@dataclass(frozen=True)
class Done:
    """What a run came to. facts: run.json. report: the page. drawn, scored: pictures of this start."""

    folder: Path
    facts: Mapping[str, Any]
    report: Path
    drawn: int
    scored: int


class _Run:
    """What the steps of one start share; models are opened when they are first needed."""

    def __init__(self, request: Request, tell: Tell) -> None:
        self.request, self.tell = request, tell
        self.variants, self.sweeps = request.variants()
        self.analyzer: FaceAnalyzer = stack_analyzer(request.stack)
        self._personalizer: Personalizer | None = None

    @property
    def personalizer(self) -> Personalizer:
        """All models of the stack."""
        if self._personalizer is None:
            self.tell("Opening the models", 0, 0)
            self._personalizer = Personalizer.from_pretrained(
                self.request.stack, analyzer=self.analyzer, **self.request.models
            )
        return self._personalizer


def evaluate(request: Request, tell: Tell = tell_nobody) -> Done:
    """Draw, score and report; what a start before has done of it is not done again.

    Raises ConfigError: an option out of range, nobody to draw, or a folder of another run or stack.
    FormatError: a damaged file of the run. MissingFileError: something that was named is not there.
    MissingExtra: a package that scores or reports, before anything is drawn. WriteError: disk trouble; what
    is done is kept.
    """
    for module in ("jinja2", "matplotlib"):  # of the report, which comes last
        require(module, extra="eval")
    run = _Run(request, tell)
    asked, stack = request.to_json(), _stack_facts(request)
    with _alone(request.folder):
        facts = before(request.folder, asked, stack)
        if facts is None:
            forget_people(request.folder / PEOPLE)
        if facts is None or "subjects" not in facts:
            begun = {"state": BEGUN, "stack": stack, "request": asked}
            facts = _facts(run, _checked(run, _meet(run, begun)), asked, stack)
            write_facts(request.folder, facts)
        return _carry_out(run, facts)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep a second command out of the run's folder, which is made; a folder that stays empty goes away."""
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder}: a file, not a folder. Choose another place for the run (-o)")
    with ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(held(folder))
        except BlockingIOError as error:
            raise ConfigError(
                f"{folder}: another adaface evaluate is at work there. Wait until it ends"
            ) from error
        except OSError as error:
            raise WriteError(
                f"{folder}: cannot be written ({error.strerror}). Choose another folder"
            ) from error
        try:
            yield
        finally:
            with suppress(OSError):
                folder.rmdir()


def _stack_facts(request: Request) -> dict[str, Any]:
    roles = SCORES if request.images is not None else DRAWS
    if not request.subjects:
        roles = (*roles, "teacher")
    return {"name": request.stack.name, "parts": parts_of(request.stack, *roles)}


def _meet(run: _Run, begun: Mapping[str, Any]) -> Cast:
    """The subjects, their photos shared out, or drawn. begun: run.json of a folder that is no more empty."""
    request = run.request
    if not request.subjects:
        return _synthetic(run, begun)
    people = find_subjects(request.subjects)
    cast = cast_of(people, run.analyzer, request.splitting, request.about,
                   lambda done, total: run.tell("Looking at the photos", done, total))  # fmt: skip
    unknown = sorted(request.about.keys() - {one.name for one in people})
    if unknown:
        cast.notes.append(f"--about names {', '.join(unknown)}, of whom no photos are given")
    return cast


def _checked(run: _Run, cast: Cast) -> Cast:
    """Raises ConfigError: subjects that cannot be drawn, or not with these prompts."""
    things = [one.name for one in cast.subjects if one.broad_class != "person"]
    if run.request.images is None:
        if things:
            raise ConfigError(
                f"{', '.join(things)}: no person, and only people can be drawn. Leave them out, or score "
                "pictures that other methods made of them (--images)"
            )
        check_pairs(run.request.lines(), cast.subjects)
    return cast


def _synthetic(run: _Run, begun: Mapping[str, Any]) -> Cast:
    check_people(run.request.people)
    if run.request.images is not None:
        raise ConfigError("--images needs the people who are in the pictures: give folders of their photos")
    if "teacher" not in run.request.stack.roles:
        raise ConfigError(
            f'stack "{run.request.stack.name}": no ID teacher, which draws people who do not exist. Name '
            "people: adaface evaluate photos/, a folder of photos each"
        )
    cast, folder = Cast(), run.request.folder
    name, teacher = run.analyzer.recognizer.name, Teacher(run.personalizer)
    write_facts(folder, begun)
    people = draw_people(
        teacher, run.request.people, run.request.seed, folder / PEOPLE,
        lambda done, total: run.tell("Drawing synthetic people", done, total),
    )  # fmt: skip
    for who, photos in people:
        if photos:
            cast.subjects.append(as_subject(who, [path.resolve() for path in photos], name))
        else:
            cast.left_out[who] = "none of the teacher's pictures shows a face"
    cast.notes += [f"{who} is left out: {why}" for who, why in cast.left_out.items()]
    if not cast.subjects:
        raise ConfigError("the stack's ID teacher drew nobody with a face. Give folders of photos")
    return cast


def _facts(run: _Run, cast: Cast, asked: Mapping[str, Any], stack: Mapping[str, Any]) -> dict[str, Any]:
    request = run.request
    return {
        "state": BEGUN,
        "adaface": adaface.__version__,
        "protocol": None if request.prompts else request.protocol.name,
        "seed": request.seed,
        "external": request.images is not None,
        "synthetic": not request.subjects,
        "stack": stack,
        "settings": run.variants[""].to_json() if request.images is None else {},
        "sweep": {one.setting: [list(p) for p in zip(_numbers(one.values), one.variants, strict=True)]
                  for one in run.sweeps},
        "subjects": [subject_row(one, request.folder, cast.identities.get(one.name))
                     for one in cast.subjects],
        "left_out": cast.left_out,
        "met": cast.notes,
        "notes": cast.notes,
        "request": asked,
    }  # fmt: skip


def _numbers(values: Sequence[str]) -> list[float | str]:
    return [text if ":" in text else float(text) for text in values]


def _carry_out(run: _Run, facts: dict[str, Any]) -> Done:
    request, folder = run.request, run.request.folder
    subjects = subjects_of(facts, folder)
    book = Book.open(folder)
    units, told = _units(run, subjects)
    pictures = [one for unit in units for one in unit.pictures]
    clock = Clock.of(facts.get("times", {}))
    before_it = (clock.drawn, clock.scored)
    judge = _judge(run, subjects, list(dict.fromkeys(one.template for one in pictures)), clock)
    about = _about_pictures(pictures) | {"provenance": judge.provenance}
    _check_scores(book, facts, about, pictures)
    missing = book.look_at(pictures) if request.images is not None else book.missing(pictures)
    facts |= about | {"state": BEGUN, "columns": [asdict(column) for column in judge.columns]}
    redrawn = missing if request.images is None else ()
    facts["events"] = [*facts.get("events", ()), *_told_of(book, redrawn)]
    write_facts(folder, facts)  # before the first score: a start that is killed leaves word of who scored
    _add_more(run, facts)
    painter = _painter(run, facts, subjects, book) if redrawn else None
    try:
        work_through(book, units, redrawn, painter, judge, run.tell)
    finally:
        facts["events"] += painter.notes if painter else ()
        write_facts(folder, facts | {"times": clock.to_json()})
    notes = [*facts.get("met", ()), *facts["events"], *told, *judge.notes]
    facts["notes"] = list(dict.fromkeys(notes))
    book.rewrite([book.known[one.key] for one in pictures])
    score_anchors(folder, judge, request.seed)
    facts |= {"state": DONE, "times": clock.to_json()}
    write_facts(folder, facts)
    run.tell("Writing the report", 0, 0)
    return Done(folder, facts, report.write(folder), clock.drawn - before_it[0], clock.scored - before_it[1])


def _add_more(run: _Run, facts: dict[str, Any]) -> None:
    """The request's further entries, where they are not there or were made of something else."""
    for name, one in run.request.more.items():
        made_of = facts.setdefault("made_of", {})
        if name not in facts or made_of.get(name) != one.of:
            facts[name], made_of[name] = one.make(), one.of
            write_facts(run.request.folder, facts)


def _check_scores(
    book: Book, facts: Mapping[str, Any], about: Mapping[str, Any], pictures: Sequence[Picture]
) -> None:
    """Forget scores of other models than now, and where other prompts or pictures were: they are relative."""
    other = any(name in facts and facts[name] != about[name] for name in ("provenance", "templates"))
    if other or book.known.keys() - {one.key for one in pictures}:
        book.forget_scores()
        (book.folder / ANCHORS).unlink(missing_ok=True)


def _units(run: _Run, subjects: Sequence[Subject]) -> tuple[list[Unit], list[str]]:
    """The parts of the work, and notes. Raises ConfigError: pairs of one person, or no picture of anybody."""
    request = run.request
    lines = {one.name: request.lines(one.broad_class) for one in subjects}
    if request.images is not None:
        every = list(dict.fromkeys(line for found in lines.values() for line in found))
        outside = find_pictures(request.images, subjects, every, request.folder)
        return units_of(outside.pictures), outside.notes
    plan = Plan(run.variants, lines, subjects, request.seeds)
    return list(plan.units()), []


def _about_pictures(pictures: Sequence[Picture]) -> dict[str, Any]:
    templates = dict.fromkeys((one.template, one.kind) for one in pictures)
    return {
        "seeds": sorted({one.seed for one in pictures}),
        "variants": list(dict.fromkeys(one.variant for one in pictures)),
        "templates": [{"text": text, "kind": kind} for text, kind in templates],
    }


def _told_of(book: Book, missing: Sequence[Picture]) -> list[str]:
    notes = []
    if book.dropped:
        notes.append("a half-written line of the manifest was dropped; its picture was looked for again")
    gone = sum(one.key in book.known and not one.sha256 for one in missing)
    if gone:
        notes.append(f"{gone} pictures were gone or changed, and were drawn again")
    return notes


def _judge(run: _Run, subjects: Sequence[Subject], texts: Sequence[str], clock: Clock) -> Judge:
    request = run.request
    run.tell("Opening the scorers", 0, 0)
    device = choose_device(request.models.get("device", "auto"))
    named = request.protocol
    chosen = scorers(
        request.stack, analyzer=run.analyzer, clip=request.clip, dino=request.dino, second=request.second,
        device=device, offered={CLIP: named.clip, DINO: named.dino},
    )  # fmt: skip
    return Judge(chosen, World(tuple(subjects), tuple(texts)), clock)


def _painter(run: _Run, facts: Mapping[str, Any], subjects: Sequence[Subject], book: Book) -> Painter:
    """Raises ConfigError: a subject that cannot be drawn."""
    people = {}
    files = identities_of(facts, run.request.folder)
    for one in subjects:
        if one.name in files:
            people[one.name] = Identity.load(files[one.name])
            continue
        try:
            people[one.name] = run.personalizer.identity(list(one.given), name=one.name, keep_all=True)
        except FaceError as error:
            raise ConfigError(f"{one.name}: no identity can be made of the given photos ({error})") from error
    return Painter(run.personalizer, people, run.variants, book)
