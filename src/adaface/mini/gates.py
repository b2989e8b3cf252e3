"""The gates of the mini stack: what it can do for people it was never trained on. Shapes: P people, B, T, D.

Pictures come from the stock pipeline, faces are found by the detector, every mean has a 95 % interval over
people.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from PIL import Image
from torch import Generator, Tensor

from adaface.evaluation.statistics import interval, share
from adaface.evaluation.text_match import ClipScorer
from adaface.face.differentiable.network import SFace
from adaface.face.differentiable.warp import align
from adaface.face.types import FaceRecognizer
from adaface.mini.people import Crops, HeldOut, Row, embed_crops, find, margins, seen_by
from adaface.mini.recipes.latents import World
from adaface.mini.world.captions import plain_caption
from adaface.mini.world.facts import CLASS_WORDS, Facts, compose, seen_combinations
from adaface.mini.world.geometry import SIZE
from adaface.pipelines.drawing import Drawing, draw
from adaface.pipelines.personalizer import Personalizer

CHOICES = 32  # captions that a picture chooses among
COMBINATIONS = 128  # of facts that pictures are drawn for, of each sort


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


@torch.no_grad()
def measure(
    personalizer: Personalizer,
    clip: ClipScorer,
    world: World,
    people: HeldOut,
    seed: int = 0,
    tell: Callable[[str], None] = lambda what: None,
    second: FaceRecognizer | None = None,
) -> list[Gate]:
    """The whole table, in the order in which the parts build on each other.

    world: of the held-out people. tell: called with the name of each part before it is measured. second:
    another recogniser, whose own lines come last: the pictures were made and chosen by SFace, not by it.
    Everything runs where the personalizer is; figures are counted on the CPU.
    """
    tell("autoencoder")
    recognizer = SFace().to(personalizer.pipe.vae.device)
    crops, back = reconstructions(personalizer.pipe.vae, people)
    vectors = embed_crops(recognizer, back)
    everyone = torch.ones(len(vectors), dtype=torch.bool)
    same, ceiling = (embed_crops(recognizer, crops) * vectors).sum(-1), margins(vectors, everyone, people)
    gates = [
        _gate("VAE ceiling: similarity of a reconstruction to its crop", interval(_row(same)), 0.65),
        _gate("margin of the reconstructions", interval(ceiling), None),
    ]
    drawn = {}
    for role, contexts in (("teacher", teacher_contexts), ("encoder", encoder_contexts)):
        tell(role)
        drawn[role] = find(_pictures(personalizer, contexts(personalizer, people.ids), seed))
    for role, (_, found) in drawn.items():
        gates.append(_gate(f"{role}: faces found", interval(_row(found.float())), 0.9))
    tell("captions")
    gates += retrieval(personalizer, clip, world, seed)
    for role, aim in (("teacher", 0.6), ("encoder", 0.45)):
        faces, found = drawn[role]
        part = margins(embed_crops(recognizer, faces), found, people)
        gates.append(_identity_gate(f"{role}: identity margin", part, ceiling, aim))
    if second is not None:
        tell(f"second recogniser {second.name}")
        gates += _second_opinion(second, people, back, drawn)
    return gates


def _second_opinion(
    second: FaceRecognizer, people: HeldOut, back: Crops, drawn: dict[str, tuple[Crops, Tensor]]
) -> list[Gate]:
    """The identity margins once more, by a recogniser that nothing was trained with: no aims."""
    again = seen_by(second, people)
    everyone = torch.ones(len(back), dtype=torch.bool)
    ceiling = margins(torch.from_numpy(second(back)), everyone, again)
    return [
        _identity_gate(
            f"{role}: margin by {second.name}",
            margins(torch.from_numpy(second(crops)), found, again),
            ceiling,
            None,
        )
        for role, (crops, found) in drawn.items()
    ]


def reconstructions(vae: AutoencoderKL, people: HeldOut) -> tuple[Crops, Crops]:
    """The given photos at 64 pixels and their reconstructions, as aligned faces (P, 112, 112, 3)."""
    pictures, back = given_and_decoded(vae, people)
    marks = people.pack.landmarks[people.given] - 8
    return _aligned(pictures, marks), _aligned(back, marks)


@torch.no_grad()
def given_and_decoded(vae: AutoencoderKL, people: HeldOut) -> tuple[Tensor, Tensor]:
    """The given photos at 64 pixels and what the autoencoder makes of them, (P, 3, 64, 64) in -1..1 each."""
    side = slice(8, 8 + SIZE)
    pictures = people.pack.images[people.given][:, :, side, side].float() / 127.5 - 1
    back = [
        vae.decode(vae.encode(chunk.to(vae.device, vae.dtype)).latent_dist.mode()).sample.float().cpu()
        for chunk in pictures.split(32)
    ]
    return pictures, torch.cat(back)


def _aligned(pictures: Tensor, marks: Tensor) -> Crops:
    """Pictures (P, 3, 64, 64) in -1..1 with landmarks (P, 5, 2) -> (P, 112, 112, 3) uint8."""
    faces = align((pictures.clamp(-1, 1) + 1) * 127.5, marks)
    return faces.round().byte().permute(0, 2, 3, 1).contiguous().numpy()


def _identity_gate(name: str, part: Row, ceiling: Row, aim: float | None) -> Gate:
    mean, low, high = interval(part)
    note = f"margin {mean:.3f} [{low:.3f}, {high:.3f}]"
    if ceiling.mean() <= 0:
        note += "; the reconstructions have none to compare with"
    return _gate(f"{name}, share of the reconstructions'", share(part, ceiling), aim, note)


def teacher_contexts(personalizer: Personalizer, ids: Tensor) -> list[Tensor]:
    """The ID teacher's context of each person of ids (P, D_id), each (1, T, D)."""
    return list(personalizer.id_prompter.context(ids.to(personalizer.pipe.device)).split(1))


def encoder_contexts(personalizer: Personalizer, ids: Tensor) -> list[Tensor]:
    """Prompt embeddings of "a photo of <person>" for each person of ids (P, D_id), each (1, T, D)."""
    contexts = []
    for vector in ids:
        person = personalizer.identity([vector.numpy()])
        rows = {person.name: person.subject_embeds}
        contexts.append(personalizer.prompt_embeds(f"a photo of <{person.name}>", rows).prompt_embeds)
    return contexts


def retrieval(
    personalizer: Personalizer, clip: ClipScorer, world: World, seed: int, count: int = COMBINATIONS
) -> list[Gate]:
    """How often a picture's own caption wins among 32 with other facts: of seen pairs, and of unseen ones.

    Of drawn pictures, as a share of the rate on real composed ones; the note has both rates and that of drawn
    pictures with the captions of others. Unseen: combinations with a pair that training never showed.
    """
    return [
        _retrieval(personalizer, clip, world, seed, count, seen=seen, aim=aim)
        for seen, aim in ((True, 0.8), (False, 0.6))
    ]


def _retrieval(
    personalizer: Personalizer,
    clip: ClipScorer,
    world: World,
    seed: int,
    count: int,
    *,
    seen: bool,
    aim: float,
) -> Gate:
    generator = torch.Generator().manual_seed(seed)
    facts = some_facts(generator, count, seen=seen)
    rows = torch.randperm(len(world.packs[0]), generator=generator).repeat(count)[:count]
    real = composed(world, rows, facts, generator)
    texts = [plain_caption(facts, i) for i in range(count)]
    contexts = [personalizer.prompt_embeds(text, {}).prompt_embeds for text in texts]
    drawn = _pictures(personalizer, contexts, seed)
    hits = {name: hits_of(clip(images, texts), seed) for name, images in (("drawn", drawn), ("real", real))}
    mixed = hits_of(clip(drawn, texts)[:, np.roll(np.arange(count), 7)], seed)
    ratio = share(hits["drawn"], hits["real"])
    note = f"drawn {hits['drawn'].mean():.2f}, real {hits['real'].mean():.2f}, shuffled {mixed.mean():.2f}"
    if not hits["real"].any():
        note += "; the scorer fails on real pictures already"
    pairs = "seen" if seen else "unseen"
    return _gate(f"caption retrieval, {pairs} pairs, share of the rate on real pictures", ratio, aim, note)


def some_facts(generator: Generator, count: int, *, seen: bool) -> Facts:
    """`count` combinations of background, accessory and style, no two alike; person as class word.

    seen: only such as training may show; otherwise only such as hold a pair that it never shows.
    """
    allowed = seen_combinations() if seen else ~seen_combinations()
    rows = allowed.nonzero()
    chosen = rows[torch.randperm(len(rows), generator=generator)[:count]]
    background, accessory, style = chosen.unbind(-1)
    nothing = torch.zeros(len(chosen), dtype=torch.long)
    words = torch.full_like(nothing, CLASS_WORDS.index("person"))
    return Facts(background=background, accessory=accessory, style=style, class_word=words, framing=nothing)


def hits_of(scores: NDArray[np.float32], seed: int) -> Row:
    """For each picture: 1 if its own caption beats 31 drawn others (all, if there are fewer), else 0: (N,).

    scores: (N, N) of pictures and captions, a picture's own on the diagonal.
    """
    rng = np.random.default_rng(seed)
    count, hits = len(scores), []
    for i in range(count):
        others = rng.choice([j for j in range(count) if j != i], min(CHOICES, count) - 1, replace=False)
        hits.append(float(scores[i, i] > scores[i, others].max()))
    return np.array(hits)


def composed(world: World, rows: Tensor, facts: Facts, generator: Generator) -> list[Image.Image]:
    """Real photos (rows (N,) of a world's full crops), unjittered, made into what the facts say."""
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
