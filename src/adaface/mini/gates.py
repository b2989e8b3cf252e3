"""The gates of the mini stack: what it can do for people it was never trained on. Shapes: P people, B, T, D.

Pictures come from the stock pipeline, faces are found by the detector, every mean has a 95 % interval over
people.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from PIL import Image
from torch import Generator, Tensor

from adaface.evaluation.text_match import ClipScorer
from adaface.face.align import align as align_face
from adaface.face.detect import YuNet
from adaface.mini.recipes.latents import World
from adaface.mini.recipes.sface import SFace, embed
from adaface.mini.world.captions import plain_caption
from adaface.mini.world.data import FacePack, load_full
from adaface.mini.world.facts import ACCESSORIES, BACKGROUNDS, CLASS_WORDS, STYLES, Facts, compose
from adaface.mini.world.geometry import SIZE
from adaface.pipelines.drawing import Drawing, draw
from adaface.pipelines.personalizer import Personalizer

ZOOM = 4  # generated 64-pixel pictures are enlarged before the detector sees them
CHOICES = 32  # captions that a picture chooses among

Row = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Gate:
    """One line of the table: a figure, its 95 % interval, and what it should reach."""

    name: str
    value: float
    low: float
    high: float
    aim: float | None = None
    note: str = ""

    @property
    def passed(self) -> bool | None:
        """True where the aim is reached, None where there is none."""
        return None if self.aim is None else self.value >= self.aim


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """People who were never trained on: one photo makes the identity, the others score it.

    given: rows of `pack`. others: mean direction of the other photos, (P, n_p, D_id) as a list.
    """

    pack: FacePack
    given: Tensor
    others: list[Tensor]

    @property
    def ids(self) -> Tensor:
        """ID embeddings of the given photos: (P, D_id)."""
        return self.pack.ids[self.given]


def held_out(data: str | Path, people: int, seed: int = 0) -> HeldOut:
    """So many held-out people with at least two photos each, drawn by `seed`; the same for every model."""
    pack = load_full(data, split=1)
    generator = torch.Generator().manual_seed(seed)
    rows_of = {int(p): (pack.person == p).nonzero()[:, 0] for p in pack.person.unique()}
    names = [p for p, rows in rows_of.items() if len(rows) > 1]
    chosen = [names[i] for i in torch.randperm(len(names), generator=generator)[:people]]
    mixed = [rows_of[p][torch.randperm(len(rows_of[p]), generator=generator)] for p in chosen]
    return HeldOut(
        pack=pack,
        given=torch.stack([rows[0] for rows in mixed]),
        others=[pack.ids[rows[1:11]] for rows in mixed],
    )


def margins(vectors: Tensor, found: Tensor, people: HeldOut) -> Row:
    """Per person (P,): mean cosine to other photos of the person, minus to those of all others.

    vectors: (P, D_id) of what was drawn for each. found: (P,) bool; the margin is 0 where no face was found.
    """
    own = torch.stack([(v * o).sum(-1).mean() for v, o in zip(vectors, people.others, strict=True)])
    centres = torch.stack([o.mean(0) for o in people.others])  # mean cosine = cosine with the mean vector
    cosines = vectors @ centres.T
    count = len(vectors)
    strangers = (cosines.sum(1) - cosines.diagonal()) / (count - 1)
    return np.asarray(torch.where(found, own - strangers, torch.zeros(())).double())


def find_and_embed(pictures: Sequence[Image.Image], recognizer: SFace) -> tuple[Tensor, Tensor]:
    """Vectors (N, D_id) of the largest faces in enlarged pictures, and where one was found (N,) bool."""
    detect = YuNet()
    crops, found = [], []
    for picture in pictures:
        large = np.asarray(
            picture.convert("RGB").resize([side * ZOOM for side in picture.size], Image.Resampling.BICUBIC)
        )
        faces = detect(large)
        found.append(bool(faces))
        best = max(faces, key=lambda f: float((f.box[2] - f.box[0]) * (f.box[3] - f.box[1])), default=None)
        crops.append(align_face(large, best.landmarks) if best else np.zeros((112, 112, 3), np.uint8))
    faces112 = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float()
    with torch.no_grad():
        vectors = torch.cat([recognizer(chunk) for chunk in faces112.split(32)])
    return vectors, torch.tensor(found)


def interval(per_person: Row, draws: int = 1000, seed: int = 0) -> tuple[float, float, float]:
    """Mean and 95 % bootstrap interval over people."""
    rng = np.random.default_rng(seed)
    means = per_person[rng.integers(len(per_person), size=(draws, len(per_person)))].mean(1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(per_person.mean()), float(low), float(high)


def share(part: Row, whole: Row, draws: int = 1000, seed: int = 0) -> tuple[float, float, float]:
    """Ratio of two means over the same people, with its 95 % bootstrap interval."""
    rng = np.random.default_rng(seed)
    rows = rng.integers(len(part), size=(draws, len(part)))
    low, high = np.percentile(part[rows].mean(1) / whole[rows].mean(1), [2.5, 97.5])
    return float(part.mean() / whole.mean()), float(low), float(high)


@torch.no_grad()
def measure(
    personalizer: Personalizer,
    clip: ClipScorer,
    world: World,
    people: HeldOut,
    seed: int = 0,
    tell: Callable[[str], None] = lambda what: None,
) -> list[Gate]:
    """The whole table, in the order in which the parts build on each other.

    world: of the held-out people. tell: called with the name of each part before it is measured.
    """
    tell("autoencoder")
    recognizer = SFace()
    same, ceiling = reconstructions(personalizer.pipe.vae, recognizer, people)
    gates = [
        _gate("VAE ceiling: similarity of a reconstruction to its crop", interval(same), 0.65),
        _gate("margin of the reconstructions", interval(ceiling), None),
    ]
    drawn = {}
    for role, contexts in (("teacher", teacher_contexts), ("encoder", encoder_contexts)):
        tell(role)
        pictures = _pictures(personalizer, contexts(personalizer, people.ids), seed)
        drawn[role] = find_and_embed(pictures, recognizer)
    for role, (_, found) in drawn.items():
        gates.append(_gate(f"{role}: faces found", interval(_row(found.float())), 0.9))
    tell("captions")
    gates += retrieval(personalizer, clip, world, seed)
    for role, aim in (("teacher", 0.5), ("encoder", 0.35)):
        gates.append(_identity_gate(role, margins(*drawn[role], people), ceiling, aim))
    return gates


def reconstructions(vae: AutoencoderKL, recognizer: SFace, people: HeldOut) -> tuple[Row, Row]:
    """What the autoencoder leaves of a face: cosine to the crop, and the margin; each (P,)."""
    crops = people.pack.images[people.given][:, :, 8 : 8 + SIZE, 8 : 8 + SIZE].float() / 255
    marks = people.pack.landmarks[people.given] - 8
    back = torch.cat([vae.decode(vae.encode(c * 2 - 1).latent_dist.mode()).sample for c in crops.split(32)])
    vectors = embed(recognizer, back, marks)
    same = (embed(recognizer, crops * 2 - 1, marks) * vectors).sum(-1)
    everyone = torch.ones(len(vectors), dtype=torch.bool)
    return _row(same), margins(vectors, everyone, people)


def _identity_gate(role: str, part: Row, ceiling: Row, aim: float) -> Gate:
    mean, low, high = interval(part)
    name, note = f"{role}: identity margin, share of the reconstructions'", f"[{low:.3f}, {high:.3f}]"
    return _gate(name, share(part, ceiling), aim, f"margin {mean:.3f} {note}")


def teacher_contexts(personalizer: Personalizer, ids: Tensor) -> list[Tensor]:
    """The ID teacher's context of each person of ids (P, D_id), each (1, T, D)."""
    return list(personalizer.id_prompter.context(ids).split(1))


def encoder_contexts(personalizer: Personalizer, ids: Tensor) -> list[Tensor]:
    """Prompt embeddings of "a photo of <person>" for each person of ids (P, D_id), each (1, T, D)."""
    contexts = []
    for vector in ids:
        person = personalizer.identity([vector.numpy()])
        rows = {person.name: person.subject_embeds}
        contexts.append(personalizer.prompt_embeds(f"a photo of <{person.name}>", rows).prompt_embeds)
    return contexts


def retrieval(
    personalizer: Personalizer, clip: ClipScorer, world: World, seed: int, count: int = 64
) -> list[Gate]:
    """How often a picture's own caption wins among 32 with other facts.

    Of drawn pictures, as a share of the rate on real composed ones; the note has both rates and that of drawn
    pictures with the captions of others.
    """
    generator = torch.Generator().manual_seed(seed)
    facts = all_facts(generator, count)
    rows = torch.randperm(len(world.packs[0]), generator=generator)[:count]
    real = _composed(world, rows, facts, generator)
    texts = [plain_caption(facts, i) for i in range(count)]
    contexts = [personalizer.prompt_embeds(text, {}).prompt_embeds for text in texts]
    drawn = _pictures(personalizer, contexts, seed)
    hits = {name: _hits(clip(images, texts), seed) for name, images in (("drawn", drawn), ("real", real))}
    mixed = _hits(clip(drawn, texts)[:, np.roll(np.arange(count), 7)], seed)
    ratio = share(hits["drawn"], hits["real"])
    note = f"drawn {hits['drawn'].mean():.2f}, real {hits['real'].mean():.2f}, shuffled {mixed.mean():.2f}"
    return [_gate("caption retrieval, share of the rate on real pictures", ratio, 0.8, note)]


def all_facts(generator: Generator, count: int) -> Facts:
    """`count` combinations of background, accessory and style, no two alike; person as class word."""
    options = (len(BACKGROUNDS), len(ACCESSORIES), len(STYLES))
    chosen = torch.randperm(int(np.prod(options)), generator=generator)[:count]
    background, accessory, style = (torch.tensor(a) for a in np.unravel_index(chosen.numpy(), options))
    nothing = torch.zeros(count, dtype=torch.long)
    words = torch.full((count,), CLASS_WORDS.index("person"))
    return Facts(background=background, accessory=accessory, style=style, class_word=words, close=nothing)


def _hits(scores: NDArray[np.float32], seed: int) -> Row:
    """For each picture (N, N scores, its own on the diagonal): 1 if its caption beats 31 drawn others."""
    rng = np.random.default_rng(seed)
    count, hits = len(scores), []
    for i in range(count):
        others = rng.choice([j for j in range(count) if j != i], CHOICES - 1, replace=False)
        hits.append(float(scores[i, i] > scores[i, others].max()))
    return np.array(hits)


def _composed(world: World, rows: Tensor, facts: Facts, generator: Generator) -> list[Image.Image]:
    view = world.view(rows, generator, plain=True, fixed=True)
    side = slice(8, 8 + SIZE)
    masks = world.masks[0][rows][:, :, side, side].float() / 255
    pictures = compose(view.pictures, masks, view.landmarks, facts, generator)
    return [Image.fromarray((p.permute(1, 2, 0) * 255).round().byte().numpy()) for p in pictures]


def _pictures(personalizer: Personalizer, contexts: list[Tensor], seed: int) -> list[Image.Image]:
    settings = personalizer.settings.override({"batch_size": 32})
    negative = personalizer.prompt_embeds(settings.negative_prompt or "", {}).prompt_embeds
    plan = Drawing(contexts, negative, list(range(seed, seed + len(contexts))), settings)
    return list(draw(personalizer.pipe, plan)[0])


def _row(values: Tensor) -> Row:
    return np.asarray(values.double())


def _gate(name: str, figures: tuple[float, float, float], aim: float | None, note: str = "") -> Gate:
    value, low, high = figures
    return Gate(name=name, value=value, low=low, high=high, aim=aim, note=note)
