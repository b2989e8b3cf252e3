"""Folders of photos and identity files -> subjects; the photos that score are not those that are given."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from adaface.errors import ConfigError, FaceError, ImageError, MissingFileError
from adaface.evaluation.records import Subject
from adaface.evaluation.run.about import About
from adaface.evaluation.run.naming import as_name, pictures_in
from adaface.face.analyzer import FaceAnalyzer
from adaface.face.images import load_image
from adaface.identity.files import Identity

MOST_PHOTOS = 20  # of a subject; more hardly change a mean
IDENTITY = ".safetensors"


@dataclass(frozen=True, eq=False)
class Named:
    """Somebody as the user named them: photos, an identity file, or both under one name."""

    name: str
    photos: tuple[Path, ...] = ()
    identity: Path | None = None
    below: tuple[str, ...] = ()  # folders of photos beside the photos, which nobody looks at


@dataclass(frozen=True)
class Splitting:
    """How photos are shared out. given: photos that make the identity, where enough are there. keep_all: do
    not compare a subject's photos with each other.
    """

    seed: int = 0
    given: int = 1
    keep_all: bool = False

    def __post_init__(self) -> None:
        """Raises ConfigError: no photo to make the identity of."""
        if self.given < 1:
            raise ConfigError(f"--given {self.given}: give 1 or more photos to make the identity of")


@dataclass(eq=False)
class Cast:
    """The subjects of a run, and what people should know of them. left_out: name -> why. identities: files of
    those that have one, by name.
    """

    subjects: list[Subject] = field(default_factory=list)
    identities: dict[str, Path] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)


def find_subjects(places: Sequence[str | Path]) -> list[Named]:
    """Who is meant by folders and files.

    A folder of photos is a person; a folder of such folders is all of them; a `.safetensors` is an identity
    file. A folder and an identity file of one name are one subject: then all its photos score.
    Raises MissingFileError: nothing is there. ConfigError: a single photo, a folder without any, or two of
    one name.
    """
    people: dict[str, Named] = {}
    for place in places:
        path = Path(place).expanduser()
        for one in _at(path):
            before = people.get(one.name)
            if before is not None and (before.identity is None) == (one.identity is None):
                raise ConfigError(f"{path}: a second subject named {one.name}. Give one of them another name")
            people[one.name] = one if before is None else _joined(before, one)
    return list(people.values())


def _joined(one: Named, other: Named) -> Named:
    return Named(
        one.name, one.photos or other.photos, one.identity or other.identity, one.below + other.below
    )


def _at(path: Path) -> list[Named]:
    if path.suffix == IDENTITY and path.is_file():
        return [Named(Identity.load(path).name, identity=path.resolve())]
    if path.is_file():
        raise ConfigError(
            f"{path}: a file. A subject is a folder of photos of one person, or an identity file of "
            "`adaface embed`"
        )
    if not path.is_dir():
        raise MissingFileError(f"{path}: no such folder or file. Give a folder of photos of each person")
    below = [child for child in sorted(path.iterdir()) if _is_open(child)]
    found = [Named(as_name(child.name), own, None, _with_photos(child)) for child in below
             if (own := _photos(child))]  # fmt: skip
    if photos := _photos(path):
        if len(found) > 1:
            raise ConfigError(
                f"{path}: photos ({photos[0].name}) beside folders of photos ({below[0].name}). If each "
                "folder is a person, give the folders themselves; if all is one person, put the photos into "
                "one folder"
            )
        return [Named(as_name(path.resolve().name), photos, None, tuple(one.name for one in found))]
    found += [one for child in sorted(path.glob(f"*{IDENTITY}")) for one in _at(child)]
    if not found:
        deeper = next((child for child in below if any(map(_is_open, child.iterdir()))), None)
        hint = f"It holds folders of folders: give {deeper}" if deeper else "Give a folder of photos a person"
        raise ConfigError(f"{path}: neither photos nor folders of photos in it. {hint}")
    return found


def _is_open(path: Path) -> bool:
    return path.is_dir() and not path.name.startswith((".", "__"))


def _with_photos(folder: Path) -> tuple[str, ...]:
    return tuple(child.name for child in sorted(folder.iterdir()) if _is_open(child) and _photos(child))


def _photos(folder: Path) -> tuple[Path, ...]:
    return tuple(path.resolve() for path in pictures_in(folder))


def cast_of(
    people: Sequence[Named],
    analyzer: FaceAnalyzer,
    splitting: Splitting,
    about: Mapping[str, About],
    tell: Callable[[int, int], None] = lambda done, total: None,
) -> Cast:
    """Look at everybody's photos and share them out.

    Whoever has no usable photo is left out, and the notes say why. about: class word and kind by name; only a
    person's photos need a face. tell: told people done and people in all.
    Raises ConfigError: nobody is left.
    """
    cast = Cast()
    for done, one in enumerate(people, 1):
        try:
            what = about.get(one.name, About())
            found = _subject(one, analyzer, splitting, what, cast.notes)
            cast.subjects.append(replace(found, class_word=what.class_word, broad_class=what.broad_class))
            if one.identity is not None:
                cast.identities[one.name] = one.identity
        except (FaceError, ImageError) as error:
            cast.left_out[one.name] = " ".join(str(error).split())
        tell(done, len(people))
    cast.notes += [f"{name} is left out: {why}" for name, why in cast.left_out.items()]
    if not cast.subjects:
        raise ConfigError(f"none of {len(people)} subjects can be used. {'; '.join(cast.notes)}")
    return cast


def _subject(
    one: Named, analyzer: FaceAnalyzer, splitting: Splitting, what: About, notes: list[str]
) -> Subject:
    photos = _shuffled(one, splitting, notes)
    if one.below:
        notes.append(f"{one.name}: photos in folders below are not looked at: {', '.join(one.below)}")
    if photos:
        read = _of_person if what.broad_class == "person" else _readable
        photos = read(one.name, photos, analyzer, splitting, notes)
    if one.identity is not None:
        return _of_file(one, photos, notes)
    given, scored = photos[: splitting.given], photos[splitting.given :]
    if not scored and len(given) > 1:  # at least one is left to score
        given, scored = given[:-1], given[-1:]
    if not scored:
        notes.append(f"{one.name}: one usable photo, so that the figures are those of the given photo")
    return Subject(one.name, given, scored, recognizer=analyzer.recognizer.name)


def _shuffled(one: Named, splitting: Splitting, notes: list[str]) -> tuple[Path, ...]:
    """Photos in an order drawn by the seed and the name, so that nobody's split depends on other people."""
    photos = random.Random(f"{splitting.seed}/{one.name}").sample(one.photos, len(one.photos))
    if len(photos) > MOST_PHOTOS:
        notes.append(f"{one.name}: {MOST_PHOTOS} of {len(photos)} photos are used, drawn by the seed")
    return tuple(photos[:MOST_PHOTOS])


def _of_person(
    name: str, photos: Sequence[Path], analyzer: FaceAnalyzer, splitting: Splitting, notes: list[str]
) -> tuple[Path, ...]:
    """Photos that show the person's face. Raises FaceError or ImageError: none does, or they disagree."""
    found = analyzer.identity(list(photos), keep_all=splitting.keep_all)
    notes += [f"{name}: {Path(item.name).name} is not used: {item.reason}" for item in found.left_out]
    return tuple(Path(photo) for photo in found.used)


def _readable(
    name: str, photos: Sequence[Path], analyzer: FaceAnalyzer, splitting: Splitting, notes: list[str]
) -> tuple[Path, ...]:
    """Photos that can be read at all. Raises ImageError: none can."""
    kept = []
    for path in photos:
        try:
            load_image(path)
        except ImageError as error:
            notes.append(f"{name}: {path.name} is not used: {str(error).removeprefix(f'{path}: ')}")
        else:
            kept.append(path)
    if not kept:
        raise ImageError(f"{name}: none of {len(photos)} photos can be read. Give others")
    return tuple(kept)


def _of_file(one: Named, photos: tuple[Path, ...], notes: list[str]) -> Subject:
    assert one.identity is not None
    person = Identity.load(one.identity)
    vector = None if person.id_embedding is None else person.id_embedding.numpy()
    if photos:
        notes.append(
            f"{one.name}: an identity file; its photos score. That they are others is not known here"
        )
    elif vector is None:
        notes.append(f"{one.name}: an identity file without ID embedding or photos: likeness is not scored")
    else:
        notes.append(f"{one.name}: an identity file without photos: likeness is that to its ID embedding")
    recognizer = person.provenance.get("recognizer", "unknown")
    return Subject(one.name, (), photos, id_embedding=vector, recognizer=recognizer)
