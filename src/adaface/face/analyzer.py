"""FaceAnalyzer: from a picture to a face, from photos to a person. Letters: F faces."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from adaface.errors import (
    AdaFaceError,
    ConfigError,
    DifferentPeopleError,
    FaceError,
    FaceTooSmallError,
    ImageError,
    NoFaceError,
    ShapeError,
)
from adaface.face.align import CROP, TEMPLATE, align
from adaface.face.choose import Choice
from adaface.face.images import Picture, describe, existing, load_image, open_picture, photos_in
from adaface.face.photos import Candidates, LeftOut, PhotoSet, combine
from adaface.face.quality import quality
from adaface.face.recognize import default_recognizer, unit
from adaface.face.search import find_faces
from adaface.face.types import AlignedCrop, Face, FaceDetector, FaceRecognizer, Floats, ImageSource, Pixels

# Of the box's shorter side. 120 LFW photos made smaller keep this cosine with the embedding of the original:
# 12 px 0.58, 16 px 0.72, 20 px 0.82, 24 px 0.88, 32 px 0.95, 40 px 0.97.
MIN_FACE_PX = 20
ENLARGE_TO = 256  # tiny pictures are enlarged to this before faces are cut out of them

# What counts as a photo of a face: a picture, an aligned crop, a ready ID embedding (D_id,), or a Face.
Photo: TypeAlias = ImageSource | AlignedCrop | Face


class FaceAnalyzer:
    """Faces of pictures, with any detector and any recogniser. Safe to use from several threads.

    detector: None for YuNet. recognizer: None for SFace (128 numbers). Both come with an installed package.
    min_face_px: least shorter side of the box, in pixels of the original picture, of a face that is used.
    threads: of ONNX Runtime, for the default recogniser. persistent: look again at framed, scaled and turned
    copies of a picture in which nothing is found.
    Raises ConfigError: min_face_px or threads below 1. MissingFileError: the package with the models is not
    installed.
    """

    def __init__(
        self,
        detector: FaceDetector | None = None,
        recognizer: FaceRecognizer | None = None,
        *,
        min_face_px: float = MIN_FACE_PX,
        threads: int = 1,
        persistent: bool = True,
    ) -> None:
        if not min_face_px >= 1:
            raise ConfigError(f"min_face_px={min_face_px}: give 1 or more, usual is {MIN_FACE_PX}")
        self.detector = detector if detector is not None else _default_detector()
        self.recognizer = recognizer if recognizer is not None else default_recognizer(threads=threads)
        self.min_face_px = min_face_px
        self.persistent = persistent

    def faces(self, image: ImageSource) -> list[Face]:
        """All faces of a picture, however small, the largest first; [] if there is none.

        Raises what `adaface.face.load_image` raises.
        """
        return self._faces(open_picture(image))

    def face(
        self,
        image: Photo,
        *,
        index: int | None = None,
        position: tuple[float, float] | None = None,
        reference: Photo | None = None,
        strict: bool = False,
    ) -> Face:
        """One face: the largest, or the one that `index`, `position` or `reference` means.

        image: a picture; an `AlignedCrop`, a ready ID embedding (D_id,) and a Face are taken as they are.
        index: 0 is the largest. position: x, y in pixels of the upright picture, in or near the face.
        reference: a photo of the person (or an ID embedding); the face most like it is taken. strict: several
        faces of useful size are an error, unless one of the former is given.
        Raises NoFaceError: none found, or none like the reference. SeveralFacesError: strict, with the boxes.
        FaceTooSmallError: below `min_face_px`. ConfigError: two ways to choose at once, or one that does not
        fit. ShapeError: an ID embedding of another length. And what `adaface.face.load_image` raises.
        """
        choice = self._choice(index, position, reference, strict)
        name = describe(image)
        ready = self._ready(image, name)
        if ready is not None:
            return ready
        size, faces = self._found(image, name)  # type: ignore[arg-type]  # what is ready was taken above
        return self._chosen(faces, size, choice, name)

    def identity(
        self,
        photos: Photo | Sequence[Photo],
        *,
        index: int | None = None,
        position: tuple[float, float] | None = None,
        reference: Photo | None = None,
        strict: bool = False,
        keep_all: bool = False,
    ) -> PhotoSet:
        """One person out of photos: the mean of the ID embeddings weighted by quality, of length 1.

        photos: one or a sequence of what `face` takes; a folder stands for the pictures in it. Of several
        photos, those of somebody else, without a usable face, or unreadable are left out and reported in
        `left_out`; in a photo of several people the face is taken that the other photos show. index,
        position: for a single photo only. reference: a photo of the person, which decides who is meant.
        strict: whatever would be left out, and several faces in a photo, is an error instead. keep_all: do
        not compare the photos.
        Raises DifferentPeopleError: the photos disagree and no majority says who is meant. NoFaceError and
        others: no photo is left; the error of the first, or all reasons. MissingFileError: a path that is not
        there, even among others. And what `face` raises.
        """
        choice = self._choice(index, position, reference, strict)
        named = list(_expanded(photos))
        if not named:
            raise ConfigError("photos: empty. Give at least one photo, or a folder of photos")
        if len(named) > 1 and (index is not None or position is not None):
            raise ConfigError(
                f"index and position choose in one photo, but {len(named)} are given. Use reference "
                "(--reference) instead"
            )
        candidates, failed = self._candidates(named, choice)
        found = combine(
            candidates, same_person=self._same_person, reference=choice.reference, keep_all=keep_all
        )
        left_out = (*failed, *found.left_out)
        strangers = [f"{item.name}: {item.reason}" for item in found.left_out if item.similarity is not None]
        if strict and strangers:
            raise DifferentPeopleError(
                f"{'; '.join(strangers)}. Remove these photos, or do without strict (--strict)", [found.used]
            )
        return replace(found, left_out=left_out, recognizer=self.recognizer.name)

    @property
    def _same_person(self) -> float | None:
        return getattr(self.recognizer, "same_person", None)

    def _choice(
        self, index: int | None, position: tuple[float, float] | None, reference: Photo | None, strict: bool
    ) -> Choice:
        vector = None if reference is None else self.face(reference).id_embedding
        return Choice(index=index, position=position, reference=vector, strict=strict)

    def _candidates(
        self, named: Sequence[tuple[str, Photo]], choice: Choice
    ) -> tuple[list[Candidates], list[LeftOut]]:
        """The usable faces of each photo, and the photos that have none; an error if all have none."""
        candidates: list[Candidates] = []
        errors: list[tuple[str, AdaFaceError]] = []
        for name, photo in named:
            try:
                candidates.append(Candidates(name, self._usable(photo, choice, name)))
            except (ImageError, FaceError) as error:
                if choice.strict or len(named) == 1:
                    raise
                errors.append((name, error))
        failed = [LeftOut(name, str(error).removeprefix(f"{name}: ")) for name, error in errors]
        if not candidates:
            kinds = {type(error) for _, error in errors}
            kind = kinds.pop() if len(kinds) == 1 else NoFaceError
            reasons = "; ".join(str(error) for _, error in errors[:4])
            raise kind(f"none of the {len(named)} photos can be used: {reasons}") from errors[0][1]
        return candidates, failed

    def _usable(self, photo: Photo, choice: Choice, name: str) -> list[Face]:
        """The faces of a photo that may be meant, the preferred one first; at least one."""
        ready = self._ready(photo, name)
        if ready is not None:
            return [ready]
        size, faces = self._found(photo, name)  # type: ignore[arg-type]  # what is ready was taken above
        if choice.strict or choice.index is not None or choice.position is not None:
            return [self._chosen(faces, size, choice, name)]
        return self._useful(faces) or [self._chosen(faces, size, choice, name)]

    def _useful(self, faces: Sequence[Face]) -> list[Face]:
        return [face for face in faces if face.size_px >= self.min_face_px]

    def _chosen(self, faces: Sequence[Face], size: tuple[int, int], choice: Choice, name: str) -> Face:
        # Index and position count all faces, as the preview shows them; the other ways never mean a tiny one.
        whole = choice.index is not None or choice.position is not None
        face = choice.pick(
            faces if whole else self._useful(faces) or faces[:1], size, self._same_person, name
        )
        if face.size_px < self.min_face_px:
            raise FaceTooSmallError(
                f"{name}: the face at ({', '.join(f'{v:.0f}' for v in face.box)}) has {face.size_px:.0f} "
                f"pixels, at least {self.min_face_px:g} are needed. Use a larger photo or a closer one, or "
                "lower min_face_px of the FaceAnalyzer (--min-face)"
            )
        return face

    def _found(self, image: ImageSource, name: str) -> tuple[tuple[int, int], list[Face]]:
        """Size of the upright picture and its faces, at least one."""
        picture = open_picture(image, name=name)
        faces = self._faces(picture)
        if faces:
            return picture.size, faces
        width, height = picture.size
        tried = ", nor with a border, at other scales, or turned" if self.persistent else ""
        raise NoFaceError(
            f"{name}: no face found in {width}x{height} pixels{tried}. Use a photo that shows both eyes, "
            "nose and mouth clearly; in Python, an aligned face crop can be given as AlignedCrop(picture)"
        )

    def _faces(self, picture: Picture) -> list[Face]:
        pixels = _enlarged(picture.pixels)
        found = find_faces(self.detector, pixels, persistent=self.persistent)
        if not found:
            return []
        crops = np.stack([align(pixels, face.landmarks) for face in found])
        vectors = self.recognizer(crops)  # (F, 112, 112, 3) -> (F, D_id)
        factor = max(picture.size) / max(pixels.shape[:2])
        faces = []
        for face, crop, vector in zip(found, crops, vectors, strict=True):
            box, landmarks = _rescaled(face.box, factor), _rescaled(face.landmarks, factor)
            faces.append(Face(box, landmarks, face.score, vector, quality(crop, landmarks, face.score)))
        return sorted(faces, key=lambda face: -face.area)

    def _ready(self, photo: Photo, name: str) -> Face | None:
        """A Face for what needs no detection; None for a picture."""
        if isinstance(photo, AlignedCrop):
            return self._from_crop(photo, name)
        if isinstance(photo, Face):
            self._check_embedding(photo.id_embedding, name)
            return photo
        vector = _as_vector(photo, self.recognizer.dim)
        if vector is None:
            return None
        self._check_embedding(vector, name)
        nowhere = np.zeros((7, 2), np.float32)
        return Face(nowhere[:2].reshape(4), nowhere[2:], 1.0, unit(vector), 1.0)

    def _check_embedding(self, vector: Floats, name: str) -> None:
        if vector.shape != (self.recognizer.dim,):
            raise ShapeError(
                f"{name}: an ID embedding of {vector.size} numbers, but the recogniser "
                f"{self.recognizer.name} has {self.recognizer.dim}. Give one of this recogniser, or the photo"
            )
        if not np.isfinite(vector).all() or not vector.any():
            raise ShapeError(f"{name}: an ID embedding that is zero or holds NaN. Compute it again")

    def _from_crop(self, crop: AlignedCrop, name: str) -> Face:
        import cv2

        pixels = load_image(crop.image)
        height, width = pixels.shape[:2]
        if height != width:
            raise ImageError(
                f"{name}: an aligned crop is square, this is {width}x{height}. Give the photo itself, "
                "without AlignedCrop"
            )
        if height != CROP:
            way = cv2.INTER_AREA if height > CROP else cv2.INTER_CUBIC
            pixels = cv2.resize(pixels, (CROP, CROP), interpolation=way)
        landmarks = TEMPLATE * np.float32(height / CROP)
        vector = self.recognizer(pixels[None])[0]
        box = np.array([0, 0, width, height], np.float32)
        return Face(box, landmarks, 1.0, vector, quality(pixels, landmarks, 1.0))


def _default_detector() -> FaceDetector:
    from adaface.face.detect import YuNet

    return YuNet()


def _enlarged(pixels: Pixels) -> Pixels:
    """Tiny pictures at a scale that detector and recogniser know; generated faces of 64 pixels need it."""
    import cv2

    height, width = pixels.shape[:2]
    scale = ENLARGE_TO / max(height, width)
    if scale <= 1:
        return pixels
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    large: Pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_CUBIC)
    return large


def _rescaled(points: Floats, factor: float) -> Floats:
    """Coordinates at another scale; the centre of a pixel is an integer."""
    return ((points + 0.5) * factor - 0.5).astype(np.float32)


def _as_vector(photo: object, dim: int) -> Floats | None:
    """An ID embedding (D_id,) or (1, D_id), as an array or a tensor; None for anything else."""
    if hasattr(photo, "detach"):  # a torch tensor, maybe with gradient, on a device, or in half precision
        photo = photo.detach().cpu().float()
    if isinstance(photo, str | Path | bytes | Image.Image) or not hasattr(photo, "__array__"):
        return None
    array: NDArray[Any] = np.asarray(photo)
    if array.shape == (1, dim):
        array = array[0]
    return array.astype(np.float32) if array.ndim == 1 and array.dtype.kind in "fiu" else None


def _expanded(photos: Photo | Sequence[Photo]) -> Iterator[tuple[str, Photo]]:
    """Each photo with its name; a folder stands for its pictures. Wrong paths are found before any work."""
    single = isinstance(photos, str | Path | bytes | Image.Image | np.ndarray | AlignedCrop | Face)
    if not single and not isinstance(photos, Iterable):
        raise ConfigError(f"photos={photos!r}: give a photo, a folder, or a list of photos")
    items: list[Photo] = [photos] if single else list(photos)  # type: ignore[list-item,arg-type]
    for k, item in enumerate(items, 1):
        if not isinstance(item, str | Path):
            yield (describe(item) if len(items) == 1 else f"photo {k} ({describe(item)})"), item
        elif existing(item).is_dir():
            yield from ((str(path), path) for path in photos_in(existing(item)))
        else:
            yield str(item), item
