"""One evaluation from beginning to end: subjects, pictures, scores, report; the same request goes on."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import adaface
from adaface.errors import ConfigError, FaceError, WriteError
from adaface.evaluation import report
from adaface.evaluation.records import Subject, World
from adaface.evaluation.run.begin import BEGUN, DONE, before, parts_of, subject_row, subjects_of, write_facts
from adaface.evaluation.run.plan import Plan, check_pairs
from adaface.evaluation.run.request import Request, Tell, tell_nobody
from adaface.evaluation.run.subjects import Cast, cast_of, find_subjects
from adaface.evaluation.run.synthetic import PEOPLE, Teacher, as_subject, draw_people
from adaface.evaluation.run.work import Book, Clock, Judge, Painter, draw_all, is_there, score_anchors
from adaface.evaluation.scores.choose import scorers
from adaface.face.analyzer import FaceAnalyzer
from adaface.files import held
from adaface.identity.files import Identity
from adaface.pipelines.personalizer import Personalizer
from adaface.pipelines.recognition import stack_analyzer
from adaface.pipelines.settings import Settings

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
        self.settings = usual_settings(request)
        self.variants, self.sweeps = request.variants(self.settings)
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
    MissingExtra: a package that scores or reports. WriteError: disk trouble; what is done is kept.
    """
    run = _Run(request, tell)
    asked, stack = request.to_json(), _stack_facts(request)
    with _alone(request.folder):
        facts = before(request.folder, asked, stack)
        if facts is None:
            facts = _facts(run, _meet(run), asked, stack)
            write_facts(request.folder, facts)
        return _carry_out(run, facts)


def usual_settings(request: Request) -> Settings:
    """The stack's recommended settings."""
    return request.stack.recommended()


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


def _meet(run: _Run) -> Cast:
    """The subjects, their photos shared out, or drawn."""
    request = run.request
    if request.subjects:
        people = find_subjects(request.subjects)
        cast = cast_of(people, run.analyzer, request.splitting,
                       lambda done, total: run.tell("Looking at the photos", done, total))  # fmt: skip
    else:
        cast = _synthetic(run)
    cast.subjects = [_named(one, request) for one in cast.subjects]
    unknown = sorted(request.about.keys() - {one.name for one in cast.subjects} - cast.left_out.keys())
    if unknown:
        cast.notes.append(
            f"told about {', '.join(unknown)}, who {'is' if len(unknown) == 1 else 'are'} not here"
        )
    return cast


def _named(subject: Subject, request: Request) -> Subject:
    about = request.about.get(subject.name)
    if about is None:
        return subject
    return replace(subject, class_word=about.class_word, broad_class=about.broad_class)


def _synthetic(run: _Run) -> Cast:
    if run.request.images is not None:
        raise ConfigError("--images needs the people who are in the pictures: give folders of their photos")
    cast, folder = Cast(), run.request.folder / PEOPLE
    name = run.analyzer.recognizer.name
    people = draw_people(
        Teacher(run.personalizer), run.request.people, run.request.seed, folder,
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
    request, base = run.request, run.variants[""]
    lines = {one.name: request.lines(one.broad_class) for one in cast.subjects}
    every = dict.fromkeys(line for found in lines.values() for line in found)
    check_pairs(list(every), cast.subjects)
    return {
        "state": BEGUN,
        "adaface": adaface.__version__,
        "protocol": None if request.prompts else request.protocol.name,
        "seed": request.seed,
        "seeds": list(request.seeds),
        "external": request.images is not None,
        "synthetic": not request.subjects,
        "stack": stack,
        "settings": base.to_json(),
        "variants": list(run.variants),
        "sweep": {one.setting: [list(p) for p in zip(_numbers(one.values), one.variants, strict=True)]
                  for one in run.sweeps},
        "templates": [{"text": line.text, "kind": line.kind} for line in every],
        "subjects": [subject_row(one, request.folder) for one in cast.subjects],
        "left_out": cast.left_out,
        "notes": cast.notes,
        "request": asked,
    }  # fmt: skip


def _numbers(values: Sequence[str]) -> list[float | str]:
    return [text if ":" in text else float(text) for text in values]


def _carry_out(run: _Run, facts: dict[str, Any]) -> Done:
    request = run.request
    subjects = subjects_of(facts, request.folder)
    plan = Plan(
        run.variants,
        {one.name: request.lines(one.broad_class) for one in subjects},
        subjects,
        request.seeds,
        run.sweeps,
    )
    pictures = plan.pictures()
    judge = _judge(run, subjects, [line.text for line in plan.lines])
    book = Book.open(request.folder)
    _forget_scores_of_others(book, facts, judge)
    clock = Clock(**facts.get("times", {}))
    begun_with = (clock.drawn, clock.scored)
    missing = [one for one in pictures if not is_there(request.folder, book.known.get(one.key))]
    gone = sum(one.key in book.known for one in missing)
    painter = _painter(run, subjects, book) if missing else None
    try:
        draw_all(book, plan, painter, judge, clock, run.tell)
    finally:
        _write(run, facts, judge, clock, BEGUN)
    facts["notes"] = _notes(facts, judge, painter, book, gone)
    book.rewrite([book.known[one.key] for one in pictures])
    score_anchors(request.folder, judge, request.seed)
    _write(run, facts, judge, clock, DONE)
    run.tell("Writing the report", 0, 0)
    page = report.write(request.folder)
    drawn, scored = clock.drawn - begun_with[0], clock.scored - begun_with[1]
    return Done(request.folder, facts, page, drawn, scored)


def _judge(run: _Run, subjects: Sequence[Subject], texts: Sequence[str]) -> Judge:
    request = run.request
    run.tell("Opening the scorers", 0, 0)
    device = run.personalizer.memory.home if run._personalizer is not None else "cpu"
    chosen = scorers(
        request.stack, analyzer=run.analyzer, clip=request.clip, dino=request.dino, second=request.second,
        device=device,
    )  # fmt: skip
    return Judge(chosen, World(tuple(subjects), tuple(texts)))


def _painter(run: _Run, subjects: Sequence[Subject], book: Book) -> Painter:
    """Raises ConfigError: a subject that cannot be drawn."""
    people = {}
    files = {one.name: one.identity for one in find_subjects(run.request.subjects) if one.identity}
    for one in subjects:
        if one.name in files:
            people[one.name] = Identity.load(files[one.name])
            continue
        try:
            people[one.name] = run.personalizer.identity(list(one.given), name=one.name, keep_all=True)
        except FaceError as error:
            raise ConfigError(f"{one.name}: no identity can be made of the given photos ({error})") from error
    return Painter(run.personalizer, people, book)


def _forget_scores_of_others(book: Book, facts: Mapping[str, Any], judge: Judge) -> None:
    """Scores by other models than those of now are made anew."""
    if facts.get("provenance", judge.provenance) != json_like(judge.provenance):
        book.known = {key: replace(one, scores={}) for key, one in book.known.items()}


def json_like(values: Mapping[str, str]) -> dict[str, str]:
    """As JSON gives it back."""
    return {str(name): str(value) for name, value in values.items()}


def _notes(
    facts: Mapping[str, Any], judge: Judge, painter: Painter | None, book: Book, gone: int
) -> list[str]:
    notes = [*facts["notes"], *judge.notes, *(painter.notes if painter else ())]
    if book.dropped:
        notes.append("a half-written line of the manifest was dropped, and its picture made again")
    if gone:
        notes.append(f"{gone} pictures were gone or changed, and were drawn again")
    return list(dict.fromkeys(notes))


def _write(run: _Run, facts: dict[str, Any], judge: Judge, clock: Clock, state: str) -> None:
    facts |= {
        "state": state,
        "columns": [asdict(column) for column in judge.columns],
        "provenance": json_like(judge.provenance),
        "times": clock.to_json(),
    }
    write_facts(run.request.folder, facts)
