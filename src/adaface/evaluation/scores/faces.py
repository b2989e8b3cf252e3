"""Is it the person? Scores of faces. Letters: P prompted people, F faces, S strangers, D_id."""

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

from adaface.errors import ImageError
from adaface.evaluation.face_similarity import FaceMatch, percentile
from adaface.evaluation.records import Case, Column, Scores, Subject, World
from adaface.evaluation.scores.columns import FACES, second_columns
from adaface.evaluation.scores.looking import Look, look
from adaface.evaluation.scores.matching import Choice, Gallery, Table, assigned, best_matching
from adaface.evaluation.scores.recognisers import FaceComparer, OwnRecogniser
from adaface.evaluation.scores.references import galleries
from adaface.face.analyzer import FaceAnalyzer
from adaface.face.types import Floats


class FaceScorer:
    """Scores faces by the stack's recogniser, and their likeness once more by a second one.

    A picture is searched for faces once. It is a `Scorer`.
    """

    def __init__(
        self,
        analyzer: FaceAnalyzer,
        *,
        strangers: Floats | None = None,
        second: FaceComparer | None = None,
        provenance: Mapping[str, str] | None = None,
    ) -> None:
        """strangers: unit vectors (S, D_id) of the analyser's recogniser. second: another recogniser.
        provenance: of the analyser's networks and the strangers.
        """
        self._analyzer, self._strangers = analyzer, strangers
        self._recognisers: list[FaceComparer] = [OwnRecogniser(analyzer.recognizer)]
        self._recognisers += [second] if second is not None else []
        self.provenance = {**(provenance or {}), **(second.provenance if second is not None else {})}
        known = [column for column in FACES if strangers is not None or column.name != "percentile"]
        self.columns: tuple[Column, ...] = (
            *known,
            *(second_columns(second.name, second.likeness) if second is not None else ()),
        )
        self._people: dict[str, Subject] = {}
        self._galleries: list[tuple[Gallery, Gallery]] = []

    def begin(self, world: World) -> Sequence[str]:
        """Find the faces of all subjects' photos."""
        self._people = {one.name: one for one in world.subjects if one.broad_class == "person"}
        self._galleries, notes = galleries(world.subjects, self._analyzer, self._recognisers)
        return notes

    def __call__(self, cases: Sequence[Case]) -> list[Scores]:
        """Scores of each picture; all None where it cannot be read, or shows no person by its prompt."""
        shown = [[name for name in case.picture.subjects if name in self._people] for case in cases]
        # a picture that comes several times is looked at once
        images = {id(case.image): case.image for case, people in zip(cases, shown, strict=True) if people}
        looks = {key: one for key, image in images.items() if (one := self._look(image)) is not None}
        seen = list(looks.values())
        vectors = zip(*(recogniser.embed(seen) for recogniser in self._recognisers), strict=True)
        faces = dict(zip(looks, vectors, strict=True))
        return [
            self._scores(people, faces[id(case.image)])
            if people and id(case.image) in faces
            else self._scores([], [])
            for case, people in zip(cases, shown, strict=True)
        ]

    def _look(self, image: Image.Image) -> Look | None:
        try:
            return look(image, self._analyzer)
        except ImageError:
            return None

    def _scores(self, people: Sequence[str], faces: Sequence[Floats]) -> Scores:
        """people: those in the prompt. faces: vectors (F, D_id) by each recogniser."""
        scores: dict[str, float | None] = {column.name: None for column in self.columns}
        if people:
            scores["face_found"] = min(len(faces[0]), len(people)) / len(people)
        for i, rows in enumerate(faces):
            scores |= self._likeness(i, people, rows)
        return scores

    def _likeness(self, which: int, people: Sequence[str], faces: Floats) -> dict[str, float | None]:
        """What the recogniser number `which` says of faces (F, D_id)."""
        scored, given = self._galleries[which]
        if any(name not in scored.photos for name in people):
            return {}
        table = scored.likeness(faces, people)
        chosen = best_matching(table)
        similarity, margin = _mean(table, chosen), _margin(scored, faces, people, chosen)
        if which > 0:
            name = self._recognisers[which].name
            return {f"similarity_{name}": similarity, f"margin_{name}": margin}
        scores = {"similarity": similarity, "margin": margin} | self._given(
            given, faces, people, table, chosen
        )
        if self._strangers is not None:
            scores["percentile"] = _percentile(table, chosen, faces, self._strangers)
        if len(people) > 1:
            scores["assignment"] = assigned(table, chosen)
        return scores

    def _given(
        self, given: Gallery, faces: Floats, people: Sequence[str], table: Table, chosen: Choice
    ) -> dict[str, float | None]:
        """Likeness to the given photos, and what is copied from them."""
        if any(name not in given.photos for name in people):
            return {}
        again = given.likeness(faces, people)
        copied = [
            float(again[row, face] - table[row, face])
            for row, (name, face) in enumerate(zip(people, chosen, strict=True))
            if face is not None and self._people[name].apart
        ]
        return {
            "similarity_given": _mean(again, chosen),
            "copy_paste": float(np.mean(copied)) if copied else None,
        }


def _mean(table: Table, chosen: Choice) -> float:
    """Mean over the people of what their own face has; 0 without one."""
    return float(np.mean([0.0 if face is None else table[row, face] for row, face in enumerate(chosen)]))


def _margin(scored: Gallery, faces: Floats, people: Sequence[str], chosen: Choice) -> float | None:
    if len(scored.photos) < 2:
        return None
    pairs = zip(people, chosen, strict=True)
    return float(
        np.mean([0.0 if face is None else scored.margins(faces, name)[face] for name, face in pairs])
    )


def _percentile(table: Table, chosen: Choice, faces: Floats, strangers: Floats) -> float:
    """Per cent of strangers (S, D_id) whom the face is less like than the person; mean over the people."""
    matches = [
        FaceMatch() if face is None else FaceMatch(table[row, face], faces[face])
        for row, face in enumerate(chosen)
    ]
    return float(np.mean([percentile(match, strangers) or 0.0 for match in matches]))
