"""Folders that a user names -> the photos in them, by person, in a fixed order; nothing is opened yet."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from adaface.data.original_layout import MASK
from adaface.data.record import Photo, Rejection
from adaface.errors import ConfigError, MissingFileError
from adaface.face.images import EXTENSIONS

PHOTOS = EXTENSIONS | {".heic", ".heif"}  # the latter cannot be read here, but their owner must be told
SYSTEM = frozenset({"thumbs.db", "desktop.ini", "ehthumbs.db", "__macosx", "@eadir", "$recycle.bin"})
BESIDE_PHOTOS = frozenset({".json", ".pt", ".txt"})  # what the original's tools put there


@dataclass(eq=False)
class Found:
    """What lies in the folders.

    photos: in their final order. rejected: photos and folders that cannot be used, known without opening any.
    empty: people without a photo. nested: people all of whose photos lie in two or more folders of theirs;
    perhaps these are the people. passed_over: other files that were not looked at. folders: person -> the
    folder of their photos, for facts that lie beside them.
    """

    photos: list[Photo] = field(default_factory=list)
    rejected: list[tuple[Photo, Rejection]] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    nested: list[str] = field(default_factory=list)
    passed_over: list[str] = field(default_factory=list)
    folders: dict[str, Path] = field(default_factory=dict)


def find_photos(data_roots: Sequence[str | Path], mixed_roots: Sequence[str | Path]) -> Found:
    """The photos below the roots.

    data_roots: folders with a subfolder a person, or one person's folder itself. mixed_roots: folders of
    different people, a photo or more each. Photos may lie in deeper folders. Hidden and system files are
    passed over without a word.
    Raises MissingFileError: a root that is not there. ConfigError: none given, or one inside another.
    """
    named = [(root, False) for root in data_roots] + [(root, True) for root in mixed_roots]
    roots = [(_folder(root), mixed) for root, mixed in named]
    if not roots:
        raise ConfigError("no folder of photos. Give at least one: adaface prepare PHOTOS OUT")
    _check_apart([root for root, _ in roots])
    found, labels = Found(), _Names()
    for (given, _), (root, mixed) in zip(named, roots, strict=True):
        name = os.path.basename(os.path.abspath(given))  # noqa: PTH100, PTH119  # a link's own name
        _search(found, root, labels.unused(printable(name) or "photos"), mixed)
    found.photos.sort(key=lambda photo: labels.order(photo.root))  # stable: paths keep theirs
    return found


def printable(text: str) -> str:
    """File names may hold bytes that are no text; JSON, pages and tables show them as escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


def _folder(root: str | Path) -> Path:
    path = Path(root).expanduser()
    if not path.is_dir():
        kind = "a file, not a folder" if path.exists() else "no such folder"
        raise MissingFileError(f"{path}: {kind}. Give the folder that holds the photos")
    return path.resolve()


def _check_apart(roots: Sequence[Path]) -> None:
    for k, root in enumerate(roots):
        for other in roots[:k]:
            if root.is_relative_to(other) or other.is_relative_to(root):
                raise ConfigError(f"{root} and {other}: the same photos twice. Name each folder once")


class _Names:
    """Names that are given out once."""

    def __init__(self) -> None:
        self._given: list[str] = []

    def unused(self, name: str) -> str:
        wanted, number = name, 2
        while wanted in self._given:
            wanted, number = f"{name}-{number}", number + 1
        self._given.append(wanted)
        return wanted

    def order(self, name: str) -> int:
        return self._given.index(name)


def _search(found: Found, root: Path, label: str, mixed: bool) -> None:
    troubles: list[OSError] = []
    children = sorted(path for path in _listed(root, troubles) if path.is_dir() and not _ignored(path.name))
    if mixed or not children:
        _person(found, root, root, label, _free_name(found, label, label), mixed)
    else:
        for child in children:
            name = _free_name(found, printable(child.name), label)
            _person(found, root, child, label, name, False)
        for photo in _photos_of(root, root, label, "", False, found, troubles, deeper=False):
            sentence = f"{photo.path} lies beside the folders of people. Move it into one of them"
            found.rejected.append((photo, Rejection("no_person", sentence)))
    _report(found, troubles, root, label)


def _free_name(found: Found, name: str, label: str) -> str:
    """People of the same name under two roots are two people."""
    if name not in found.folders:
        return name
    wanted, number = f"{label}/{name}", 2
    while wanted in found.folders:
        wanted, number = f"{label}/{name}-{number}", number + 1
    return wanted


def _person(found: Found, root: Path, folder: Path, label: str, name: str, mixed: bool) -> None:
    troubles: list[OSError] = []
    photos = list(_photos_of(folder, root, label, name, mixed, found, troubles, deeper=True))
    found.folders[name] = folder
    found.photos += sorted(photos, key=lambda photo: photo.path)
    if not photos and not troubles:
        found.empty.append(name)
    below = {photo.file.relative_to(folder).parts[:-1][:1] for photo in photos}
    if not mixed and len(below) > 1 and () not in below:
        found.nested.append(name)
    _report(found, troubles, root, label, name)


def _report(found: Found, troubles: list[OSError], root: Path, label: str, person: str = "") -> None:
    for trouble in troubles:
        path = os.path.relpath(trouble.filename or root, root).replace(os.sep, "/")
        sentence = f"The folder cannot be opened ({trouble.strerror}). Check its permissions"
        found.rejected.append((Photo(root, label, path, person), Rejection("unreadable_folder", sentence)))


def _listed(folder: Path, troubles: list[OSError]) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError as trouble:
        troubles.append(trouble)
        return []


def _photos_of(
    folder: Path, root: Path, label: str, person: str, mixed: bool, found: Found, troubles: list[OSError],
    *, deeper: bool,
) -> Iterator[Photo]:  # fmt: skip
    seen = {folder.resolve()}
    for place, folders, names in _walk(folder, troubles.append):
        below = Path(place).relative_to(root)
        named = sorted(name for name in folders if deeper and not _ignored(name))
        folders[:] = [name for name in named if _is_new(Path(place, name), root, seen)]
        found.passed_over += [
            f"{(below / name).as_posix()} (a link)" for name in named if name not in folders
        ]
        masks = {name for name in names if name.lower().endswith(MASK)}
        for name in sorted(names):
            path = (below / name).as_posix()
            if _is_photo(name):
                own = f"{Path(name).stem}{MASK}"
                mask = (below / own).as_posix() if own in masks else None
                yield Photo(root, label, path, person, mixed, mask)
            elif not _ignored(name) and Path(name).suffix.lower() not in BESIDE_PHOTOS and name not in masks:
                found.passed_over.append(path)


def _walk(folder: Path, trouble: Callable[[OSError], None]) -> Iterator[tuple[str, list[str], list[str]]]:
    return os.walk(folder, onerror=trouble, followlinks=True)  # `_is_new` keeps it from going in circles


def _is_new(folder: Path, root: Path, seen: set[Path]) -> bool:
    """Whether a folder is to be searched: not one whose photos are found anyway; noted in `seen`."""
    real = folder.resolve()
    back = folder.is_symlink() and (real.is_relative_to(root) or root.is_relative_to(real))
    if back or real in seen:
        return False
    seen.add(real)
    return True


def _is_photo(name: str) -> bool:
    known = Path(name).suffix.lower() in PHOTOS
    return known and not _ignored(name) and not name.lower().endswith(MASK)


def _ignored(name: str) -> bool:
    return name.startswith(".") or name.lower() in SYSTEM
