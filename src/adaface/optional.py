"""Optional packages, asked for at use; a missing one names the command that installs it."""

from importlib import import_module
from types import ModuleType

from adaface.errors import MissingExtra


def require(module: str, *, extra: str) -> ModuleType:
    """Import `module`, which belongs to the extra `extra`.

    Raises MissingExtra: it is not installed.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not module.startswith(error.name):
            raise
        raise MissingExtra(f"{module} is not installed. Run: pip install 'adaface[{extra}]'") from error
