"""One photo -> what is seen in it: steps that are pure functions, in the order they run. Letter: S pixels."""

import errno
import hashlib
import io
import re
import stat
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from adaface.data.corners import pixels_inside
from adaface.data.prepare.judging.duplicates import fingerprint, portrait
from adaface.data.prepare.looking.crop import (
    Matrix,
    covered,
    cut,
    cut_mask,
    head_frame,
    inside_photo,
    moved,
    photo_corners,
)
from adaface.data.prepare.settings import PrepareSettings
from adaface.data.record import Photo, Rejection
from adaface.errors import ImageError
from adaface.face.analyzer import FaceAnalyzer
from adaface.face.images import Picture, open_picture
from adaface.face.traits.age_gender import AgeGender, AgeGenderBackend
from adaface.face.traits.parse import FaceParser
from adaface.face.types import Face, Floats, Pixels

MAX_BYTES = 512 * 2**20  # of a file
BESIDE = 0.4  # of the largest face: smaller ones are bystanders
MOST_FACES = 4  # of a photo that are kept until it is known which one is meant
FEW_LABELS = 9  # of 19 kinds of face parts: a parser that sees no more has not seen a face (as the original)
JPEG_QUALITY = 95
_ADDRESS = re.compile(r"<[^<>]* at 0x[0-9a-fA-F]+>")
# What stays so until somebody does something about the file; any other trouble of the disk may pass.
LASTING = {errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG}
TRIES, PAUSE_S = 3, 0.2  # at a file that the disk or the network refuses
LIKENESS = 128  # side of the crop that copies are told by, whatever the size of the others


class Unusable(Exception):
    """A photo that is left out: a finding, not a fault; carries the rejection."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.rejection = Rejection(code, sentence)


class Passing(Exception):
    """A file that cannot be read just now: nothing is known of the photo, so nothing may be written down."""


@dataclass(frozen=True, eq=False)
class Crop:
    """One face of a photo, cut out; fields as of `adaface.data.record.FaceLook`.

    image, mask: encoded files.
    """

    face: Face
    landmarks: Floats
    inside: float
    corners: Floats | None
    fingerprint: int
    portrait: NDArray[np.uint8]
    image: bytes
    mask: bytes | None
    traits: AgeGender | None


@dataclass(frozen=True, eq=False)
class Tools:
    """The networks that look at photos. parser, traits: None where nobody asks."""

    analyzer: FaceAnalyzer
    parser: FaceParser | None = None
    traits: AgeGenderBackend | None = None


def read(photo: Photo) -> bytes:
    """The bytes of the file.

    Raises Unusable: it cannot be read, is empty, or far too large. Passing: it cannot be read just now.
    """
    try:
        data = _bytes_of(photo.file)
    except OSError as error:
        why = error.strerror or str(error)
        raise Unusable(
            "unreadable_file", f"The file cannot be read ({why}). Check its permissions"
        ) from error
    if not data:
        raise Unusable("empty_file", "The file is empty (0 bytes). Save or download it again")
    return data


def _bytes_of(path: Path) -> bytes:
    """What is in a file, tried again where the trouble may pass. Raises as `read`, and OSError: it lasts."""
    for left in reversed(range(TRIES)):
        try:
            found = path.stat()
            if not stat.S_ISREG(found.st_mode):  # reading a pipe or a device may never end
                sentence = "This is a folder, a pipe or a device, not a file. Take it away"
                raise Unusable("unreadable_file", sentence)
            if found.st_size > MAX_BYTES:
                raise Unusable("too_large", f"The file has more than {MAX_BYTES >> 20} MB. Save it smaller")
            return path.read_bytes()
        except OSError as error:
            dangling = error.errno == errno.ENOENT and path.is_symlink()
            if error.errno in LASTING or dangling:
                raise
            if not left:
                raise Passing(f"{path}: cannot be read just now ({error.strerror or error})") from error
            time.sleep(PAUSE_S)
    raise AssertionError("the last try returns or raises")


def decode(data: bytes) -> Picture:
    """The upright RGB picture. Raises Unusable: not a picture, broken, or too large."""
    name = "photo"
    try:
        return open_picture(data, name=name)
    except ImageError as error:
        cause = error.__cause__
        sentence = _sentence(str(error).removeprefix(f"{name}: "))
        if cause is None:
            raise Unusable("not_a_picture", sentence) from error
        bomb = isinstance(cause, Image.DecompressionBombError | Image.DecompressionBombWarning)
        raise Unusable("too_large" if bomb else "broken_file", sentence) from error


def faces(picture: Picture, photo: Photo, analyzer: FaceAnalyzer, settings: PrepareSettings) -> list[Face]:
    """The faces that may be meant, the largest first; of a folder of many people the largest only.

    Raises Unusable: there is none, or none that is large and clear enough.
    """
    found = analyzer.faces(picture.pixels)
    width, height = picture.size
    if not found:
        raise Unusable("no_face", f"No face was found in {width}x{height} pixels")
    least = settings.min_face_px * picture.scale
    large = [face for face in found if face.size_px >= max(least, BESIDE * found[0].size_px)]
    if not large:
        px = found[0].size_px / picture.scale
        sentence = f"The face has {px:.0f} pixels, at least {settings.min_face_px:g} are needed"
        raise Unusable("face_too_small", sentence)
    clear = [face for face in large if face.quality >= settings.min_quality]
    if not clear:
        best = max(face.quality for face in large)
        sentence = (
            f"The face is too blurred or too coarse: quality {best:.2f}, at least {settings.min_quality:g}"
        )
        raise Unusable("poor_quality", sentence)
    return clear[:1] if photo.mixed else clear[:MOST_FACES]


def crops(
    picture: Picture,
    chosen: list[Face],
    mask: NDArray[np.uint8] | None,
    tools: Tools,
    settings: PrepareSettings,
) -> list[Crop]:
    """Each face cut out with its mask; those that reach too far beyond the photo are left out.

    mask: the photo's given mask (H, W), 0 or 255. Raises Unusable: none is left.
    """
    made, troubles = [], []
    for face in chosen:
        try:
            made.append(_crop(picture, face, mask, tools, settings))
        except Unusable as trouble:
            troubles.append(trouble)
    if not made:
        raise troubles[0]
    return made


def given_mask(photo: Photo, picture: Picture) -> NDArray[np.uint8] | None:
    """The mask that lies beside the photo, at the size of `picture`: (H, W), 255 where the file has 255; else
    None.

    Raises Unusable: it cannot be read, has another shape, or nowhere 255. Passing: as `read`.
    """
    if photo.mask is None:
        return None
    try:
        with Image.open(io.BytesIO(_bytes_of(photo.folder / photo.mask))) as image:
            values = np.asarray(image.convert("L"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        why = plain(str(error))
        sentence = f"Its mask {photo.mask} cannot be read ({why}). Save it as a grey PNG, or take it away"
        raise Unusable("mask_does_not_fit", sentence) from error
    height, width = values.shape
    wide, high = picture.size
    if abs(width / height - wide / high) > 0.02 * wide / high:
        sentence = f"Its mask has {width}x{height} pixels, the photo {wide}x{high}. Make them of one shape"
        raise Unusable("mask_does_not_fit", sentence)
    if values.max() < 255:
        sentence = f"Its mask is nowhere 255 (at most {values.max()}), and only 255 counts as the person"
        raise Unusable("mask_does_not_fit", sentence)
    size = picture.pixels.shape[1::-1]
    person = Image.fromarray(np.where(values == 255, 255, 0).astype(np.uint8))
    return np.asarray(person if person.size == size else person.resize(size, Image.Resampling.NEAREST))


def look_at(photo: Photo, data: bytes, tools: Tools, settings: PrepareSettings) -> tuple[Picture, list[Crop]]:
    """All steps on the bytes of one photo. Raises Unusable. Passing: its mask cannot be read just now."""
    picture = decode(data)
    mask = given_mask(photo, picture)
    chosen = faces(picture, photo, tools.analyzer, settings)
    return picture, crops(picture, chosen, mask, tools, settings)


def digest_of(data: bytes) -> str:
    """sha256 of a file's bytes, in hex."""
    return hashlib.sha256(data).hexdigest()


def _crop(
    picture: Picture, face: Face, mask: NDArray[np.uint8] | None, tools: Tools, settings: PrepareSettings
) -> Crop:
    size, shape = settings.size, (picture.pixels.shape[1], picture.pixels.shape[0])
    frame = head_frame(face.landmarks, settings.margin)
    if settings.crop == "square":
        frame = inside_photo(frame, shape)
    matrix = frame.matrix(size)
    corners = photo_corners(matrix, shape)
    inside = covered(corners, size)
    if inside < settings.min_inside:
        sentence = (
            f"Only {100 * inside:.0f} % of the head's frame lies in the photo, at least "
            f"{100 * settings.min_inside:.0f} % are needed. Use a photo with more room around the face"
        )
        raise Unusable("cut_off", sentence)
    image = cut(picture.pixels, matrix, size)
    small = cut(picture.pixels, frame.matrix(LIKENESS), LIKENESS)
    person = _mask(image, mask, matrix, inside, tools.parser, corners)
    return Crop(
        face=face,
        landmarks=moved(face.landmarks, matrix),
        inside=inside,
        corners=corners if inside < 1 else None,
        fingerprint=fingerprint(small),
        portrait=portrait(small),
        image=encode(image, settings.image_type),
        mask=None if person is None else encode(person, "png"),
        traits=None if tools.traits is None else tools.traits(picture.pixels, face.box),
    )


def encode(pixels: Pixels, image_type: str) -> bytes:
    """Pixels (S, S, 3) or (S, S) as the bytes of a file: the same for the same pixels."""
    options: dict[str, dict[str, Any]] = {
        "jpg": {"format": "JPEG", "quality": JPEG_QUALITY, "subsampling": 0},
        "webp": {"format": "WEBP", "quality": 90, "method": 4},
        "png": {"format": "PNG", "compress_level": 3},
    }
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, **options[image_type])
    return stream.getvalue()


def _mask(
    image: Pixels, given: NDArray[np.uint8] | None, matrix: Matrix, inside: float, parser: FaceParser | None,
    corners: Floats,
) -> NDArray[np.uint8] | None:  # fmt: skip
    """The person in the crop (S, S), 0 or 255: by the given mask, else by the parser; None without both."""
    size = len(image)
    if given is not None:
        return cut_mask(given, matrix, size)
    if parser is None:
        return None
    mask, labels = parser(image)
    if labels is not None and labels <= FEW_LABELS:
        sentence = f"The parser sees only {labels} kinds of face parts, more than {FEW_LABELS} are usual"
        raise Unusable("few_face_parts", sentence)
    return mask if inside == 1 else np.where(pixels_inside(corners, size), mask, 0).astype(np.uint8)


def plain(text: str) -> str:
    """A message without the addresses of objects, which differ from run to run and tell people nothing."""
    return _ADDRESS.sub("it", text).strip()


def _sentence(text: str) -> str:
    """A message as a sentence of its own."""
    text = plain(text)
    return text[:1].upper() + text[1:]
