"""How folders and files of a user are called in a run: subjects, pictures of a folder, names in a row."""

import re
import unicodedata
from collections.abc import Collection, Sequence
from pathlib import Path

from adaface.errors import ConfigError
from adaface.face.images import EXTENSIONS

_STRANGE = re.compile(r"[^\w.'’-]+")


def as_name(folder: str) -> str:
    """A folder's name as it may stand in a prompt: "Anna Maria" is Anna_Maria."""
    return _STRANGE.sub("_", unicodedata.normalize("NFC", folder)).lstrip("_.'’-")[:64] or "person"


def known_as(told: str, names: Collection[str]) -> str:
    """The one of `names` that `told` means, or `told` itself."""
    return told if told in names or as_name(told) not in names else as_name(told)


def in_a_row(names: Sequence[str]) -> str:
    """The first six names and how many more there are."""
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")


def pictures_in(folder: Path) -> list[Path]:
    """Pictures that lie in a folder, by their names; hidden ones are passed over.

    Raises ConfigError: a name that is no text, which neither run.json nor a report can hold.
    """
    named = (path for path in sorted(folder.iterdir()) if path.suffix.lower() in EXTENSIONS)
    found = [path for path in named if not path.name.startswith(".") and path.is_file()]
    for path in found:
        try:
            str(path.absolute()).encode()
        except UnicodeEncodeError:
            told = str(path).encode(errors="backslashreplace").decode()
            raise ConfigError(f"{told}: this name is no text in UTF-8. Give the file another one") from None
    return found
