"""Does it fit its words, and the photos? Scores of CLIP features. Letters: N pictures, M texts, E width."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import sha256

import numpy as np
from PIL import Image

from adaface.evaluation.records import Case, Column, Picture, Scores, World
from adaface.evaluation.scores.columns import CLIP, RETRIEVAL
from adaface.evaluation.scores.features import diversity, features, mean_of_pairs, photo_features
from adaface.evaluation.text_match import ClipScorer, plain_words
from adaface.face.types import Floats


class ClipScores:
    """Scores pictures by a CLIP model, against class prompts and against photos. It is a `Scorer`."""

    def __init__(self, clip: ClipScorer, provenance: Mapping[str, str] | None = None) -> None:
        """clip: used as it is, on its own device."""
        self._clip, self.provenance = clip, dict(provenance or {})
        self.columns: tuple[Column, ...] = (*CLIP, *RETRIEVAL)
        self._world = World((), ())
        self._photos: dict[str, Floats] = {}
        self._texts: dict[str, Floats] = {}

    def begin(self, world: World) -> Sequence[str]:
        """Look at the photos that score."""
        self._world, self._texts = world, {}
        count = len(world.templates)
        chance = 1 / count if count > 1 else None
        self.columns = (*CLIP, *(replace(column, chance=chance) for column in RETRIEVAL))
        self._photos, notes = photo_features(world.subjects, self._embed)
        return notes

    def __call__(self, cases: Sequence[Case]) -> list[Scores]:
        """Scores of each picture; None where it cannot be read, or nothing is to compare it with."""
        rows = features([case.image for case in cases], self._embed)
        different = diversity(cases, rows)
        return [
            self._scores(case.picture, row) | {"diversity": one}
            for case, row, one in zip(cases, rows, different, strict=True)
        ]

    def _scores(self, picture: Picture, row: Floats | None) -> dict[str, float | None]:
        scores: dict[str, float | None] = {column.name: None for column in self.columns}
        if row is None:
            return scores
        scores["clip_i"] = mean_of_pairs(row, picture.subjects, self._photos)
        words = class_words(picture, self._world)
        own = class_prompt(picture, words)
        if own.strip():
            scores["clip_t"] = float(self._text_features([own])[0] @ row)
        if picture.template in self._world.templates:
            scores |= self._retrieval(picture, words, row)
        return scores

    def _retrieval(self, picture: Picture, words: Mapping[str, str], row: Floats) -> dict[str, float | None]:
        texts = [plain_words(template, words) for template in self._world.templates]
        own = plain_words(picture.template, words)
        others = list(dict.fromkeys(text for text in texts if text != own))
        if not others:
            return {}
        cosines = dict(zip(others, self._text_features(others) @ row, strict=True))
        mine = self._text_features([own])[0] @ row
        shuffled = others[_coin(picture) % len(others)]
        rest = max((value for text, value in cosines.items() if text != shuffled), default=mine)
        return {
            "retrieval": float(mine > max(cosines.values())),
            "retrieval_shuffled": float(cosines[shuffled] > max(mine, rest)),
        }

    def _text_features(self, texts: Sequence[str]) -> Floats:
        """Unit features (M, E), each text once a run."""
        new = [text for text in dict.fromkeys(texts) if text not in self._texts]
        if new:
            self._texts |= dict(zip(new, self._clip.embed_texts(new).cpu().numpy(), strict=True))
        return np.stack([self._texts[text] for text in texts])

    def _embed(self, images: Sequence[Image.Image]) -> Floats:
        rows: Floats = self._clip.embed_images(images).cpu().numpy()
        return rows


def class_words(picture: Picture, world: World) -> dict[str, str]:
    """The class word of every name that may stand in the picture's template or prompt."""
    known = {one.name: one.class_word for one in world.subjects}
    found = {name: known.get(name, "person") for name in picture.subjects}
    return found | dict(zip(("person", "other"), found.values(), strict=False))


def class_prompt(picture: Picture, words: Mapping[str, str]) -> str:
    """The picture's prompt with class words for names: what it should show, whoever it shows."""
    return plain_words(picture.template or picture.prompt, words)


def _coin(picture: Picture) -> int:
    """A number that depends on the picture's key alone, so that the control is the same in every run."""
    return int.from_bytes(sha256(repr(picture.key).encode()).digest()[:8], "big")
