"""The pictures that a drawing starts from, checked and cut to one size. Letters: H, W height and width in
pixels.
"""

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from PIL import Image

from adaface.errors import ConfigError
from adaface.face.images import Picture, open_picture
from adaface.face.types import Floats, ImageSource, Pixels
from adaface.pipelines.settings import Settings

STRENGTH = 0.8  # how far from the start picture; under a mask all of it is drawn anew
MASKED_STRENGTH = 1.0
CONTROL_SCALE = 1.0
SNAP = 16  # grey levels this near to black or white count as these: the noise of a JPEG must not open a mask
SAME_SHAPE = 0.02  # how far two ratios of the sides may lie apart
MIDDLE = Image.Resampling.LANCZOS


@dataclass(frozen=True, eq=False)
class Canvas:
    """The pictures that a drawing starts from, all of one size; None is none.

    init: (H, W, 3) uint8. mask: (H, W) float32, 1 where it is drawn anew, 0 where `init` stays, between them
    a mixture. control: (H, W, 3) uint8, what a ControlNet reads. digests: SHA-256 of the pixels by the names
    of `Personalizer.generate`. notes: what was done to the pictures.
    """

    init: Pixels | None = None
    mask: Floats | None = None
    control: Pixels | None = None
    digests: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def check_pictures(given: Mapping[str, object], *, controlnet: bool) -> None:
    """Do the things that were given belong together? No picture is opened.

    given: by the names of `Personalizer.generate`: init_image, strength, mask, control_image, control_scale.
    controlnet: is there a ControlNet? Raises ConfigError: one of them does not go without another.
    """
    has = {name for name, value in given.items() if value is not None}
    for name in ("mask", "strength"):
        if name in has and "init_image" not in has:
            raise ConfigError(
                f"{name} without init_image: there is no picture to start from. Give one (--init-image), "
                f"or leave {name} out"
            )
    if "control_scale" in has and "control_image" not in has:
        raise ConfigError(
            "control_scale without control_image: give the image that a ControlNet reads (--control-image), "
            "or leave control_scale out"
        )
    if "control_image" in has and not controlnet:
        raise ConfigError(
            "control_image needs a ControlNet for this base model, and this stack has none. Give its "
            "diffusers folder (--controlnet PATH; in Python, from_pretrained(controlnet=PATH)), or use a "
            'stack with the role "controlnet"'
        )


def open_canvas(
    size: tuple[int, int] | None,
    init_image: ImageSource | None = None,
    mask: ImageSource | None = None,
    control_image: ImageSource | None = None,
) -> Canvas:
    """Read the pictures, and cut each in the middle to the shape of `size` = (H, W), then scale it.

    size: None leaves them as they are, to find mistakes before there is a size. mask: white is drawn anew,
    black stays; it lies over `init_image` and has its shape. Raises MissingFileError or ImageError: a picture
    that cannot be read. ConfigError: a mask of another shape, with transparent places, or without any white,
    at least in what is left of it at that size.
    """
    given = {"init_image": init_image, "mask": mask, "control_image": control_image}
    opened = {
        name: open_picture(one, name=_called(name, one)) for name, one in given.items() if one is not None
    }
    if "mask" in opened:
        _check_mask(opened["mask"], opened["init_image"])
    cut = {
        name: np.array(_cut(picture.pixels, size or picture.pixels.shape[:2], name == "mask"))
        for name, picture in opened.items()
    }
    notes = [
        note for name, picture in opened.items() if name != "mask" for note in _notes(name, picture, size)
    ]
    return Canvas(
        init=cut.get("init_image"),
        mask=None if "mask" not in cut else _weights(cut["mask"], opened["mask"]),
        control=cut.get("control_image"),
        digests={name: hashlib.sha256(pixels.tobytes()).hexdigest() for name, pixels in cut.items()},
        notes=tuple(notes),
    )


def settle(settings: Settings, canvas: Canvas) -> Settings:
    """`settings` with the strengths that count for this canvas: None where there is nothing to weigh.

    Raises ConfigError: so weak that not a single step is left.
    """
    usual = STRENGTH if canvas.mask is None else MASKED_STRENGTH
    strength = None if canvas.init is None else settings.strength or usual
    scale = settings.control_scale if settings.control_scale is not None else CONTROL_SCALE
    chosen = replace(
        settings, strength=strength, control_scale=None if canvas.control is None else float(scale)
    )
    if steps_run(chosen) < 1:
        need = math.ceil(1 / chosen.strength) if chosen.strength else 1
        raise ConfigError(
            f"strength={chosen.strength} of {chosen.steps} steps is not one step: nothing would change. "
            f"Give more strength, or at least {need} steps"
        )
    return chosen


def steps_run(settings: Settings) -> int:
    """Steps that are really done: a start picture of strength s skips the first 1 - s of them."""
    return settings.steps if settings.strength is None else int(settings.steps * settings.strength)


def _called(name: str, source: Any) -> str | None:
    return None if isinstance(source, str) or hasattr(source, "__fspath__") else name


def _check_mask(mask: Picture, init: Picture) -> None:
    if mask.see_through:
        raise ConfigError(
            f"mask {mask.name} has transparent places, which say neither white (drawn anew) nor black (stays)"
            ". Save it without transparency, in white and black"
        )
    (mw, mh), (iw, ih) = mask.size, init.size
    if abs(mw * ih / (mh * iw) - 1) > SAME_SHAPE:
        raise ConfigError(
            f"mask {mask.name} is {mw}x{mh}, but the init image {iw}x{ih}: a mask lies over the picture. "
            "Give both in one shape"
        )


def _cut(pixels: Pixels, size: tuple[int, int], is_mask: bool) -> Image.Image:
    """The largest part of this shape around the middle, scaled to `size` (H, W)."""
    image = Image.fromarray(pixels)
    height, width = size
    scale = min(image.width / width, image.height / height)
    across, down = width * scale, height * scale
    left, top = (image.width - across) / 2, (image.height - down) / 2
    box = (left, top, left + across, top + down)
    if is_mask:
        return image.convert("L").resize((width, height), Image.Resampling.BOX, box=box)
    if (width, height) == image.size:
        return image  # pixel by pixel: what stays under a mask is the user's own
    return image.resize((width, height), MIDDLE, box=box)


def _weights(grey: Pixels, mask: Picture) -> Floats:
    """Grey (H, W) -> [0, 1], near black and near white snapped."""
    levels = grey.astype(np.float32)
    levels[grey < SNAP] = 0
    levels[grey > 255 - SNAP] = 255
    if not levels.any():
        why = _LOST.format(*grey.shape[::-1]) if mask.pixels.max() >= SNAP else "all black"
        raise ConfigError(
            f"mask {mask.name}: {why}, so nothing would be drawn."
            " White is drawn anew, black stays: paint what should change white"
        )
    return levels / np.float32(255)


_LOST = "no white is left of it at {}x{}, it is too small or near an edge that is cut off"


def _notes(name: str, picture: Picture, size: tuple[int, int] | None) -> Iterator[str]:
    (width, height), (high, wide) = picture.size, size or picture.size[::-1]
    if abs(width * high / (height * wide) - 1) > SAME_SHAPE:
        yield (
            f"{name}: {width}x{height} cut in the middle to the shape of {wide}x{high}. Give height and "
            "width of its own shape to keep it whole"
        )
    if picture.see_through:
        yield f"{name}: its transparent places are laid on grey. Lay them on the colour that you mean"
