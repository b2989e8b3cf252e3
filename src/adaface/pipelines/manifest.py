"""The manifest of a stack: `stack.json` between its text on disk and plain dataclasses. No model is opened
here.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adaface import files
from adaface.errors import MissingFileError, StackError

MANIFEST = "stack.json"
FORMAT = "adaface-stack"
VERSION = 2  # what is new in it: parts of the hub, their origin, and the roles text_encoder and vae
READS = (1, 2)
ROLES = {
    "base": "diffusion model that draws the pictures (a diffusers folder, or one LDM file)",
    "text_encoder": "text encoder that is used in place of the base's own",
    "vae": "autoencoder that is used in place of the base's own",
    "encoder": "AdaFace encoder: ID prompt embeddings -> subject embeddings",
    "id_prompter": "text encoder that turns an ID embedding into ID prompt embeddings",
    "recognizer": "face recogniser: aligned face -> ID embedding",
    "controlnet": "ControlNet of the base (a diffusers folder): pictures that follow a control image",
    "teacher": "UNet that draws from ID prompt embeddings; needed for training and measuring only",
    "clip": "image-text model that scores how well a picture fits its prompt",
    "clip_second": "another one, which has only ever scored",
    "strangers": "ID embeddings of other people, to compare similarities with",
    "world": "segmenter, class words, look words of the mini world; for training and measuring only",
}
REQUIRED = ("base", "encoder", "id_prompter", "recognizer")
NEW = {"text_encoder", "vae"}  # roles that version 1 did not know
_TEXTS = ("path", "builtin", "hub", "revision", "licence", "purpose", "origin")
_ROLE_KEYS = {*_TEXTS, "sha256", "files", "options"}


@dataclass(frozen=True)
class FileRecord:
    """Size and SHA-256 of one file of a role."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Part:
    """One role of a stack.

    path: file or folder, relative to the stack's folder; None for a `builtin` (a model that comes with an
    installed package, such as "sface"). hub: a repository ("owner/name") at `revision`; then `path` is inside
    it, None for all of it. files: every file of the part, by its path below `path` ("" for a part that is one
    file, the bare name for a builtin). options: what the reader of this role needs to know. origin: where it
    was fetched from, or made of.
    """

    path: str | None = None
    builtin: str | None = None
    hub: str | None = None
    revision: str | None = None
    origin: str = ""
    licence: str = "unknown"
    purpose: str = ""
    files: Mapping[str, FileRecord] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def sha256(self) -> str:
        """Digest of the part: the file's own, or that of the sorted names and digests of a folder's files."""
        hashes = {name: record.sha256 for name, record in self.files.items()}
        return hashes[""] if set(hashes) == {""} else files.digest(hashes)

    def to_json(self) -> dict[str, Any]:
        """The entry of this part in `stack.json`."""
        named = {key: getattr(self, key) for key in ("path", "builtin", "hub", "revision")}
        place: dict[str, Any] = {key: value for key, value in named.items() if value is not None}
        if self.files:
            place["sha256"] = self.sha256
        listed = {name: {"bytes": r.bytes, "sha256": r.sha256} for name, r in sorted(self.files.items())}
        rest = {
            "licence": self.licence,
            "purpose": self.purpose,
            "origin": self.origin,
            "options": dict(self.options),
            "files": listed,
        }
        return place | {key: value for key, value in rest.items() if value}


def version_of(roles: Mapping[str, Part]) -> int:
    """The oldest version of the format that can say what these roles are."""
    new = NEW & roles.keys() or any(part.hub or part.origin for part in roles.values())
    return VERSION if new else 1


def record_files(path: Path) -> dict[str, FileRecord]:
    """Measure every file of a part: {"": record} for a file, relative POSIX names for a folder.

    Raises MissingFileError: nothing is there.
    """
    if path.is_file():
        return {"": FileRecord(path.stat().st_size, files.sha256(path))}
    if not path.is_dir():
        raise MissingFileError(
            f"{path}: no such file or folder. Put it there, or correct the path of its role"
        )
    found = sorted(p for p in path.rglob("*") if p.is_file())
    return {p.relative_to(path).as_posix(): FileRecord(p.stat().st_size, files.sha256(p)) for p in found}


def read(path: Path) -> dict[str, Any]:
    """The JSON object of a manifest, its kind and version checked.

    Raises StackError: not JSON, not a stack's manifest, or one of a later version.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise StackError(f"{path}: not a readable JSON file ({error}). Copy the stack again") from error
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise StackError(
            f'{path}: not the manifest of a stack (no "format": "{FORMAT}"). Give a stack\'s folder'
        )
    if data.get("version") not in READS:
        raise StackError(
            f"{path}: version {data.get('version')!r}, this package reads {VERSION}. Upgrade adaface, or "
            "use an older "
            "stack"
        )
    return data


def parse_part(role: str, entry: object, where: Path) -> Part:
    """One entry of "roles". Raises StackError: not of the form that `Part.to_json` writes, or its hash does
    not fit.
    """
    if (
        not isinstance(entry, dict)
        or not entry.keys() <= _ROLE_KEYS
        or ("path" in entry or "hub" in entry) == ("builtin" in entry)
    ):
        raise StackError(
            f'{where}: role "{role}" needs a "path", a "hub" or a "builtin"; known keys: '
            f"{sorted(_ROLE_KEYS)}. Correct it, or copy the stack again"
        )
    try:
        listed = {
            str(n): FileRecord(int(r["bytes"]), str(r["sha256"])) for n, r in entry.get("files", {}).items()
        }
        options = dict(entry.get("options", {}))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise StackError(
            f'{where}: role "{role}" has a broken list of files or options ({error!r}). Copy the stack again'
        ) from error
    texts = {key: str(entry[key]) for key in _TEXTS if key in entry}
    part = Part(**texts, files=listed, options=options)
    outside = [name for name in (part.path or "", *listed) if _leaves(name)]
    if outside:
        raise StackError(
            f'{where}: role "{role}" points outside the stack ({outside[0]}). Put its files into the folder'
        )
    if part.files and entry.get("sha256") != part.sha256:
        raise StackError(
            f'{where}: role "{role}": its sha256 does not fit its list of files. Write the manifest anew'
        )
    return part


def _leaves(path: str) -> bool:
    return Path(path).is_absolute() or ".." in Path(path).parts
