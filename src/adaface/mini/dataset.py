"""Face packs -> a prepared data set, so that recipes train on all of their photos. Shapes: N photos, S side.

A pack's faces were found, cut and embedded when it was made; here they get the person's mask and a class
word, and go into shards as `adaface prepare` writes them.
"""

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from adaface.data.layout import CARD
from adaface.data.shards import Entry, ShardWriter, Summary
from adaface.errors import ConfigError, WrongRecognizerError
from adaface.face.recognize import SFACE
from adaface.mini.measuring import load_class_words, load_segmenter
from adaface.mini.recipes.latents import World
from adaface.mini.world.data import TRAIN, VALIDATION, load_full
from adaface.mini.world.facts import CLASS_WORDS
from adaface.mini.world.geometry import SIZE
from adaface.pipelines.recognition import recognizer_name
from adaface.pipelines.stack import Stack
from adaface.recipes.base.latents import encode_dataset

SPLITS = {"train": TRAIN, "validation": VALIDATION}  # who is held out is never written
WHOLE = (
    1.0,
    1.0,
)  # scale of the cached augmentations: the mini base has seen no photo with nothing around it
Tell = Callable[[int, int], None]


def write_dataset(
    data: str | Path,
    out: str | Path,
    stack: Stack,
    *,
    split: str = "train",
    size: int = SIZE,
    tell: Tell = lambda done, total: None,
) -> Summary:
    """Write the photos of a split of the face packs to `out`, as a data set of `adaface.data`.

    data: folder of the face packs. stack: whose segmenter makes the masks, whose classifier the class words.
    split: "train" or "validation". size: side of the central square that is kept of the packs' 80 pixels; 64
    is FFHQ's frame, as of `adaface prepare --size 64`. tell: photos done, photos in all. People have numbers
    in place of names; held-out people are never among them. Of the same split and size, what is there is
    made anew.
    Raises ConfigError: another split or size; `out` holds anything else. WrongRecognizerError: the packs' ID
    embeddings are not of the stack's recogniser. MissingFileError: no packs there. WriteError: no room.
    """
    if split not in SPLITS:
        raise ConfigError(
            f'split="{split}": give one of {", ".join(SPLITS)}; who is held out is not trained on'
        )
    if recognizer_name(stack) != SFACE.name:
        raise WrongRecognizerError(
            f'{data}: the packs hold ID embeddings of "{SFACE.name}", and the stack "{stack.name}" has the '
            f'recogniser "{recognizer_name(stack)}". Give a stack with {SFACE.name}'
        )
    settings: dict[str, object] = {"face_packs": split, "size": size}
    _check_place(Path(out), settings)
    world = _world(data, stack, SPLITS[split])
    side = world.packs[0].images.shape[-1]
    if not 16 <= size <= side or (side - size) % 2:
        raise ConfigError(f"size={size}: give an even number of pixels from 16 to {side}, the crops' side")
    with ShardWriter(out, image_size=size, recognizer=SFACE.name, settings=settings) as writer:
        for done, entry in enumerate(_entries(world, size), 1):
            writer.add(entry)
            tell(done, len(world.packs[0]))
    return writer.summary


def _check_place(out: Path, settings: dict[str, object]) -> None:
    """Raises ConfigError: something else is there, which shards would be put over or between."""
    if out.is_file():
        raise ConfigError(f"{out}: a file, not a folder. Choose another place for the data set")
    if not out.is_dir() or all(path.name.startswith(".") for path in out.iterdir()):
        return
    try:
        made = json.loads((out / CARD).read_text(encoding="utf-8"))["settings"]
    except (OSError, ValueError, KeyError, TypeError):
        made = None
    if made != settings:
        what = "not empty" if made is None else "holds another data set"
        raise ConfigError(f"{out}: {what}; nothing was changed. Choose a new or an empty folder")


def write_latents(
    out: str | Path,
    stack: Stack,
    *,
    count: int,
    seed: int = 0,
    device: str = "auto",
    tell: Tell | None = None,
) -> Path:
    """Cache `count` latents of each photo of `out`, mirrored or not. Raises as `encode_dataset`."""
    return encode_dataset(
        out, stack, count=count, seed=seed, device=device, batch_size=32, scale=WHOLE, tell=tell
    )


def _world(data: str | Path, stack: Stack, split: int) -> World:
    """The photos of a split with masks and class words."""
    pack, models = load_full(data, split=split), stack.path("world")
    segmenter = load_segmenter(models / "segmenter.safetensors")
    classifier = load_class_words(models / "class_words.safetensors", pack.ids.shape[-1])
    return World(pack, pack.take(torch.arange(0)), segmenter, classifier)


def _entries(world: World, size: int) -> Iterator[Entry]:
    """Every photo, person by person."""
    pack, masks, words = world.packs[0], world.masks[0], world.class_words[0]
    edge = (pack.images.shape[-1] - size) // 2
    inside = slice(edge, edge + size)
    seen: dict[int, int] = {}
    for row in torch.argsort(pack.person, stable=True).tolist():
        person = int(pack.person[row])
        number = seen[person] = seen.get(person, -1) + 1
        image = pack.images[row][:, inside, inside].permute(1, 2, 0).numpy()
        mask = (masks[row, 0, inside, inside] >= 128).numpy().astype(np.uint8) * 255
        yield Entry(
            key=f"{person:05d}-{number:04d}",
            image=_png(image),
            image_type="png",
            mask=_png(mask),
            person=f"{person:05d}",
            class_word=CLASS_WORDS[int(words[row])],
            landmarks=(pack.landmarks[row] - edge).numpy(),
            id_embedding=pack.ids[row].numpy(),
            facts={"row": row},
        )


def _png(pixels: NDArray[np.uint8]) -> bytes:
    """(S, S, 3) or (S, S) as a file, without loss: the crops have been compressed once."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=6)
    return buffer.getvalue()
