"""Any mode of Pillow, any array -> RGB uint8: 16 bits scaled, transparency laid on grey, EXIF undone."""

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from adaface.errors import ImageError
from adaface.face.types import Pixels

BACKGROUND = (
    128,
    128,
    128,
)  # behind transparent parts: the colours hidden there must not come back as a face

TRANSPARENT = ("RGBA", "LA", "PA", "La", "RGBa")  # modes with an alpha channel


def upright(image: Image.Image) -> Image.Image:
    """Undo the rotation that the EXIF header names; a header that cannot be read means none."""
    try:
        return ImageOps.exif_transpose(image)
    except (SyntaxError, ValueError, TypeError, LookupError, OSError, struct.error, UserWarning):
        return image


def see_through(image: Image.Image) -> bool:
    """Is any pixel transparent, if only a little? An alpha channel that is full everywhere counts nothing."""
    if image.mode not in TRANSPARENT and "transparency" not in image.info:
        return False
    return bool((np.asarray(image.convert("RGBA").getchannel("A")) < 255).any())


def to_rgb(image: Image.Image) -> Image.Image:
    """Any mode -> RGB. `convert("RGB")` alone clips 16-bit grey to white and drops transparency."""
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        image = Image.fromarray(_to_uint8_grey(np.asarray(image)))
    if image.mode in TRANSPARENT or "transparency" in image.info:
        rgba = image.convert("RGBA")
        image = Image.new("RGBA", rgba.size, (*BACKGROUND, 255))
        image.alpha_composite(rgba)
    return image.convert("RGB")


def _to_uint8_grey(values: NDArray[Any]) -> Pixels:
    """Grey of an unknown scale: floats in [0, 1], else 8 bits if none is above 255, 16 bits, or stretched."""
    grey = np.nan_to_num(values.astype(np.float64))
    top = float(grey.max(initial=0.0))
    if values.dtype.kind == "f" and top <= 1.0:
        grey = grey * 255
    elif values.dtype == np.uint16 or 255 < top <= 65535:
        grey = grey / 257
    elif top > 65535:
        grey = grey * (255 / top)
    return np.clip(np.rint(grey), 0, 255).astype(np.uint8)


def from_array(array: NDArray[Any], name: str) -> Image.Image:
    """(H, W), (H, W, 1), (H, W, 3) or (H, W, 4) in RGB order -> a picture; uint8, uint16, bool, or float in
    [0, 1].

    Raises ImageError: another shape or type, no pixels, or values out of range.
    """
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)):
        raise ImageError(
            f"{name}: not the shape of a picture. Give (H, W), (H, W, 3) or (H, W, 4), colours in RGB order"
        )
    if not array.size:
        raise ImageError(f"{name}: the picture has no pixels. Give another one")
    return Image.fromarray(_array_to_uint8(array, name))


def _array_to_uint8(array: NDArray[Any], name: str) -> Pixels:
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * np.uint8(255)
    if array.dtype == np.uint16:
        return np.rint(array / 257).astype(np.uint8)
    if array.dtype.kind != "f":
        raise ImageError(
            f"{name}: pixels of this type are not read. Give uint8 (0..255), uint16, or float in [0, 1]"
        )
    low, high = float(array.min()), float(array.max())
    if not (low >= -1e-3 and high <= 1 + 1e-3):  # NaN fails both
        raise ImageError(f"{name}: values from {low:g} to {high:g}. Give floats in [0, 1], or uint8")
    return np.rint(np.clip(array, 0, 1) * 255).astype(np.uint8)
