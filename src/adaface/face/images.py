"""Any picture a user has -> upright RGB (H, W, 3) uint8 of bounded size.

The bounds: at most MAX_PIXELS are decoded (a JPEG is decoded at a reduced scale first), and the longer side
of the result is at most MAX_SIDE. Only raster formats without an interpreter behind them are opened.
"""

import io
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, JpegImagePlugin, UnidentifiedImageError

from adaface.errors import ImageError, MissingFileError
from adaface.face.pixels import from_array, see_through, to_rgb, upright
from adaface.face.types import ImageSource, Pixels

MAX_SIDE = 4096  # longer side of what is worked on; detection works on a smaller copy still
MAX_PIXELS = 100_000_000  # decoded at most: 300 MB in RGB
MAX_JPEG_PIXELS = 400_000_000  # of a baseline JPEG, which is decoded at a reduced scale
MAX_RATIO = 64  # longer to shorter side; beyond it nothing in the picture can be a face
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "AVIF", "JPEG2000", "PPM", "TGA")
EXTENSIONS = frozenset(
    {".avif", ".bmp", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pgm", ".png", ".ppm"}
    | {".tga", ".tif", ".tiff", ".webp"}
)

# First bytes, lower case -> what the file really is
_LOOKALIKES = (
    (b"version https://git-lfs", "a Git LFS pointer. Fetch the real file: git lfs pull"),
    (b"<!doctype", "a web page. Download the picture itself"),
    (b"<html", "a web page. Download the picture itself"),
    (b"<svg", "a vector drawing. Save it as PNG"),
    (b"<?xml", "an XML file, perhaps a vector drawing. Save it as PNG"),
    (b"%pdf", "a PDF. Save the page as PNG"),
    (b"%!ps", "a PostScript file. Save it as PNG"),
)
_HEIC = (b"ftypheic", b"ftypheix", b"ftyphevc", b"ftypmif1", b"ftypmsf1")
# What decoders throw at broken or hostile files (UserWarning: where warnings are errors)
_BROKEN = (
    OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, struct.error, ArithmeticError,
    MemoryError, NotImplementedError, AttributeError, UserWarning,
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture as it is worked on.

    pixels: (H, W, 3) uint8 RGB, upright. name: what messages call it. size: (width, height) of the upright
    original, which is larger than `pixels` if that was reduced. see_through: it had transparent places, which
    are laid on grey.
    """

    pixels: Pixels
    name: str
    size: tuple[int, int]
    see_through: bool = False

    @property
    def scale(self) -> float:
        """Pixels of `pixels` for each pixel of the original, at most 1."""
        return max(self.pixels.shape[:2]) / max(self.size)


def load_image(source: ImageSource, *, max_side: int = MAX_SIDE) -> Pixels:
    """Read a picture of any mode: upright by EXIF, transparency on grey, 16 bits scaled to 8, bounded.

    source: path, encoded bytes, PIL picture, or an array in RGB order: (H, W), (H, W, 1), (H, W, 3) or (H, W,
    4); uint8, uint16, or float in [0, 1]. Returns (H, W, 3) uint8 whose longer side is at most `max_side`.
    Raises MissingFileError: no such file. ImageError: not a picture, broken, empty, a folder, or far too
    large.
    """
    return open_picture(source, max_side=max_side).pixels


def open_picture(source: ImageSource, *, max_side: int = MAX_SIDE, name: str | None = None) -> Picture:
    """`load_image` with a name for messages (None: `describe(source)`) and the size of the original; the same
    errors.
    """
    name = name or describe(source)
    if isinstance(source, np.ndarray):
        image = from_array(source, name)
        return _bounded(image, name, max_side, image.size)
    if isinstance(source, Image.Image):
        with _reading(name):
            return _decode(source, name, max_side, source.size)
    if isinstance(source, bytes):
        return _open_stream(io.BytesIO(source), name, max_side)
    if isinstance(source, str | Path):
        with _opened(source) as stream:
            return _open_stream(stream, name, max_side)
    raise ImageError(
        f"{name}: not a picture. Give a path, bytes, a PIL picture, or a numpy array (H, W, 3) in RGB order"
    )


def describe(source: object) -> str:
    """What a picture is called in messages: its path, or its kind and size."""
    if isinstance(source, str | Path):
        return str(source)
    if isinstance(source, np.ndarray):
        return f"array {'x'.join(map(str, source.shape))} {source.dtype}"
    if isinstance(source, Image.Image):
        return str(getattr(source, "filename", "") or f"{source.mode} picture {source.width}x{source.height}")
    if isinstance(source, bytes):
        return f"picture of {len(source)} bytes"
    return f"object of type {type(source).__name__}"


def photos_in(folder: Path) -> list[Path]:
    """The picture files right in `folder`, by name; hidden files and other kinds are passed over.

    Raises ImageError: there is none.
    """
    entries = sorted(folder.iterdir())
    found = [
        p for p in entries if p.suffix.lower() in EXTENSIONS and not p.name.startswith(".") and p.is_file()
    ]
    if not found:
        below = [p.name for p in entries if p.is_dir()]
        hint = (
            f". It holds folders ({', '.join(below[:3])}): name one of these"
            if below
            else ". Name a folder of photos"
        )
        raise ImageError(f"{folder}: no picture in this folder{hint}")
    return found


def existing(source: str | Path) -> Path:
    """The path of a file or folder that is there; `~` is the user's home.

    Raises MissingFileError: nothing is there, or it cannot be reached.
    """
    if str(source).startswith(("http:", "https:")):
        raise MissingFileError(f"{source}: a web address. Download the picture and give its path")
    if not str(source):
        raise MissingFileError("an empty name for a picture or folder. Give its path; this folder is .")
    try:
        path = Path(source).expanduser()
        path.stat()
    except FileNotFoundError as error:
        which = "file or folder" if path.parent.is_dir() else f"folder as {path.parent}"
        raise MissingFileError(f"{source}: no such {which}. Check the name") from error
    except (OSError, ValueError, RuntimeError) as error:  # no permission, too long, a null byte, no home
        raise MissingFileError(
            f"{source}: cannot be reached ({error}). Check the name and permissions"
        ) from error
    return path


@contextmanager
def _opened(source: str | Path) -> Iterator[BinaryIO]:
    path = existing(source)
    if path.is_dir():
        raise ImageError(f"{path}: a folder, not a picture. Name one picture in it")
    if not path.is_file():
        raise ImageError(f"{path}: not a regular file. Save the picture to a file first")
    try:
        stream = path.open("rb")
    except OSError as error:
        raise ImageError(f"{path}: cannot be opened ({error.strerror}). Check its permissions") from error
    with stream:
        yield stream


@contextmanager
def _reading(name: str) -> Iterator[None]:
    try:
        yield
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        limit = f"{MAX_PIXELS // 10**6} million pixels"
        raise ImageError(
            f"{name}: the picture has more than {limit}. Make it smaller and try again"
        ) from error
    except _BROKEN as error:
        raise ImageError(
            f"{name}: the picture is broken or cut off ({error}). Save or download it again"
        ) from error


def _open_stream(stream: BinaryIO, name: str, max_side: int) -> Picture:
    head = stream.read(64)
    stream.seek(0)
    if not head:
        raise ImageError(f"{name}: the file is empty (0 bytes). Save or download it again")
    with _reading(name):
        image = _identify(stream, head)
        if image is None:
            raise ImageError(f"{name}: {_what_else(head)}")
        size = image.size
        if isinstance(image, JpegImagePlugin.JpegImageFile):
            _reduce_jpeg(image, max_side)
        return _decode(image, name, max_side, size)


def _identify(stream: BinaryIO, head: bytes) -> Image.Image | None:
    if (
        head[:3] == b"\xff\xd8\xff"
    ):  # directly, because Image.open refuses 200-megapixel photos before they are reduced
        return JpegImagePlugin.JpegImageFile(stream)
    Image.init()
    try:
        return Image.open(stream, formats=[name for name in FORMATS if name in Image.OPEN])
    except UnidentifiedImageError:
        return None


def _reduce_jpeg(image: JpegImagePlugin.JpegImageFile, max_side: int) -> None:
    """Let libjpeg decode at 1/2, 1/4 or 1/8; progressive files need the memory of the full size anyway."""
    limit = MAX_PIXELS if image.info.get("progressive") else MAX_JPEG_PIXELS
    if image.width * image.height > limit:
        raise Image.DecompressionBombError
    longest = max(image.size)
    if longest > max_side:
        image.draft(
            None, (max(1, image.width * max_side // longest), max(1, image.height * max_side // longest))
        )


def _what_else(head: bytes) -> str:
    if head[4:12] in _HEIC:
        return "a HEIC photo, which cannot be read here. Save it as JPEG or PNG"
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for magic, what in _LOOKALIKES:
        if start.startswith(magic):
            return what
    return "not a picture that can be read. Give JPEG, PNG, WebP, TIFF, BMP or GIF"


def _decode(image: Image.Image, name: str, max_side: int, size: tuple[int, int]) -> Picture:
    """size: (width, height) as stored, before a reduced-scale decoding and before the EXIF rotation."""
    if image.width * image.height > MAX_PIXELS:
        raise Image.DecompressionBombError
    image.load()
    turned = upright(image)
    swapped = turned is not image and turned.size == image.size[::-1] and turned.width != turned.height
    return _bounded(turned, name, max_side, size[::-1] if swapped else size)


def _bounded(image: Image.Image, name: str, max_side: int, size: tuple[int, int]) -> Picture:
    clear, image = see_through(image), to_rgb(image)
    width, height = image.size
    if not width or not height:
        raise ImageError(f"{name}: the picture has no pixels ({width}x{height}). Give another one")
    if max(width, height) > MAX_RATIO * min(width, height):
        raise ImageError(f"{name}: a strip of {width}x{height} pixels. Cut the part with the face out of it")
    if max(width, height) > max_side:
        ratio = max_side / max(width, height)
        image = image.resize(
            (max(1, round(width * ratio)), max(1, round(height * ratio))), Image.Resampling.BOX
        )
    return Picture(np.array(image), name, size, clear)
