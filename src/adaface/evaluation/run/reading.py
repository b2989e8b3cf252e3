"""Text files that a user names, and the YAML in them: read in one way, with one way to say what is wrong."""

from pathlib import Path
from typing import Any

from adaface.errors import FormatError, MissingFileError
from adaface.optional import require


def text_of(path: Path, wanted: str) -> str:
    """The text of a file. wanted: what should be there, for messages: "--about needs a YAML file".

    Raises MissingFileError: no such file. FormatError: it is no text in UTF-8.
    """
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file. {wanted}")
    try:
        return path.read_text(encoding="utf-8-sig")
    except (UnicodeDecodeError, OSError) as error:
        raise FormatError(f"{path}: not readable as text ({error}). Save it as UTF-8") from error


def yaml_of(path: Path, text: str) -> Any:
    """What the YAML `text` of a file says. Raises FormatError: it is none. MissingExtra: no pyyaml."""
    yaml = require("yaml", extra="eval")
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise FormatError(f"{path}: not YAML ({' '.join(str(error).split())}). Correct it") from error
