"""The mini stack's table of gates on held-out people, for `adaface evaluate --protocol mini-gates`."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaface.errors import ConfigError

if TYPE_CHECKING:
    from adaface.pipelines.stack import Stack

PEOPLE = 64  # as `adaface mini gates` measures


def check_data(protocol: str, data: Path | None) -> None:
    """Raises ConfigError: the gates without a folder of face packs, or a folder without the gates."""
    wanted = protocol == "mini-gates"
    if wanted and data is None:
        raise ConfigError(
            "--protocol mini-gates measures held-out people: give the folder of the face packs (--data DIR, "
            "docs/mini.md)"
        )
    if data is not None and not wanted:
        raise ConfigError("--data is for --protocol mini-gates only. Leave it out, or give that protocol")


def gates_table(
    stack: "Stack",
    data: Path,
    models: Mapping[str, Any],
    say: Callable[[str], None],
    *,
    people: int = PEOPLE,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """The gates of `adaface.mini.gates` as JSON. Raises as that and what it opens."""
    from adaface.evaluation.text_match import ClipScorer
    from adaface.mini.gates import measure
    from adaface.mini.measuring import held_out_world
    from adaface.mini.people import held_out
    from adaface.pipelines.devices import choose_device
    from adaface.pipelines.personalizer import Personalizer

    where = choose_device(models.get("device", "auto"))
    chosen, world = held_out(data, people, seed), held_out_world(data, stack)
    clip = ClipScorer.from_pretrained(stack.path("clip"), device=where)
    personalizer = Personalizer.from_pretrained(stack, device=where, dtype="float32")
    table = measure(personalizer, clip, world, chosen, seed, lambda part: say(f"Measuring gates: {part}"))
    return [vars(gate) | {"passed": gate.passed} for gate in table]
