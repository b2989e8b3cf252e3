"""What the measuring commands need around the gates: the held-out people's world, a contact sheet."""

from pathlib import Path

import torch
from safetensors.torch import load_file

from adaface.errors import MissingFileError
from adaface.files import write_atomic
from adaface.mini.recipes.latents import World
from adaface.mini.recipes.sampling import contact_sheet
from adaface.mini.world.captions import caption
from adaface.mini.world.data import load_close, load_full
from adaface.mini.world.look import ClassWordNet
from adaface.mini.world.segment import Segmenter
from adaface.pipelines.stack import Stack

SHEET = 40  # pictures


def load_segmenter(path: str | Path) -> Segmenter:
    """Read a segmenter's weights. Raises MissingFileError: no such file."""
    if not Path(path).is_file():
        raise MissingFileError(f"{path}: no such file. Give the segmenter.safetensors of a build (run/faces)")
    segmenter = Segmenter()
    segmenter.load_state_dict({name: t.float() for name, t in load_file(path).items()})
    return segmenter.eval()


def held_out_world(data: str | Path, stack: Stack) -> World:
    """People who were never trained on, cut out by the stack's segmenter; everybody is a "person"."""
    pack = load_full(data, split=1)
    some = pack.take(torch.arange(0, len(pack), max(1, len(pack) // 200)))
    segmenter = load_segmenter(stack.folder / "world" / "segmenter.safetensors")
    return World(some, some.take(torch.arange(0)), segmenter, ClassWordNet(pack.ids.shape[-1]).eval())


def contact_sheet_of_world(data: str | Path, segmenter: str | Path, file: str | Path, seed: int) -> list[str]:
    """Write 40 composed pictures to `file`; returns their captions, row by row."""
    generator = torch.Generator().manual_seed(seed)
    pack = load_full(data, split=0)
    some = pack.take(torch.randperm(len(pack), generator=generator)[:SHEET])
    close = load_close(data).take(torch.arange(0))
    world = World(some, close, load_segmenter(segmenter), ClassWordNet(pack.ids.shape[-1]).eval())
    view = world.view(torch.arange(len(some)), generator, plain=False)
    sheet = contact_sheet(view.pictures, columns=10)
    write_atomic(file, lambda path: sheet.save(path, format="PNG"))
    return [caption(view.facts, i, None, generator) for i in range(len(some))]
