"""What a user names, as a place: a local file or folder, or a repository of the hub. Nothing is fetched here.

Only a name that begins with "hub:" is a repository. All else is a path, so that a mistyped path can never
become a question to the hub.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from adaface.errors import ConfigError, MissingFileError

HUB = "hub:"
MODELS = "ADAFACE_MODELS"  # environment variable: the folder of models
_NAME = r"[\w.-]+/[\w.-]+"
_REPO = re.compile(rf"(?P<repo>{_NAME})(?:@(?P<revision>[\w.-]+))?(?:/(?P<inside>.+))?")


@dataclass(frozen=True)
class HubPlace:
    """A repository of the hub, or a file or folder inside it.

    repo: "owner/name". revision: branch, tag or commit; None is the main branch. inside: POSIX path in the
    repository; "" is all of it.
    """

    repo: str
    revision: str | None = None
    inside: str = ""

    def __str__(self) -> str:
        """As a user writes it: hub:owner/name@revision/inside."""
        revision = f"@{self.revision}" if self.revision else ""
        return f"{HUB}{self.repo}{revision}{'/' if self.inside else ''}{self.inside}"


def parse_place(name: str | Path) -> HubPlace | Path:
    """A repository if `name` begins with "hub:", else a path; whether it is there is not asked.

    Raises ConfigError: "hub:" with something behind it that is no repository, or no name at all.
    """
    if isinstance(name, str) and not name.strip():  # an unset variable of a shell; as a path it means "here"
        raise ConfigError("an empty name: give a path, or hub:owner/name")
    if isinstance(name, Path) or not name.startswith(HUB):
        return Path(name).expanduser()
    match = _REPO.fullmatch(name.removeprefix(HUB))
    inside = Path(match["inside"] or "") if match else Path()
    if match is None or inside.is_absolute() or ".." in inside.parts:
        raise ConfigError(
            f"{name}: not a repository of the hub. Write hub:owner/name, hub:owner/name@revision or "
            "hub:owner/name@revision/folder"
        )
    return HubPlace(match["repo"], match["revision"], match["inside"] or "")


def models_folder() -> Path:
    """Where `adaface setup` puts stacks and where names are looked up: $ADAFACE_MODELS, else ~/.adaface."""
    return Path(os.environ.get(MODELS) or Path.home() / ".adaface").expanduser()


def find_local(path: Path) -> Path:
    """`path` itself, or for a relative one that is not there, the same below the folder of models.

    Raises MissingFileError: neither is there; the hub is not asked.
    """
    for place in (path, models_folder() / path):
        if place.exists():
            return place.absolute()  # not resolved: files of the hub's cache are links to nameless ones
    name = path.as_posix()
    hint = f" If you mean a repository of the hub, write {HUB}{name}" if re.fullmatch(_NAME, name) else ""
    raise MissingFileError(
        f"{path}: no such file or folder, nor below the folder of models ({models_folder()}). "
        f"Check the path.{hint}"
    )


def copy_of(place: HubPlace) -> Path | None:
    """A repository's copy below the folder of models (owner/name there), or what is inside; None without one.

    For machines without a network: copy the repository's files there by hand. Raises MissingFileError: there
    is such a copy, but not what is wanted of it.
    """
    folder = models_folder() / place.repo
    if not folder.is_dir():
        return None
    wanted = folder / place.inside
    if not wanted.exists():
        raise MissingFileError(
            f"{wanted}: not in your copy of {place.repo}. Copy it there from the repository, or remove "
            f"{folder}, so that the hub is asked"
        )
    return wanted.absolute()
