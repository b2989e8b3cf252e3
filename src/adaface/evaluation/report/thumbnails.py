"""Pictures of any size -> pictures inside a page, as data URLs."""

import base64
import io
from collections.abc import Mapping
from pathlib import Path

from PIL import Image

from adaface.errors import AdaFaceError
from adaface.face.images import load_image

SIDE = 192  # pixels; a smaller picture stays as it is


def thumbnail(path: Path, side: int = SIDE) -> str | None:
    """The picture, at most `side` pixels wide and high, as a data URL; None where it cannot be opened."""
    try:
        if not path.is_file():  # opening a pipe may never end
            return None
        small = Image.fromarray(load_image(path, max_side=4 * side))
    except (AdaFaceError, OSError):
        return None
    small.thumbnail((side, side))
    stream = io.BytesIO()
    small.save(stream, "JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()


def data_urls(pictures: Mapping[str, bytes]) -> dict[str, str]:
    """PNG files as data URLs, under the same names."""
    return {
        name: "data:image/png;base64," + base64.b64encode(picture).decode()
        for name, picture in pictures.items()
    }
