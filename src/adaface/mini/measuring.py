"""What the measuring commands share: the gates of a stack, the held-out people's world, a contact sheet."""

from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file

from adaface.errors import MissingFileError
from adaface.evaluation.text_match import ClipScorer
from adaface.face.recognize import load_recognizer
from adaface.files import write_atomic
from adaface.mini.gates import Gate, measure
from adaface.mini.people import held_out
from adaface.mini.recipes.latents import World
from adaface.mini.recipes.sampling import contact_sheet
from adaface.mini.world.captions import caption
from adaface.mini.world.data import HELD_OUT, TRAIN, load_close, load_full
from adaface.mini.world.look import ClassWordNet
from adaface.mini.world.segment import Segmenter
from adaface.pipelines.devices import choose_device
from adaface.pipelines.personalizer import Personalizer
from adaface.pipelines.stack import Stack

SHEET = 40  # pictures
PEOPLE = 64  # whom the gates are measured on, where nothing is said


def gates_of(
    stack: Stack,
    data: str | Path,
    *,
    people: int = PEOPLE,
    seed: int = 0,
    device: str = "cpu",
    split: int = HELD_OUT,
    second: str | Path | None = None,
    tell: Callable[[str], None] = lambda what: None,
) -> list[Gate]:
    """The table of gates of a stack, with its models opened for it.

    data: folder of the face packs. seed: of the people and of the pictures. second: another recogniser's ONNX
    file. Raises as `measure` and what it opens.
    """
    where = choose_device(device)
    chosen = held_out(data, people, seed, split)
    other = None if second is None else load_recognizer(second)
    clip = ClipScorer.from_pretrained(stack.path("clip"), device=where)
    world = held_out_world(data, stack, split)
    personalizer = Personalizer.from_pretrained(stack, device=where, dtype="float32")
    return measure(personalizer, clip, world, chosen, seed, tell, other)


def load_segmenter(path: str | Path) -> Segmenter:
    """Read a segmenter's weights. Raises MissingFileError: no such file."""
    if not Path(path).is_file():
        raise MissingFileError(f"{path}: no such file. Give the segmenter.safetensors of a build (run/faces)")
    segmenter = Segmenter()
    segmenter.load_state_dict({name: t.float() for name, t in load_file(path).items()})
    return segmenter.eval()


def load_class_words(path: str | Path, id_width: int) -> ClassWordNet | None:
    """Read the classifier's weights; None where there is no such file: then everybody is a "person"."""
    if not Path(path).is_file():
        return None
    classifier = ClassWordNet(id_width)
    classifier.load_state_dict({name: t.float() for name, t in load_file(path).items()})
    return classifier.eval()


def held_out_world(data: str | Path, stack: Stack, split: int = HELD_OUT) -> World:
    """People of a split that nothing is trained on, as the stack's segmenter sees them, each a "person"."""
    pack = load_full(data, split=split)
    some = pack.take(torch.arange(0, len(pack), max(1, len(pack) // 200)))
    segmenter = load_segmenter(stack.path("world") / "segmenter.safetensors")
    return World(some, some.take(torch.arange(0)), segmenter)


def contact_sheet_of_world(data: str | Path, models: str | Path, file: str | Path, seed: int) -> list[str]:
    """Write 40 composed pictures to `file`; returns their captions, row by row.

    models: a folder with segmenter.safetensors and class_words.safetensors: run/faces of a build, or `world`
    of a stack. Raises MissingFileError: no segmenter there.
    """
    generator = torch.Generator().manual_seed(seed)
    pack = load_full(data, split=TRAIN)
    some = pack.take(torch.randperm(len(pack), generator=generator)[:SHEET])
    classifier = load_class_words(Path(models) / "class_words.safetensors", pack.ids.shape[-1])
    segmenter = load_segmenter(Path(models) / "segmenter.safetensors")
    world = World(some, load_close(data).take(torch.arange(0)), segmenter, classifier)
    view = world.view(torch.arange(len(some)), generator, plain=False)
    sheet = contact_sheet(view.pictures, columns=10)
    write_atomic(file, lambda path: sheet.save(path, format="PNG"))
    return [caption(view.facts, i, None, generator) for i in range(len(some))]
