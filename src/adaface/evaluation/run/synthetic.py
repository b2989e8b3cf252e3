"""People who do not exist: the ID teacher draws several pictures of a random ID. Shapes: S, D_id, T, D."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Generator, Tensor

from adaface.errors import ConfigError
from adaface.evaluation.face_similarity import strangers_of
from adaface.evaluation.records import Subject
from adaface.face.types import Floats
from adaface.files import sha256, write_atomic, write_text
from adaface.identity.strangers import IdDistribution
from adaface.pipelines.drawing import Drawing, draw
from adaface.pipelines.personalizer import Personalizer
from adaface.pipelines.settings import Settings
from adaface.prompt.embedding import embed_prompt
from adaface.text.clip import TextEncoder

PEOPLE = "people"  # folder of the run
DRAWN = "drawn.json"  # in it: who is drawn, in how many rounds
MOST = 12  # people
PHOTOS = 4  # pictures of each, which play the part of photos
TRIES = 3  # rounds of drawing until so many of them show a face
GUIDANCE = (3.0, 3.0)  # of a teacher with a UNet of its own (Arc2Face's usual)


def random_ids(strangers: Floats | None, width: int, count: int, generator: Generator) -> Tensor:
    """ID embeddings of people who do not exist: (count, D_id) unit vectors.

    Drawn from the Gaussian that fits `strangers` (S, D_id), so that they lie where real people's lie; without
    them, or with few, from all directions alike.
    """
    noise = torch.randn(count, width, generator=generator, dtype=torch.float64)
    if strangers is None:
        return IdDistribution.sphere(width)(noise).float()
    return IdDistribution.fitted(torch.from_numpy(strangers))(noise).float()


class Teacher:
    """The ID teacher of a stack as a painter: ID embeddings -> pictures."""

    def __init__(self, personalizer: Personalizer) -> None:
        """personalizer: whose base gives all but the UNet. Raises StackError: the stack has no teacher.
        ConfigError: no stack at all.
        """
        stack = personalizer.stack
        if stack is None:
            raise ConfigError("synthetic people need a stack with an ID teacher. Give folders of photos")
        part = stack.part("teacher")
        self.personalizer, self.length = personalizer, part.options.get("context_length")
        shared = part.path is not None and stack.path("teacher") == stack.path("base") / "unet"
        self.pipe = personalizer.pipe if shared else _with_unet(personalizer.pipe, stack.path("teacher"))
        self.negative = self._nobody(shared)
        usual = personalizer.settings
        self.settings = Settings(
            steps=usual.steps,
            guidance_scale=usual.guidance_scale if shared else GUIDANCE,
            batch_size=usual.batch_size,
        )

    def __call__(self, id_embedding: Tensor, seeds: Sequence[int]) -> tuple[Image.Image, ...]:
        """A picture of the person (D_id,) for each seed."""
        prompter = self.personalizer.id_prompter
        with torch.inference_mode():
            context = prompter.context(id_embedding[None].to(self.pipe.device), self.length)  # (1, T, D)
        context = context.to(self.negative)
        plan = Drawing([context] * len(seeds), self.negative, seeds, self.settings,
                       memory=self.personalizer.memory)  # fmt: skip
        return draw(self.pipe, plan)[0]

    def _nobody(self, shared: bool) -> Tensor:
        """What guidance leads away from: the empty prompt, in the words that the UNet reads. (1, T, D)"""
        one = self.personalizer
        if shared:
            return one.prompt_embeds("", {}).prompt_embeds
        text = TextEncoder(one.id_prompter.model)
        with torch.inference_mode():
            rows = embed_prompt(text, one.pipe.tokenizer, "", {}, max_length=self.length).prompt_embeds
        return rows.to(one.pipe.device, one.pipe.unet.dtype)


def check_people(count: int) -> None:
    """Raises ConfigError: nobody, or too many."""
    if not 1 <= count <= MOST:
        raise ConfigError(f"--people {count}: give 1 to {MOST} synthetic people")


def draw_people(
    teacher: Teacher, count: int, seed: int, folder: Path, tell: Callable[[int, int], None]
) -> Iterator[tuple[str, list[Path]]]:
    """Names of synthetic people with the pictures of each that show a face, as PNG files in `folder`/NAME.

    Those that an earlier start has drawn, of the same request, stay: `forget_people` where it was another.
    tell: told people done and people in all.
    """
    stack, width = teacher.personalizer.stack, teacher.personalizer.analyzer.recognizer.dim
    assert stack is not None  # a teacher has one
    generator = Generator().manual_seed(seed)
    ids = random_ids(strangers_of(stack, width), width, count, generator)
    drawn = _drawn(folder)
    for k, vector in enumerate(ids):
        name = f"synthetic{k + 1:02d}"
        tell(k, count)
        if name not in drawn:
            kept, rounds = _draw(teacher, vector, generator)
            paths = [_save(folder / name / f"{n}.png", one) for n, one in enumerate(kept)]
            drawn[name] = {"rounds": rounds, "photos": {path.name: sha256(path) for path in paths}}
            write_text(folder / DRAWN, json.dumps(drawn))
        else:
            for _ in range(drawn[name]["rounds"]):  # so that the next ones get the seeds that they would have
                photo_seeds(PHOTOS, generator)
        yield name, [folder / name / photo for photo in drawn[name]["photos"]]
    tell(count, count)


def _draw(teacher: Teacher, vector: Tensor, generator: Generator) -> tuple[list[Image.Image], int]:
    """Pictures of a person (D_id,) that show a face, and in how many rounds they were drawn."""
    kept: list[Image.Image] = []
    rounds = 0
    while rounds < TRIES and len(kept) < PHOTOS:
        pictures = teacher(vector, photo_seeds(PHOTOS, generator))
        kept += [one for one in pictures if teacher.personalizer.analyzer.faces(one)]
        rounds += 1
    return kept[:PHOTOS], rounds


def forget_people(folder: Path) -> None:
    """Let `draw_people` begin anew in `folder`."""
    (folder / DRAWN).unlink(missing_ok=True)


def _drawn(folder: Path) -> dict[str, dict[str, Any]]:
    """The people whose pictures lie in `folder` as they were drawn."""
    if not (folder / DRAWN).is_file():
        return {}
    try:
        drawn: dict[str, dict[str, Any]] = json.loads((folder / DRAWN).read_text(encoding="utf-8"))
    except ValueError:  # then all are drawn again
        return {}
    return {name: one for name, one in drawn.items() if _is_there(folder / name, one["photos"])}


def _is_there(folder: Path, photos: Mapping[str, str]) -> bool:
    return all(
        (folder / name).is_file() and sha256(folder / name) == digest for name, digest in photos.items()
    )


def photo_seeds(count: int, generator: Generator) -> list[int]:
    """Seeds of photos: drawn far from 0, where those of the pictures count up from.

    A picture from the noise of a photo would be like that photo, whoever it shows.
    """
    seeds: list[int] = torch.randint(2**40, 2**41, (count,), generator=generator).tolist()
    return seeds


def as_subject(name: str, photos: Sequence[Path], recognizer: str) -> Subject:
    """A synthetic person: the first picture makes the identity, the others score it."""
    return Subject(name, tuple(photos[:1]), tuple(photos[1:]), recognizer=recognizer, synthetic=True)


def _save(path: Path, image: Image.Image) -> Path:
    return write_atomic(path, lambda beside: image.save(beside, "PNG"))


def _with_unet(pipe: Any, folder: Path) -> Any:
    """The same pipeline over the teacher's own UNet."""
    from diffusers import UNet2DConditionModel

    from adaface.pipelines.quiet import quiet

    with quiet():
        unet = UNet2DConditionModel.from_pretrained(folder, local_files_only=True, use_safetensors=True)
        return type(pipe)(
            **{**pipe.components, "unet": unet.to(pipe.device, pipe.unet.dtype)},
            requires_safety_checker=pipe.components.get("safety_checker") is not None,
        )
