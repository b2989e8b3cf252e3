"""What will be fetched from where: the recipe, the user's own choices, and what the sources really hold."""

import fnmatch
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from adaface import files
from adaface.errors import ConfigError, HubError
from adaface.setup.recipe import STACKS, Pick, Source
from adaface.sources.hub import Listing, RemoteFile, list_files
from adaface.sources.places import HubPlace, copy_of, find_local, parse_place

PLAN = "setup.json"
LOCAL = "your own copy; its licence is not known here"


@dataclass(frozen=True)
class Item:
    """One file to bring: its name at the source, where it goes below the stack's folder, size and hash."""

    name: str
    to: str
    bytes: int
    sha256: str | None = None
    git_sha1: str | None = None

    @property
    def remote(self) -> RemoteFile:
        """As the hub lists it."""
        return RemoteFile(self.name, self.bytes, self.sha256, self.git_sha1)


@dataclass(frozen=True)
class RolePlan:
    """One role: its source (`repo` at `revision`, or the folder `local`), its licence and its files.

    chosen: why these files, where there was a choice.
    """

    role: str
    purpose: str
    licence: str
    items: tuple[Item, ...]
    repo: str = ""
    revision: str = ""
    local: str = ""
    chosen: str = ""

    @property
    def origin(self) -> str:
        """Where it comes from, for people and for the stack's manifest."""
        return f"hub:{self.repo}@{self.revision}" if self.repo else self.local


@dataclass(frozen=True)
class Plan:
    """All that a stack is made of. asked: what the user chose, so that a plan is not taken up for another."""

    stack: str
    asked: Mapping[str, str]
    roles: tuple[RolePlan, ...]
    licences_seen: tuple[str, ...] = field(default=())

    def role(self, name: str) -> RolePlan | None:
        """The plan of one role; None if it was left out."""
        return next((role for role in self.roles if role.role == name), None)

    @property
    def licences(self) -> dict[str, str]:
        """What is known of each source's licence; the fullest wording, where its roles differ."""
        by_origin: dict[str, str] = {}
        for role in sorted(self.roles, key=lambda role: len(role.licence)):
            by_origin[role.origin] = role.licence
        return by_origin

    def save(self, folder: Path) -> None:
        """Write it to `folder`, so that a broken run goes on with the same files. Raises WriteError."""
        text = json.dumps(asdict(self), indent=2) + "\n"
        files.write_atomic(folder / PLAN, lambda path: path.write_text(text, encoding="utf-8"))


def read_plan(folder: Path) -> Plan | None:
    """The plan of an earlier run in `folder`; None if there is none that can be read."""
    try:
        data = json.loads((folder / PLAN).read_text(encoding="utf-8"))
        roles = tuple(
            RolePlan(**{**role, "items": tuple(Item(**item) for item in role["items"])})
            for role in data.pop("roles")
        )
        return Plan(**{**data, "roles": roles, "licences_seen": tuple(data["licences_seen"])})
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def make_plan(stack: str, chosen: Mapping[str, str], without: Sequence[str] = ()) -> Plan:
    """Ask each source what it holds, and pick the files of the stack's recipe.

    chosen: role -> a place of the user's own, as `places.parse_place` reads it: a repository, a folder or
    file in it, or a path. without: roles that are left out. Raises ConfigError: an unknown stack or role.
    HubError, MissingFileError: a source, or a file in it, is not there; says what it holds.
    """
    if stack not in STACKS:
        raise ConfigError(f'no stack "{stack}" to set up. Known: {", ".join(STACKS)}')
    recipe = {source.role: source for source in STACKS[stack]}
    if unknown := sorted({*chosen, *without} - recipe.keys()):
        raise ConfigError(f"unknown role {', '.join(unknown)}. Known: {', '.join(recipe)}")
    listings: dict[tuple[str, str | None], Listing] = {}
    roles = [
        _plan_role(source, parse_place(chosen.get(role, source.place)), listings)
        for role, source in recipe.items()
        if role not in without
    ]
    return Plan(stack, {**chosen, **dict.fromkeys(without, "-")}, tuple(roles))


def _plan_role(
    source: Source, place: HubPlace | Path, listings: dict[tuple[str, str | None], Listing]
) -> RolePlan:
    """The plan of one role. listings: what was asked of the hub already, so that each repository is once."""
    local = copy_of(place) if isinstance(place, HubPlace) else find_local(place)
    if local is None and isinstance(place, HubPlace):
        key = (place.repo, place.revision)
        if key not in listings:
            listings[key] = list_files(*key)
        listing = listings[key]
        items, notes = _choose(source, listing.files, place.inside, str(place))
        where, licence = {"repo": listing.repo, "revision": listing.revision}, listing.licence
    else:
        folder = local or Path()
        root = folder.name if folder.is_file() else ""
        items, notes = _choose(source, _held(folder), root, str(place))
        where, licence = {"local": str(folder.parent if root else folder)}, LOCAL
    known = f"{licence}; {source.known}" if source.known else licence
    return RolePlan(source.role, source.purpose, known, items, chosen="; ".join(notes), **where)


def _held(folder: Path) -> dict[str, RemoteFile]:
    if folder.is_file():
        return {folder.name: RemoteFile(folder.name, folder.stat().st_size)}
    found = ((path.relative_to(folder).as_posix(), path) for path in folder.rglob("*") if path.is_file())
    return {name: RemoteFile(name, path.stat().st_size) for name, path in found}


def _choose(
    source: Source, held: Mapping[str, RemoteFile], root: str, place: str
) -> tuple[tuple[Item, ...], list[str]]:
    """The files of a source, of those that `held` lists below `root` (a folder, or the one file itself)."""
    items, notes = [], []
    for pick in source.picks:
        names = [root] if root in held else _fitting(pick, held, root)
        if not names:
            if pick.optional:
                continue
            raise HubError(_lacking(pick, held, root, place))
        if len(names) > 1:
            notes.append(f"{place}: {names[0].rpartition('/')[2]} is the newest of {len(names)} by its name")
        file = held[names[0]]
        plain = file.name.rpartition("/")[2] if root in held else file.name.removeprefix(f"{root}/")
        to = f"{source.to}/{pick.to or plain}"
        items.append(Item(file.name, to, file.bytes, file.sha256, file.git_sha1))
    return tuple(items), notes


def _fitting(pick: Pick, held: Iterable[str], root: str) -> list[str]:
    """Names that the first fitting pattern of `pick` takes, the newest (by the dates in them) first."""
    for name in pick.names:
        wanted = f"{root}/{name}" if root else name
        found = [
            one for one in held if fnmatch.fnmatchcase(one, wanted) and one.count("/") == wanted.count("/")
        ]
        if found:
            return sorted(found, key=_date, reverse=True)
    return []


def _date(name: str) -> tuple[str, str]:
    """What sorts names of checkpoints by age: the first date in them, then the name."""
    import re

    found = re.search(r"\d{4}-\d\d-\d\d(T[\d-]+)?", name)
    return (found[0] if found else "", name)


def _lacking(pick: Pick, held: Iterable[str], root: str, place: str) -> str:
    near = sorted(name for name in held if name.startswith(root))
    shown = ", ".join(near[:12]) + (", ..." if len(near) > 12 else "") or "nothing"
    return (
        f"{place}: none of {', '.join(pick.names)} is there; it holds {shown}. Name another source for it: "
        "--from ROLE=hub:owner/name/folder or --from ROLE=PATH; what is not needed can be left out: "
        "--without teacher, --without safety_checker"
    )
