"""A plan's files onto the disk: room first, then file by file; what is there and right stays."""

import shutil
from collections.abc import Callable
from pathlib import Path

from adaface import files
from adaface.errors import HubError, MissingFileError
from adaface.setup.plan import Item, Plan, RolePlan
from adaface.setup.recipe import DOWNLOADS
from adaface.sources.hub import PARTIAL, Listing, fetch

Tell = Callable[[str], None]
ENCODER, PROMPTER = "encoder", "id_prompter"  # folders of what is converted
ROOM = 200_000_000  # bytes to spare, for configs, pictures and the file system's own needs

NO_ROOM = "Free space, or choose another folder (-o); --without teacher saves what only training needs"


def is_built(folder: Path, role: RolePlan) -> bool:
    """Whether a role that is converted is already there in its final form."""
    products = {"encoder": folder / ENCODER, "id_prompter": folder / PROMPTER / "text_encoder"}
    return role.role in products and (products[role.role] / "config.json").is_file()


def fetch_all(plan: Plan, folder: Path, tell: Tell) -> None:
    """Bring every file of `plan` below `folder`. tell: given a line for people before each file.

    A role that was converted already needs no files. Raises WriteError: too little room, or the disk cannot
    be written. HubError: a file cannot be had, or is not what the hub lists.
    """
    wanted = [(role, item) for role in plan.roles if not is_built(folder, role) for item in role.items]
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
            _copy(Path(role.local) / item.name, to, item)


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
    files.write_atomic(to, lambda path: shutil.copyfile(source, path))
    if (fault := item.remote.fault(to)) is not None:
        to.unlink()
        raise HubError(f"{source}: changed while it was copied ({fault}). Run the same command again")
