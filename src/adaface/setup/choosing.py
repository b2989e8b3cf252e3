"""The recipe, the user's own choices, and what the sources really hold -> a plan."""

import fnmatch
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from adaface import files
from adaface.errors import ConfigError, HubError
from adaface.setup.plan import Item, Plan, RolePlan
from adaface.setup.recipe import STACKS, Pick, Source
from adaface.sources.heads import Head, head_of, wrong_kind
from adaface.sources.hub import Listing, RemoteFile, list_files
from adaface.sources.places import HubPlace, copy_of, find_local, parse_place

LOCAL = "your own copy; its licence is not known here"
STATED = "(as you state)"  # behind a licence that the user named
WEIGHTS = (".safetensors", ".bin", ".pt", ".ckpt", ".onnx")
NONE = (Head.LFS, Head.HTML, Head.EMPTY)  # no weights, whatever the file's name is
_DATE = re.compile(r"\d{4}-\d\d-\d\d(T[\d-]+)?")
_Listings = dict[tuple[str, str | None], Listing]


@dataclass(frozen=True)
class Wishes:
    """What a user wants otherwise than the recipe has it.

    sources: role -> a place of their own, as `places.parse_place` reads it: a repository, a folder or file
    in it, or a path. without: roles to leave out. licences: role -> what they know of its licence.
    """

    sources: Mapping[str, str] = field(default_factory=dict)
    without: tuple[str, ...] = ()
    licences: Mapping[str, str] = field(default_factory=dict)

    def asked(self) -> dict[str, str]:
        """As a plan keeps it."""
        stated = {f"{role} licence": name for role, name in self.licences.items()}
        return {**self.sources, **dict.fromkeys(self.without, "-"), **stated}


def make_plan(stack: str, wishes: Wishes = Wishes(), known: Plan | None = None) -> Plan:
    """Ask each source what it holds, and pick the files of the stack's recipe.

    known: the plan of an earlier run in the same folder. Roles that are wished as they were then keep their
    files, so that a run that goes on takes the same; only what lies on this machine is looked at again.
    Raises ConfigError: an unknown stack or role, or wishes that cannot be. HubError, MissingFileError: a
    source, or a file in it, is not there; says what it holds. DamagedFileError: a file of the user's own is
    no weights.
    """
    if stack not in STACKS:
        raise ConfigError(f'no stack "{stack}" to set up. Known: {", ".join(STACKS)}')
    recipe = {source.role: source for source in STACKS[stack]}
    _check(recipe, wishes)
    known = known if known is not None and known.stack == stack else None
    asked, listings, roles = wishes.asked(), _Listings(), []
    for role, source in recipe.items():
        if role in wishes.without:
            continue
        place = parse_place(wishes.sources.get(role, source.place))
        kept = _kept(known, role, asked, place) if known else None
        roles.append(kept or _plan_role(source, place, listings, wishes.licences.get(role)))
    new = Plan(stack, asked, tuple(roles))
    return new if known is None else replace(new, licences_seen=known.licences_seen, made=known.made)


def _check(recipe: Mapping[str, Source], wishes: Wishes) -> None:
    named = {*wishes.sources, *wishes.without, *wishes.licences}
    if unknown := sorted(named - recipe.keys()):
        raise ConfigError(f"unknown role {', '.join(unknown)}. Known: {', '.join(recipe)}")
    optional = [role for role, source in recipe.items() if source.optional]
    if needed := [role for role in wishes.without if role not in optional]:
        raise ConfigError(
            f"--without {needed[0]}: no stack works without it. To be left out are {', '.join(optional)}; "
            f"for another one give --from {needed[0]}=PLACE"
        )
    if both := sorted({*wishes.sources, *wishes.licences} & {*wishes.without}):
        raise ConfigError(f"{both[0]}: named by --from or --licence and left out by --without. Give one")


def _kept(known: Plan, role: str, asked: Mapping[str, str], place: HubPlace | Path) -> RolePlan | None:
    """What an earlier plan has for a role, if the wishes for it are the same and it is of the hub."""
    old = known.role(role)
    same = all(known.asked.get(key) == asked.get(key) for key in (role, f"{role} licence"))
    if old is None or not same or not isinstance(place, HubPlace) or old.repo != place.repo:
        return None
    return old if copy_of(place) is None else None


def _plan_role(source: Source, place: HubPlace | Path, listings: _Listings, stated: str | None) -> RolePlan:
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
        assert local is not None
        root = local.name if local.is_file() else ""
        items, notes = _choose(source, _held(local), root, str(place))
        where, licence = {"local": str(local)}, LOCAL
    own = isinstance(place, HubPlace) and place.repo == source.repo
    licence = f"{licence}; {source.known}" if source.known and own else licence
    purpose = source.purpose if own else source.other
    told = f"{stated} {STATED}" if stated else licence
    role = RolePlan(source.role, purpose, told, items, chosen="; ".join(notes), own=own, **where)
    return role if role.repo else replace(role, items=tuple(_hashed(role, item) for item in items))


def _hashed(role: RolePlan, item: Item) -> Item:
    """A file of the user's own with its hash. Raises DamagedFileError: it is no weights, but called so."""
    path = role.local_file(item)
    head = head_of(path)  # tells of a file that may not be read, too
    if path.suffix.lower() in WEIGHTS and head in NONE:
        raise wrong_kind(path, head, f"weights, for the role {role.role}")
    return replace(item, sha256=files.sha256(path))


def _held(place: Path) -> dict[str, RemoteFile]:
    if place.is_file():
        return {place.name: RemoteFile(place.name, place.stat().st_size)}
    found = ((path.relative_to(place).as_posix(), path) for path in place.rglob("*") if path.is_file())
    return {name: RemoteFile(name, path.stat().st_size) for name, path in found}


def _choose(
    source: Source, held: Mapping[str, RemoteFile], root: str, place: str
) -> tuple[tuple[Item, ...], list[str]]:
    """The files of a source, of those that `held` lists below `root` (a folder, or the one file itself)."""
    if root in held and not source.one_file:
        raise ConfigError(_several(source, place))
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


def _several(source: Source, place: str) -> str:
    wanted = ", ".join(pick.names[0] for pick in source.picks if not pick.optional)
    flag = f"--{source.role.replace('_', '-')}"
    drawn = source.role in ("base", "text_encoder", "vae")
    later = f", or set the stack up with its own and draw with adaface generate {flag}" if drawn else ""
    return (
        f"--from {source.role}={place}: one file, but this role is made of several ({wanted}). Give the "
        f"folder that holds them{later}"
    )


def _fitting(pick: Pick, held: Iterable[str], root: str) -> list[str]:
    """Names that the first fitting pattern of `pick` takes, the newest (by the dates in them) first."""
    for name in pick.names:
        wanted = f"{root}/{name}" if root else name
        found = [
            one for one in held if fnmatch.fnmatchcase(one, wanted) and one.count("/") == wanted.count("/")
        ]
        if found:
            return sorted(found, key=_age, reverse=True)
    return []


def _age(name: str) -> tuple[str, str]:
    """What sorts names of checkpoints by age: the first date in them, then the name."""
    found = _DATE.search(name)
    return (found[0] if found else "", name)


def _lacking(pick: Pick, held: Iterable[str], root: str, place: str) -> str:
    near = sorted(name for name in held if name.startswith(root))
    shown = ", ".join(near[:12]) + (", ..." if len(near) > 12 else "") or "nothing"
    return (
        f"{place}: none of {', '.join(pick.names)} is there; it holds {shown}. Name another source for it: "
        "--from ROLE=hub:owner/name/folder or --from ROLE=PATH; what is not needed can be left out: "
        "--without teacher, --without safety_checker"
    )
