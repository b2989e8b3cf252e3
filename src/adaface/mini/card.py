"""The model card of a finished build: what it is, from which data, by which commands, how long, for what."""

import json
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

| step | updates | seconds | device | settings |
|---|---|---|---|---|
{steps}
"""
EARLIER = """
## The stack that it went on from

{}"""


def write_card(
    path: Path, runs: Path, steps: list[str], options: dict[str, str | None], earlier: Path | None = None
) -> Path:
    """Write the card of the runs under `runs` to `path`; a step without a training run has no line.

    options: of `adaface mini build`, None where not given. earlier: a stack, whose card is carried along.
    """
    import torch

    rows = [_row(step, figures) for step in steps for figures in _figures(runs / step)]
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
    updates = figures.get("steps", figures.get("step"))
    device, settings = figures.get("device", "not recorded"), figures.get("preset") or "own"
    return f"| {step} | {updates} | {figures['seconds']:.0f} | {device} | {settings} |"


def _figures(folder: Path) -> list[dict[str, Any]]:
    """What the step recorded of its training; else what its last save says."""
    files = [folder / "done.json", *sorted(folder.glob("save-*/state.json"))[-1:]]
    found = [json.loads(file.read_text(encoding="utf-8")) for file in files if file.is_file()]
    return [figures for figures in found if "seconds" in figures][:1]
