"""The mini stack's table of gates on held-out people, for `adaface evaluate --protocol mini-gates`."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaface.errors import ConfigError, MissingFileError

if TYPE_CHECKING:
    from adaface.evaluation.run.request import Extra, Request


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


def gates_entry(request: "Request", data: Path, say: Callable[[str], None]) -> "Extra":
    """The gates of `adaface.mini.gates` as an entry of run.json, and what decides them.

    By the request's second recogniser as well, where it is an ONNX file. Raises MissingFileError: a face pack
    or that file is not there.
    """
    from adaface.evaluation.run.begin import parts_of
    from adaface.evaluation.run.request import Extra
    from adaface.evaluation.scores.choose import AUTO, DLIB, NONE
    from adaface.files import sha256
    from adaface.mini.world.data import FULL_PACKS

    network = None if request.second.lower() in (AUTO, DLIB, NONE) else Path(request.second)
    of = {
        "data": {name: sha256(data / f"{name}.npz") for name in FULL_PACKS},
        "parts": parts_of(request.stack, "clip", "world"),
        "seed": request.seed,
        "second": None if network is None else sha256(network),
    }

    def make() -> list[dict[str, Any]]:
        from adaface.mini.measuring import gates_of

        device = request.models.get("device", "auto")
        table = gates_of(
            request.stack, data, seed=request.seed, device=device, second=network,
            tell=lambda part: say(f"Measuring gates: {part}"),
        )  # fmt: skip
        return [vars(gate) | {"passed": gate.passed} for gate in table]

    return Extra(of, make)
