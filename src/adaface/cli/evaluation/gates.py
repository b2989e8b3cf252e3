"""The mini stack's table of gates on held-out people, for `adaface evaluate --protocol mini-gates`."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaface.errors import ConfigError, MissingFileError

if TYPE_CHECKING:
    from adaface.pipelines.stack import Stack


def check_data(protocol: str, data: Path | None) -> None:
    """Raises ConfigError: the gates without a folder of face packs, or a folder without the gates.
    MissingFileError: no such folder.
    """
    wanted = protocol == "mini-gates"
    if wanted and data is None:
        raise ConfigError(
            "--protocol mini-gates measures held-out people: give the folder of the face packs (--data DIR, "
            "docs/mini.md)"
        )
    if data is not None and not data.is_dir():
        raise MissingFileError(f"{data}: no such folder. --data needs the folder of the face packs")
    if data is not None and not wanted:
        raise ConfigError("--data is for --protocol mini-gates only. Leave it out, or give that protocol")


def gates_table(
    stack: "Stack",
    data: Path,
    models: Mapping[str, Any],
    say: Callable[[str], None],
) -> list[dict[str, Any]]:
    """The gates of `adaface.mini.gates` as JSON. Raises as that and what it opens."""
    from adaface.mini.measuring import gates_of

    device = models.get("device", "auto")
    table = gates_of(stack, data, device=device, tell=lambda part: say(f"Measuring gates: {part}"))
    return [vars(gate) | {"passed": gate.passed} for gate in table]
