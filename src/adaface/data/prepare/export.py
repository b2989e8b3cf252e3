"""Kept photos out of the chunks: as entries of shards, and in the original's own layout."""

import io
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from PIL import Image

from adaface.data.original_layout import MASK, PERSON_TYPES, write_metainfo, write_person_types
from adaface.data.prepare.judging.judge import Verdict
from adaface.data.prepare.judging.people import PersonSummary
from adaface.data.prepare.looking.stage import Blobs, read_chunk
from adaface.data.prepare.sources import printable
from adaface.data.record import Chunk, FaceLook, Look, Photo
from adaface.data.shards import Entry
from adaface.errors import WriteError
from adaface.files import write_atomic

ORIGINAL, PEOPLE, MIXED = "original", "people", "mixed"
_WRITING = ".original"


@dataclass(frozen=True, eq=False)
class Kept:
    """A photo that is kept: what was seen, the face that is the person's, its crop and mask as files."""

    look: Look
    verdict: Verdict
    face: FaceLook
    image: bytes
    mask: bytes | None

    @property
    def photo(self) -> Photo:
        """The file that it comes from."""
        return self.look.photo


def kept_photos(
    work: Path, chunks: Sequence[Chunk], verdicts: Sequence[Verdict], some: frozenset[int] | None = None
) -> Iterator[Kept]:
    """The photos that are kept, in order; with `some`, only those of these numbers.

    verdicts: one for each photo of the chunks. Raises FormatError: a chunk is damaged.
    """
    number = 0
    for chunk in chunks:
        numbers = range(number, number + len(chunk.photos))
        number += len(chunk.photos)
        wanted = [k for k in numbers if verdicts[k].kept and (some is None or k in some)]
        if not wanted:
            continue
        looks = dict(zip(numbers, read_chunk(work, chunk), strict=True))
        with Blobs(work, chunk) as blobs:
            for k in wanted:
                face = looks[k].faces[verdicts[k].face]
                mask = None if face.mask is None else blobs.read(face.mask)
                yield Kept(looks[k], verdicts[k], face, blobs.read(face.image), mask)


def entry_of(kept: Kept, person: PersonSummary, image_type: str) -> Entry:
    """A kept photo as it goes into a shard."""
    face, look, photo = kept.face, kept.look, kept.photo
    return Entry(
        key=key_of(photo),
        image=kept.image,
        image_type=image_type,
        mask=kept.mask,
        person=photo.person,
        mixed=photo.mixed,
        class_word=person.class_word,
        landmarks=face.landmarks,
        id_embedding=face.id_embedding,
        photo_corners=face.corners,
        quality=face.quality,
        facts={
            "root": photo.root,
            "source": printable(photo.path),
            "source_sha256": look.sha256,
            "source_size": list(look.size),
            "face_px": round(face.face_px, 2),
            "score": round(face.score, 4),
            "similarity": None if kept.verdict.similarity is None else round(kept.verdict.similarity, 4),
            "age": None if face.age is None else round(face.age, 1),
            "gender": face.gender,
            "given_mask": photo.mask is not None,
        },
    )


def key_of(photo: Photo) -> str:
    """The photo's name in the data set: readable, and unique by a digest of root, person and path."""
    total = sha256("\0".join((photo.root, photo.person, photo.path)).encode("utf-8", "surrogateescape"))
    parts = [_slug(photo.person, 32), _slug(Path(photo.path).stem, 24), total.hexdigest()[:12]]
    return "-".join(part for part in parts if part)


def write_original_layout(out: Path, kept: Iterator[Kept], people: Mapping[str, PersonSummary]) -> Path:
    """Write out/original: people/NAME/X.png, X_mask.png and metainfo.json, mixed/NAME/X.png, X_mask.png,
    and meta_subj2person_type.json. `people` is what the original calls a data root, each folder of `mixed`
    a root of mixed subjects.

    Raises WriteError: no room; what was there before stays.
    """
    beside, target = out / _WRITING, out / ORIGINAL
    try:
        shutil.rmtree(beside, ignore_errors=True)
        folders = _folders_of(people, beside)
        used: dict[str, set[str]] = {}
        for item in kept:
            own = used.setdefault(item.photo.person, set())
            name = _unused(Path(item.photo.path).stem, own, Path(MASK).stem)
            _write_pair(folders[item.photo.person], name, item)
        for name, person in people.items():
            if person.kept and not person.mixed:
                write_metainfo(folders[name], person.info)
        named = {folders[name].name: p.class_word for name, p in people.items() if p.kept and not p.mixed}
        write_person_types(beside / PERSON_TYPES, named)
        shutil.rmtree(target, ignore_errors=True)
        beside.rename(target)
    except OSError as error:
        raise WriteError(f"{target}: not written ({error.strerror}). Free space and try again") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return target


def drop_original_layout(out: Path) -> None:
    """Remove out/original if `write_original_layout` has made it: it is of a data set that is no more."""
    if (out / ORIGINAL / PERSON_TYPES).is_file():
        shutil.rmtree(out / ORIGINAL)


def _folders_of(people: Mapping[str, PersonSummary], root: Path) -> dict[str, Path]:
    """A folder for each person; names that a file system takes for one are kept apart."""
    used: set[str] = set()
    return {
        name: root / (MIXED if person.mixed else PEOPLE) / _unused(name.replace("/", "_"), used)
        for name, person in people.items()
    }


def _unused(name: str, used: set[str], ending: str | None = None) -> str:
    """`name`, or with a number behind it if `used` holds it already in any case of letters; noted there.

    ending: what no name may end in: a photo called p_mask would lie where the mask of p does.
    """
    free, number = name, 2
    while free.lower() in used or (ending is not None and free.lower().endswith(ending)):
        free, number = f"{name}_{number}", number + 1
    used.add(free.lower())
    return free


def _write_pair(folder: Path, name: str, item: Kept) -> None:
    with Image.open(io.BytesIO(item.image)) as image:
        picture = image.convert("RGB")
    write_atomic(folder / f"{name}.png", lambda beside: picture.save(beside, "PNG"))
    if item.mask is not None:
        mask = item.mask
        write_atomic(folder / f"{name}{MASK}", lambda beside: beside.write_bytes(mask))


def _slug(text: str, longest: int) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "-", text)[:longest].strip("-")
