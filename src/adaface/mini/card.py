"""The model card of a finished build: what it is, from which data, by which commands, how long, for what."""

import json
import platform
from pathlib import Path

DATA = "LFW and CelebA crops (people of the held-out list left out), UTKFace chips, CelebAMask-HQ portraits"
CARD = """# The mini stack

Stable Diffusion 1.5, Arc2Face and AdaFace in miniature: 64x64 pictures of faces. **Research only**: the
photographs that it was trained on allow no commercial use; see LICENSE-WEIGHTS. Made to test and teach the
package `adaface`, not to draw people who would not want it.

- Data: {data}.
- Command: `adaface mini build --data DIR --out OUT`; sizes and rates of each step in `build.json` of the run.
- Machine: {machine}; torch {torch}.
- Limits: 64 pixels, a dozen words for scenes, frontal faces, the biases of its data sets (celebrities, few
  children, few dark skins, few head scarves). Likeness is far below that of the full size.

| step | updates | seconds |
|---|---|---|
{steps}
"""


def write_card(path: Path, runs: Path, steps: list[str], machine: str | None = None) -> Path:
    """Write the card of the runs under `runs` to `path`; a step without a training run has no line."""
    import torch

    rows = [
        f"| {step} | {state['step']} | {state['seconds']:.0f} |"
        for step in steps
        for state in _states(runs / step)
    ]
    text = CARD.format(
        data=DATA, machine=machine or platform.machine(), torch=torch.__version__, steps="\n".join(rows)
    )
    path.write_text(text, encoding="utf-8")
    return path


def _states(folder: Path) -> list[dict[str, float]]:
    return [json.loads(path.read_text()) for path in sorted(folder.glob("save-*/state.json"))[-1:]]
