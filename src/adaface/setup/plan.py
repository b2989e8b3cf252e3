"""What will be fetched from where, and its text on disk: `setup.json`, by which a broken run goes on."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from adaface import files
from adaface.setup.recipe import STACKS, source_of
from adaface.sources.hub import RemoteFile

PLAN = "setup.json"
PRODUCT = ("config.json", "model.safetensors")  # files of what is converted


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
    """One role: its source (`repo` at `revision`, or the file or folder `local`), its licence and its files.

    chosen: why these files, where there was a choice. own: False for what the user named in place of the
    recipe's own repository.
    """

    role: str
    purpose: str
    licence: str
    items: tuple[Item, ...]
    repo: str = ""
    revision: str = ""
    local: str = ""
    chosen: str = ""
    own: bool = True

    @property
    def origin(self) -> str:
        """Where it comes from, for people and for the stack's manifest."""
        return f"hub:{self.repo}@{self.revision}" if self.repo else self.local

    @property
    def content(self) -> str:
        """One digest of all its files: what is converted of them is made anew if it changes."""
        return files.digest(
            {
                item.to: item.sha256 or item.git_sha1 or f"{self.origin} {item.name} {item.bytes}"
                for item in self.items
            }
        )

    def local_file(self, item: Item) -> Path:
        """Where a file of the user's own lies."""
        place = Path(self.local)
        return place if place.name == item.name and not place.is_dir() else place / item.name


@dataclass(frozen=True)
class Plan:
    """All that a stack is made of.

    asked: what the user chose, by role. licences_seen: origins whose licence was shown and agreed to. made:
    for each role that is converted, a digest of what its product was made of, and of the product itself.
    """

    stack: str
    asked: Mapping[str, str]
    roles: tuple[RolePlan, ...]
    licences_seen: tuple[str, ...] = ()
    made: Mapping[str, str] = field(default_factory=dict)

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

    @property
    def assumptions(self) -> tuple[str, ...]:
        """What is taken for true about these sources and was not looked into."""
        lines: list[str] = []
        for role in self.roles:
            source = source_of(self.stack, role.role)
            assumed = source.assumed if role.own else source.other_assumed
            lines += [line.replace("{origin}", role.origin) for line in assumed]
            lines += [role.chosen] if role.chosen else []
        return tuple(dict.fromkeys(lines))

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is likely to be a mistake, and cannot be found later."""
        recognizer = self.role("recognizer")
        if recognizer is None or recognizer.own:
            return ()
        return (
            f"recognizer: {recognizer.origin} takes the place of the one that Arc2Face and the authors' "
            "encoder were trained with. If it is another network (antelopev2's glintr100.onnx is one), "
            "nobody will be like the photo, and no later check can tell why",
        )

    def is_built(self, folder: Path, role: RolePlan) -> bool:
        """Whether a role that is converted is there, made of these very files and not changed since."""
        product = product_of(self.stack, role.role)
        whole = product and all((folder / product / name).is_file() for name in PRODUCT)
        return bool(whole) and self.made.get(role.role) == _making(role, folder / product)

    def with_made(self, role: RolePlan, folder: Path | None) -> "Plan":
        """The plan that knows what the product below `folder` was made of; None: it is in the works."""
        made = {name: digest for name, digest in self.made.items() if name != role.role}
        if folder is not None:
            made[role.role] = _making(role, folder / product_of(self.stack, role.role))
        return replace(self, made=made)

    def save(self, folder: Path) -> None:
        """Write it to `folder`, so that a broken run goes on with the same files. Raises WriteError."""
        text = json.dumps(asdict(self), indent=2) + "\n"
        files.write_atomic(folder / PLAN, lambda path: path.write_text(text, encoding="utf-8"))


_T = TypeVar("_T", Item, RolePlan)


def _making(role: RolePlan, product: Path) -> str:
    """One digest of what a product was made of, and of its own files."""
    return files.digest({"made of": role.content, "product": files.sha256(product)})


def product_of(stack: str, role: str) -> str:
    """Folder, below the stack's, of the model that is converted; "" for a role that is not converted."""
    product = source_of(stack, role).product
    return f"{product}/text_encoder" if role == "id_prompter" else product  # its tokenizer lies beside


def read_plan(folder: Path) -> Plan | None:
    """The plan of an earlier run in `folder`; None if there is none that can be read, or one of nothing."""
    try:
        data = json.loads((folder / PLAN).read_text(encoding="utf-8"))
        roles = tuple(_read_role(role) for role in data.pop("roles"))
        known = [source.role for source in STACKS[data["stack"]]]
        if not roles or any(role.role not in known for role in roles):
            return None
        seen, asked, made = tuple(data["licences_seen"]), dict(data["asked"]), dict(data.get("made", {}))
        return Plan(data["stack"], asked, roles, seen, made)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _read_role(data: dict[str, Any]) -> RolePlan:
    items = tuple(_typed(Item(**item)) for item in data["items"])
    if any(PurePosixPath(item.to).is_absolute() or ".." in PurePosixPath(item.to).parts for item in items):
        raise ValueError("a file beside the stack's folder")
    return _typed(RolePlan(**{**data, "items": items}))


def _typed(value: _T) -> _T:
    """`value`, if its texts are texts and its numbers are numbers. Raises TypeError: they are not."""
    kinds = {"bytes": int, "own": bool, "items": tuple}
    optional = {"sha256", "git_sha1"}
    for one in fields(value):
        found = getattr(value, one.name)
        if not isinstance(found, kinds.get(one.name, str)) and not (found is None and one.name in optional):
            raise TypeError(one.name)
    return value
