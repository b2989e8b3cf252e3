"""A plan's files onto the disk: room first, then file by file; what is there and right stays."""

from collections.abc import Callable, Iterator
from pathlib import Path

from adaface import files
from adaface.errors import HubError, MissingFileError
from adaface.setup.plan import Item, Plan
from adaface.setup.recipe import DOWNLOADS
from adaface.sources.hub import PARTIAL, Listing, fetch

Tell = Callable[[str], None]
ROOM = 200_000_000  # bytes to spare, for configs, pictures and the file system's own needs
SHARED = ("base", "recognizer", "teacher")  # folders whose files are used as they come
BLOCK = 1 << 22  # bytes that are copied at a time

NO_ROOM = "Free space, or choose another folder (-o); --without teacher saves what only training needs"


def fetch_all(plan: Plan, folder: Path, tell: Tell) -> None:
    """Bring every file of `plan` below `folder`. tell: given a line for people before each file.

    A role that was converted already needs no files. Raises WriteError: too little room, or the disk cannot
    be written. HubError: a file cannot be had, or is not what the hub lists. MissingFileError: a file of the
    user's own is not there any more, or cannot be read.
    """
    wanted = [(role, item) for role in plan.roles if not plan.is_built(folder, role) for item in role.items]
    converted = sum(item.bytes for _, item in wanted if item.to.startswith(DOWNLOADS))  # as large again
    needed = sum(_missing(folder / item.to, item.bytes) for _, item in wanted) + converted
    files.need_room(folder, needed + ROOM if needed else 0, NO_ROOM)
    for role, item in wanted:
        to = folder / item.to
        if not to.is_file():
            tell(f"{role.role}: {item.name} ({item.bytes / 1e6:.1f} MB) from {role.repo or role.local}")
        if role.repo:
            fetch(Listing(role.repo, role.revision, role.licence, {item.name: item.remote}), item.name, to)
        else:
            _copy(role.local_file(item), to, item)


def leftovers(plan: Plan, folder: Path) -> dict[str, int]:
    """Files of earlier runs that `plan` does not name: path below `folder` -> bytes. Nothing is deleted."""
    named = [item.to for role in plan.roles for item in role.items]
    found: dict[str, int] = {}
    for top in SHARED:
        for path in (folder / top).rglob("*"):
            name = path.relative_to(folder).as_posix()
            if not path.is_file() or name in named:
                continue
            parts = name.split("/")
            above = ("/".join(parts[:count]) for count in range(1, len(parts)))
            # the highest folder with nothing of the plan in it, else the file alone
            key = next((one for one in above if not any(to.startswith(f"{one}/") for to in named)), name)
            found[key] = found.get(key, 0) + path.stat().st_size
    return found


def _missing(path: Path, size: int) -> int:
    if path.is_file():
        return 0
    partial = path.with_name(path.name + PARTIAL)
    return max(0, size - partial.stat().st_size) if partial.is_file() else size


def _copy(source: Path, to: Path, item: Item) -> None:
    if item.remote.fault(to) is None:
        return
    if not source.is_file():
        raise MissingFileError(f"{source}: no longer there. Put it back, or name another source (--from)")

    def write(path: Path) -> None:
        with path.open("wb") as handle:
            for block in _blocks(source):
                handle.write(block)

    files.write_atomic(to, write)
    if (fault := item.remote.fault(to)) is not None:
        to.unlink()
        raise HubError(f"{source}: changed while it was copied ({fault}). Run the same command again")


def _blocks(source: Path) -> Iterator[bytes]:
    """The bytes of a file; a fault in reading is told of it, not of the file that is written."""
    try:
        with source.open("rb") as handle:
            while block := handle.read(BLOCK):
                yield block
    except OSError as error:
        raise MissingFileError(
            f"{source}: cannot be read ({error.strerror}). Check that you may read it, or name another "
            "source (--from)"
        ) from error
