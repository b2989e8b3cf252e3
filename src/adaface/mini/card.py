"""The model card of a finished build: what it is, from which data, by which commands, how long, for what."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DATA = "LFW and CelebA crops (people of the held-out list left out), UTKFace chips, CelebAMask-HQ portraits"
CARD = """# The mini stack

Stable Diffusion 1.5, Arc2Face and AdaFace in miniature: 64x64 pictures of faces. **Research only**: the
photographs that it was trained on allow no commercial use; see LICENSE-WEIGHTS. Made to test and teach the
package `adaface`, not to draw people who would not want it.

- Data: {data}.
- Command: `{command}`; torch {torch}.
- Limits: 64 pixels, a dozen words for scenes, frontal faces, the biases of its data sets (celebrities, few
  children, few dark skins, few head scarves). Likeness is far below that of the full size.

| step | updates | seconds | device | settings | measured |
|---|---|---|---|---|---|
{steps}
"""
UNKNOWN = "not recorded"
EARLIER = """
## The stack that it went on from

{}"""


def write_card(
    path: Path, runs: Path, steps: list[str], options: dict[str, str | None], earlier: Path | None = None
) -> Path:
    """Write the card of the runs under `runs` to `path`. What was not recorded is said to be so.

    options: of `adaface mini build`, None where not given. earlier: a stack, whose card is carried along.
    """
    import torch

    rows = [_row(step, _figures(runs / step)) for step in steps]
    given = "".join(f" --{name} {value}" for name, value in options.items() if value is not None)
    text = CARD.format(
        data=DATA,
        command=f"adaface mini build --data DIR --out OUT{given}",
        torch=torch.__version__,
        steps="\n".join(rows),
    )
    if earlier is not None and (earlier / "README.md").is_file():
        before = (earlier / "README.md").read_text(encoding="utf-8")
        text += EARLIER.format(before.replace("\n#", "\n##").replace("# ", "### ", 1))
    path.write_text(text, encoding="utf-8")
    return path


def _row(step: str, figures: dict[str, Any]) -> str:
    if "taken_from" in figures:
        return f"| {step} | as it was in the stack below | | | | |"
    updates, seconds = figures.pop("steps", UNKNOWN), figures.pop("seconds", UNKNOWN)
    device, settings = figures.pop("device", UNKNOWN), figures.pop("preset", UNKNOWN) or "own"
    shown = seconds if isinstance(seconds, str) else f"{seconds:.0f}"
    return f"| {step} | {updates} | {shown} | {device} | {settings} | {', '.join(_flat(figures))} |"


def _flat(figures: dict[str, Any], within: str = "") -> Iterator[str]:
    """Numbers of nested figures as "segmenter iou person 0.93"."""
    for name, value in figures.items():
        place = f"{within}{name.replace('_', ' ')}"
        if isinstance(value, dict):
            yield from _flat(value, f"{place} ")
        elif isinstance(value, int | float):
            yield f"{place} {value:.3g}"


def _figures(folder: Path) -> dict[str, Any]:
    """What the step recorded as done; how long it was trained, if only its last save says so."""
    figures: dict[str, Any] = {}
    for save in sorted(folder.glob("save-*/state.json"))[-1:]:
        state = json.loads(save.read_text(encoding="utf-8"))
        figures = {"steps": state["step"], "seconds": state["seconds"]}
    if (folder / "done.json").is_file():
        figures |= json.loads((folder / "done.json").read_text(encoding="utf-8"))
    return figures
