"""Names of people: how they may look, and how they stand in prompts and files, as <alice>."""

import re
from collections.abc import Sequence

from adaface.errors import ConfigError, PromptError

_NAME = re.compile(r"\w[\w.'’-]{0,63}")


def check_name(name: str) -> str:
    """The name itself, if it may stand in a prompt and in a file: letters and digits of any script, and _ . '
    -.

    Raises PromptError: empty, too long, with blanks, angle brackets or other signs.
    """
    if not _NAME.fullmatch(name):
        raise PromptError(
            f"name {name!r}: give 1 to 64 letters, digits, or _ . ' - (a letter or digit first, no blanks), "
            "without the angle brackets"
        )
    return name


def check_distinct(names: Sequence[str]) -> None:
    """Raises ConfigError: two people of one name."""
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(
            f"{len(names)} identities, but {slot(twice[0])} twice: give each its own name (--name)"
        )


def slot(name: str) -> str:
    """How a person stands in prompts and files: <name>."""
    return f"<{name}>"
