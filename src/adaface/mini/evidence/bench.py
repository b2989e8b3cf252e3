"""What rows are measured with: people, judges of faces, CLIPs, and real pictures. P people, N cells."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from adaface.evaluation.scores.recognisers import FaceComparer
from adaface.evaluation.statistics import Row
from adaface.evaluation.text_match import ClipScorer
from adaface.face.analyzer import FaceAnalyzer
from adaface.mini.evidence.design import PLAIN, SCENES, Cells
from adaface.mini.evidence.faces import Judge, Likeness, by_person, looks_at, own_judge, second_judge
from adaface.mini.evidence.real import composed_cells, images_of
from adaface.mini.evidence.table import Column
from adaface.mini.evidence.words import KINDS, coming, said_words
from adaface.mini.gates import CHOICES, given_and_decoded, hits_of
from adaface.mini.people import HeldOut
from adaface.pipelines.personalizer import Personalizer
from adaface.pipelines.stack import Stack

CLIPS = {"clip": "", "clip_second": "_second"}  # role -> how its columns end
MARGIN, COPY, FOUND, TEXT = "margin", "copy_paste", "found", "text"
NEARNESS = f"{TEXT}_nearness"
WORD, ONE_WORD = "word_", "word/"  # how columns begin of a kind of words, and of one word
IN_SCENES = "scene_"  # how the columns of margin and found begin that are of scenes
Tell = Callable[[str, int, int], None]
Pictures = Sequence[Image.Image | None]


@dataclass(frozen=True, eq=False)
class Bench:
    """Everything that is the same for all rows.

    judges, clips: by how their columns end. photos: what each cell would be of real pictures: the given
    photo, composed where the cell is a scene. back: the given photos as the autoencoder gives them back.
    """

    cells: Cells
    people: HeldOut
    analyzer: FaceAnalyzer
    judges: Mapping[str, Judge]
    clips: Mapping[str, ClipScorer]
    photos: Sequence[Image.Image]
    back: Sequence[Image.Image]
    seed: int = 0

    @property
    def person(self) -> list[int]:
        """(N,): whom each cell shows."""
        return [cell.person for cell in self.cells.cells]

    def values(self, pictures: Pictures) -> dict[str, Row]:
        """What a row's pictures (N,) give, person by person: column -> (P,)."""
        looks, count = looks_at(pictures, self.analyzer), len(self.people.given)
        there = [n for n, picture in enumerate(pictures) if picture is not None]
        kinds = {"": self._some(there, PLAIN), IN_SCENES: self._some(there, *SCENES)}
        found: dict[str, Row] = {}
        for end, judge in self.judges.items():
            seen = judge(looks, self.person)
            for begin, some in kinds.items():
                if some:
                    found[f"{begin}{MARGIN}{end}"] = by_person(seen.margin, self.person, some, count)
                    present = seen.found.astype(np.float64)
                    found.setdefault(f"{begin}{FOUND}", by_person(present, self.person, some, count))
            found[f"{COPY}{end}"] = by_person(seen.copied, self.person, kinds[""], count)
        return found | self._texts(pictures, there) | self._words(pictures)

    def possible(self) -> dict[str, Row]:
        """What real pictures reach: margins of the reconstructions, and real composed pictures' captions."""
        found = {f"{MARGIN}{end}": one.margin for end, one in self.reconstructed.items()}
        return found | self._texts(self.photos, range(len(self.photos))) | self._words(self.photos)

    @cached_property
    def reconstructed(self) -> dict[str, Likeness]:
        """What each judge says of the reconstructed photos (P,)."""
        looks, person = looks_at(self.back, self.analyzer), range(len(self.back))
        return {end: judge(looks, person) for end, judge in self.judges.items()}

    def columns(self) -> list[Column]:
        """The columns of the table, in order."""
        return [*self._face_columns(), *self._text_columns()]

    def _some(self, there: Sequence[int], *kinds: str) -> list[int]:
        known = set(there)
        return [n for n in self.cells.of(*kinds) if n in known]

    def _texts(self, pictures: Pictures, there: Sequence[int]) -> dict[str, Row]:
        """Shares of pictures that choose their own caption, and how much nearer it is than others.

        Without a kind in their name they are of seen and unseen scenes together.
        """
        found: dict[str, Row] = {}
        count, cells = len(self.people.given), self.cells.cells
        for end, clip in self.clips.items():
            hits, nearer = np.full(len(cells), np.nan), np.full(len(cells), np.nan)
            for kind in SCENES:
                some = self._some(there, kind)
                if not some:
                    continue
                images = [picture for n in some if (picture := pictures[n]) is not None]
                scores = clip(images, [cells[n].caption for n in some])
                hits[some], nearer[some] = hits_of(scores, self.seed), nearness_of(scores)
                found[f"{TEXT}_{kind}{end}"] = by_person(hits, self.person, some, count)
            if some := self._some(there, *SCENES):
                found[f"{TEXT}{end}"] = by_person(hits, self.person, some, count)
                found[f"{NEARNESS}{end}"] = by_person(nearer, self.person, some, count)
        return found

    def _words(self, pictures: Pictures) -> dict[str, Row]:
        """Shares of the named words that came, by kind and by word, by the last CLIP: it chose no teacher."""
        found: dict[str, Row] = {}
        if not self.clips:
            return found
        *_, clip = self.clips.values()
        said, count = said_words(self.cells), len(self.people.given)
        came, whose = coming(clip, pictures, said), [self.person[one.cell] for one in said]
        known = [k for k in range(len(said)) if not np.isnan(came[k])]
        for of, begin in ((lambda one: one.kind, WORD), (lambda one: one.word, ONE_WORD)):
            for name in dict.fromkeys(of(said[k]) for k in known):
                some = [k for k in known if of(said[k]) == name]
                found[f"{begin}{name}"] = by_person(came, whose, some, count)
        return found

    def _face_columns(self) -> list[Column]:
        columns = []
        for end, judge in self.judges.items():
            name, whole = judge.recogniser.name, f"{MARGIN}{end}"
            columns += [
                Column(f"{MARGIN}{end}", f"margin, {name}", whole,
                       f"likeness by {name} to the person's other photos minus to other people's, under "
                       "plain prompts, as a share of the reconstructed photos' (0 without a face)"),
                Column(f"{IN_SCENES}{MARGIN}{end}", f"margin in scenes, {name}", whole,
                       "the same under prompts of scenes"),
                Column(f"{COPY}{end}", f"copy-paste, {name}", None,
                       "likeness to the photo that was given minus to the person's other photos"),
            ]  # fmt: skip
        return [
            *columns,
            Column(FOUND, "faces found", None, "share of pictures under plain prompts with a face"),
            Column(f"{IN_SCENES}{FOUND}", "in scenes", None, "the same under prompts of scenes"),
        ]

    def _text_columns(self) -> list[Column]:
        says = (
            f"share of pictures that choose their own caption among {CHOICES}, as a share of real composed "
            "ones'"
        )
        nearer = (
            "cosine to the own caption minus the mean one to the other pictures', as a share of real ones'"
        )
        second = {"": "", "_second": ", by a CLIP that has only ever scored"}
        texts = [
            Column(f"{key}{end}", f"{what}{', second CLIP' if end else ''}", f"{key}{end}", how + second[end])
            for end in self.clips
            for key, what, how in (
                (f"{TEXT}_seen", "text, seen pairs", says),
                (f"{TEXT}_unseen", "text, unseen pairs", says),
                (TEXT, "text, both", says),
                (NEARNESS, "text nearness", nearer),
            )
        ]
        came = (
            "share of pictures nearer to their caption than to the same caption without its {}, by the last "
            "CLIP; 0.5 is chance"
        )
        return [
            *texts,
            *(Column(f"{WORD}{kind}", f"{kind} comes", None, came.format(kind)) for kind in KINDS),
        ]


def open_bench(
    base: Personalizer,
    stack: Stack,
    cells: Cells,
    people: HeldOut,
    seconds: Mapping[str, FaceComparer],
    seed: int,
    tell: Tell = lambda what, done, total: None,
) -> Bench:
    """base: of `stack`. seconds: further recognisers by name. Raises what opening a stack's parts raises."""
    analyzer, device = base.analyzer, base.pipe.device
    judges = {"": own_judge(people, analyzer)}
    for name, recogniser in seconds.items():
        judges[f"_{name}"] = second_judge(recogniser, people, analyzer, partial(tell, f"photos by {name}"))
    clips = {
        end: ClipScorer.from_pretrained(stack.path(role), device=device)
        for role, end in CLIPS.items()
        if role in stack.roles
    }
    given, back = given_and_decoded(base.pipe.vae, people)
    photos = composed_cells(cells, people.pack.take(people.given), stack, images_of(given), seed)
    return Bench(cells, people, analyzer, judges, clips, photos, images_of(back), seed)


def nearness_of(scores: NDArray[np.float32]) -> Row:
    """How much nearer each picture is to its own caption than to the others' on average: (N,), cosines.

    scores: (N, N) of pictures and captions, a picture's own on the diagonal. It tells more of a small change
    than whether the own caption comes first.
    """
    own, count = np.diag(scores).astype(np.float64), len(scores)
    return own - (scores.sum(1) - own) / (count - 1)
