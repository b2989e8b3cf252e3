"""Guidance that changes over the steps, through the public callback of a stock diffusers pipeline."""

from collections.abc import Callable
from typing import Any

from adaface.spec import GUIDANCE_FLOOR

StepCallback = Callable[[Any, int, Any, dict[str, Any]], dict[str, Any]]


def guidance_at(step: int, steps: int, scale: tuple[float, float]) -> float:
    """Scale of step 0 <= `step` < `steps`: linear from scale[0] to scale[1], never below the floor 1 + 1e-6.

    Source: AdaFace, inference (guidance 4 -> 1 over the DDIM steps). The floor keeps diffusers' doubling of
    the latents switched on: at exactly 1 it stops, while the prompt embeddings stay doubled.
    """
    start, end = scale
    share = step / (steps - 1) if steps > 1 else 0.0
    return max(start + (end - start) * share, GUIDANCE_FLOOR)


def linear_guidance(scale: tuple[float, float], on_step: Callable[[int], None] | None = None) -> StepCallback:
    """A `callback_on_step_end` that moves the guidance scale linearly from scale[0] to scale[1].

    Start the pipeline with `guidance_scale=guidance_at(0, steps, scale)`. on_step: told the number of
    finished steps.
    """

    def callback(pipe: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        # The scale set after step i is the one that step i + 1 reads; the pipeline has no public setter.
        pipe._guidance_scale = guidance_at(min(step + 1, pipe.num_timesteps - 1), pipe.num_timesteps, scale)
        if on_step is not None:
            on_step(step + 1)
        return tensors

    return callback


def is_plain(scale: tuple[float, float]) -> bool:
    """True if guidance is off at every step, so that half of the work can be saved."""
    return scale[0] <= 1 and scale[1] <= 1
