"""Our way through a training step: the recipe's own code, with the settings of the reported runs."""

from pathlib import Path
from typing import Any

import torch

from adaface.recipes.registry import open_recipe, read_config
from adaface.training.config import Layer
from adaface.training.distributed import Ranks
from adaface.training.plan import step_generator
from adaface.training.step import Stepper

# what differs from the reported runs: one kind of step at a time, and nothing beside the steps
ALONE = {"init_from": "none", "validation": 0, "tensorboard": False, "samples": {"people": 0}}
IDENTITY = {"random_share": 0.0, "near_share": 0.0, "teacher_share": 1.0, "rollout_shares": [1.0]}
# as the original's: from a photo, one denoising step, its terms alone
COMPOSITION: dict[str, Any] = {"compose_every": 1, "compose": {"denoising": 1}}


def settings(
    stack: Path, faces: Path, batch: int, steps: int, device: torch.device, *, compiled: bool = False
) -> Any:
    """The config of a kind of step; steps: of denoising, 0 is a compositional step, which no compiled UNet
    serves.
    """
    cuda = device.type == "cuda"
    given: dict[str, Any] = {"stack": str(stack), "data": str(faces), "batch": batch, **ALONE}
    given |= {"frozen": "bf16" if cuda else "fp32", "latents": "cached", "device": str(device)}
    given |= {"unets": "compiled" if compiled and steps else "channels_last" if cuda else "plain"}
    given |= {"loop": {"accumulate": 1, "precision": "bf16" if cuda else "fp32"}}
    given |= COMPOSITION if steps == 0 else {**IDENTITY, "rollout_steps": [steps]}
    return read_config("sd15/composition" if steps == 0 else "sd15/identity", Layer("benchmark", given))


class Ours:
    """A recipe with its optimiser, and its steps one after the other."""

    def __init__(self, config: Any, device: torch.device) -> None:
        """config: of `settings`."""
        self.recipe = open_recipe(config, device)
        self.stepper = Stepper(self.recipe, config.loop, Ranks(device=device))
        self.number = 0
        self._plan = self._next()

    def step(self) -> float:
        """One update; the next step's photos are read meanwhile. The loss."""
        plan, self._plan = self._plan, self._next()
        outcome = self.stepper.gradients(plan)
        self.stepper.update(outcome, plan.step - 1, 0.0)
        return sum(outcome.terms.values())

    def close(self) -> None:
        """Stop the readers."""
        self.recipe.close()

    def _next(self) -> Any:
        self.number += 1
        plan = self.recipe.draw(self.number, step_generator(0, self.number), 0.0)
        for part in self.stepper.parts:
            self.recipe.prepare(plan, part)
        return plan
