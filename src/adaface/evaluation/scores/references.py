"""Photos of the subjects -> what each recogniser knows of them. Letters: R photos, D_id."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from adaface.errors import AdaFaceError, FaceError
from adaface.evaluation.records import Subject
from adaface.evaluation.scores.features import unreadable
from adaface.evaluation.scores.looking import Look, look
from adaface.evaluation.scores.matching import Gallery
from adaface.evaluation.scores.recognisers import FaceComparer
from adaface.face.analyzer import FaceAnalyzer
from adaface.face.photos import Candidates, combine
from adaface.face.types import Face, Floats


@dataclass
class Known:
    """Vectors (R, D_id) of one recogniser by subject: of the photos that score, and of the given ones."""

    scored: dict[str, Floats] = field(default_factory=dict)
    given: dict[str, Floats] = field(default_factory=dict)


def galleries(
    subjects: Sequence[Subject], analyzer: FaceAnalyzer, recognisers: Sequence[FaceComparer]
) -> tuple[list[tuple[Gallery, Gallery]], list[str]]:
    """For each recogniser the photos that score and the given ones, of people only; and notes for people.

    The first recogniser is the analyser's own: it also takes identities without photos. A subject of whom
    nothing can be used is in no gallery, and in the notes.
    """
    known = [Known() for _ in recognisers]
    notes: list[str] = []
    for subject in subjects:
        if subject.broad_class != "person":
            continue
        found = _Photos(subject, analyzer, recognisers)
        notes += found.notes()
        for which, one in enumerate(known):
            one.scored |= _named(subject, found.vectors(which, subject.references))
            one.given |= _named(subject, found.vectors(which, subject.given))
        if subject.id_embedding is not None and not subject.references:
            vector, note = _ready(subject, subject.id_embedding, analyzer)
            notes.append(note)
            known[0].scored |= vector
            known[0].given |= vector
    pairs = [
        (Gallery(r, one.scored), Gallery(r, one.given)) for r, one in zip(recognisers, known, strict=True)
    ]
    return pairs, notes


@dataclass(frozen=True, eq=False)
class _Photo:
    """The faces of a photo, and their vectors (F, D_id) by each recogniser. Its pixels are not kept."""

    faces: tuple[Face, ...]
    vectors: tuple[Floats, ...]


class _Photos:
    """The subject's face in each of their photos that show one."""

    def __init__(self, subject: Subject, analyzer: FaceAnalyzer, recognisers: Sequence[FaceComparer]) -> None:
        self.subject = subject
        self._faults: list[str] = []
        self._unreadable: list[str] = []
        self._photos: dict[Path, _Photo] = {}
        for path in dict.fromkeys((*subject.given, *subject.scored)):
            seen = self._look(path, analyzer)
            if seen is not None:
                self._photos[path] = _Photo(seen.faces, tuple(r.embed([seen])[0] for r in recognisers))
        self._same_person: float | None = getattr(analyzer.recognizer, "same_person", None)
        self._identity = self._who()
        self._mine = {path: self._index(photo.faces) for path, photo in self._photos.items()}

    def vectors(self, which: int, paths: Iterable[Path]) -> list[Floats]:
        """A vector (D_id,) by the recogniser number `which` for each photo with a face."""
        return [self._photos[path].vectors[which][self._mine[path]] for path in paths if path in self._photos]

    def notes(self) -> list[str]:
        """What a reader of the figures should know of these photos."""
        subject = self.subject
        notes = [*self._unreadable, *(f"{subject.name}: {fault}" for fault in self._faults)]
        if subject.references and not any(path in self._photos for path in subject.references):
            notes.append(f"{subject.name}: no photo to compare with: no similarity is told")
        if self._same_person is not None and self._identity is not None and subject.apart:
            faces = [self._photos[p].faces[self._mine[p]] for p in subject.scored if p in self._photos]
            own = [face.similarity(self._identity) for face in faces]
            low = sum(value < self._same_person for value in own)
            if low:
                notes.append(
                    f"{subject.name}: {low} of {len(own)} photos that score are less like the given ones "
                    f"than two photos of one person are (similarity {min(own):.2f}, usual is "
                    f"{self._same_person:.2f} or more). If they show somebody else, leave them out"
                )
        return notes

    def _look(self, path: Path, analyzer: FaceAnalyzer) -> Look | None:
        try:
            seen = look(path, analyzer)
        except AdaFaceError as error:
            self._unreadable.append(unreadable(self.subject.name, error))
            return None
        if not seen.faces:
            self._faults.append(f"{path}: no face found. It is left out of the scores of faces")
            return None
        return seen

    def _who(self) -> Floats | None:
        """The person's mean over the given photos, which says whose face is meant in photos of several."""
        if self.subject.id_embedding is not None:
            return self.subject.id_embedding
        given = [path for path in self.subject.given if path in self._photos]
        candidates = [Candidates(str(path), self._photos[path].faces) for path in given]
        if not candidates:
            return None
        try:
            return combine(candidates, same_person=self._same_person).id_embedding
        except FaceError as error:
            self._faults.append(f"{error}")
            return None

    def _index(self, faces: Sequence[Face]) -> int:
        """Which face of a photo is the subject's: the likest to the given photos, else the largest."""
        identity = self._identity
        if identity is None or identity.shape != faces[0].id_embedding.shape:
            return 0
        return max(range(len(faces)), key=lambda k: faces[k].similarity(identity))


def _named(subject: Subject, vectors: Sequence[Floats]) -> dict[str, Floats]:
    return {subject.name: np.stack(vectors)} if vectors else {}


def _ready(subject: Subject, vector: Floats, analyzer: FaceAnalyzer) -> tuple[dict[str, Floats], str]:
    """The ID embedding of a subject without photos, where it is of the analyser's recogniser, and a note."""
    own = analyzer.recognizer
    same = "unknown" in (subject.recognizer, own.name) or subject.recognizer == own.name
    if vector.shape != (own.dim,) or not same:
        return {}, (
            f"{subject.name}: the ID embedding is of the recogniser {subject.recognizer}, not of "
            f"{own.name}: no similarity is told. Make the identity again, or give photos"
        )
    return {subject.name: vector[None]}, (
        f"{subject.name}: an identity without photos: pictures are compared with the ID embedding that it "
        "was made of, by the recogniser that made it; photos would be a better judge"
    )
