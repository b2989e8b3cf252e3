"""One run: a recipe's steps, and what is written of them. `fit` drives it, a replay looks at one step."""

import json
import logging
import math
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import torch
from safetensors.torch import save_file

from adaface.errors import FormatError, NonFiniteError
from adaface.files import write_atomic
from adaface.training import checkpoint
from adaface.training.distributed import Ranks
from adaface.training.metrics import MetricWriter, write_about
from adaface.training.plan import StepPlan, step_generator
from adaface.training.recipe import Recipe
from adaface.training.settings import LoopConfig
from adaface.training.state import Hooks, Progress, RunState
from adaface.training.step import Outcome, Stepper

log = logging.getLogger(__name__)
PLAN, SAMPLES = "plan.json", "samples"


class Run:
    """A run in its folder. Steps are numbered from 1, as lines of metrics and checkpoints count them."""

    def __init__(
        self, recipe: Recipe, config: LoopConfig, folder: Path, *, seed: int, hooks: Hooks, ranks: Ranks
    ) -> None:
        self.recipe, self.config, self.folder, self.seed = recipe, config, folder, seed
        self.hooks, self.ranks = hooks, ranks
        self.stepper = Stepper(recipe, config, ranks)
        self.progress = Progress(steps=config.steps)
        self.metrics = MetricWriter(folder)
        self.since_save: tuple[float, int] = (0.0, 0)  # sum of losses, steps
        self.saved_step = -1
        self.plans: deque[StepPlan] = deque()

    def open(self, about: Mapping[str, Any], settings: Mapping[str, Any] | None = None) -> None:
        """Go on from the newest checkpoint, if there is one, and write what the run is.

        settings: of this start, for its row in `run.json`.
        """
        if any(self.folder.glob("save-*")):
            raise FormatError(
                f"{self.folder}: a run of an older adaface, which kept its state in other files. "
                "Choose a new folder, or remove this one"
            )
        self.ranks.on_first(lambda: checkpoint.tidy(self.folder))
        newest = checkpoint.latest(self.folder)
        if newest is not None:
            self.restore(newest)
        progress, config = self.progress, self.config
        if len(set(self.ranks.gather(progress.step))) > 1:
            raise FormatError(f"{self.folder}: not the same on all nodes. Put the run where all nodes see it")
        started = {"device": str(self.stepper.weights.device), "accumulate": config.accumulate}
        started |= {} if settings is None else {"settings": settings}

        def write() -> None:
            if newest is not None:
                checkpoint.forget_after(self.folder, newest)
            self.metrics.cut(progress.step)
            self.hooks.begun(progress)
            write_about(self.folder, about, self.ranks, step=progress.step, seed=self.seed, **started)

        self.ranks.on_first(write)

    def restore(self, folder: Path) -> None:
        """Put everything where a checkpoint left it. Raises FormatError: of another recipe or optimiser."""
        state = checkpoint.read_state(folder)
        checkpoint.read_weights(folder, self.stepper.weights)
        self.stepper.optimizers.load_state_dict(checkpoint.read_optimizer(folder))
        progress = self.progress
        progress.step, progress.seconds = state.step, state.seconds
        progress.samples, progress.skipped = state.samples, state.skipped
        progress.share = self.share(progress.step)
        if self.stepper.scale is not None and state.loss_scale is not None:
            self.stepper.scale.value, self.stepper.scale.good = state.loss_scale
        self.saved_step = progress.step
        log.info("going on from %s", folder)

    def share(self, step: int) -> float:
        """How much of the run is done after so many steps (0..1), at the time that has passed by now."""
        return min(1.0, max(step / self.config.steps, self.progress.seconds / self.config.seconds))

    def train(self, stopped: list[bool]) -> bool:
        """Step until the end or a signal; True if there was a step left to do."""
        progress, config = self.progress, self.config
        first = progress.step
        saved = last = time.monotonic()
        stop = any(self.ranks.gather(bool(stopped)))
        while progress.share < 1 and not stop:
            outcome = self.step()
            now = time.monotonic()
            stop = self.agree(outcome, now - last, stop=bool(stopped))
            last = now
            self.advance(outcome)
            if self.save_is_due(now - saved) and progress.share < 1 and not stop:
                self.save()
                if config.sample_steps == 0:
                    self.sample()
                saved = last = time.monotonic()
            if config.sample_steps and progress.step % config.sample_steps == 0 and progress.share < 1:
                self.sample()
                last = time.monotonic()
        return progress.step > first

    def step(self) -> Outcome:
        """The next plan's gradients, not applied yet."""
        last = min(self.progress.step + 1 + self.config.ahead, self.config.steps)
        begun = self.plans[-1].step if self.plans else self.progress.step
        for number in range(begun + 1, last + 1):
            self.plans.append(self.plan(number))
            for part in self.stepper.parts:
                self.recipe.prepare(self.plans[-1], part)
        return self.stepper.gradients(self.plans[0])

    def plan(self, step: int) -> StepPlan:
        """The plan of a step, from the run's seed. Raises ConfigError: a batch too small for all parts."""
        plan = self.recipe.draw(step, step_generator(self.seed, step), self.share(step - 1))
        self.ranks.check(len(plan.rows), self.config.accumulate)
        return plan

    def repeat(self, until: int) -> None:
        """Do the steps up to this one without writing or telling anything."""
        progress, stepper = self.progress, self.stepper
        while progress.step < until:
            outcome = stepper.gradients(self.plan(progress.step + 1))
            stepper.update(outcome, progress.step, progress.share)
            progress.step += 1
            progress.share = self.share(progress.step)

    def agree(self, outcome: Outcome, seconds: float, *, stop: bool) -> bool:
        """Exchange what the processes must not differ in; True: one of them was told to stop."""
        own = {"terms": outcome.terms, "bad": outcome.bad, "seconds": seconds, "stop": stop}
        told = self.ranks.gather(own)
        outcome.terms = {}
        for row in told:
            for name, value in row["terms"].items():
                outcome.terms[name] = outcome.terms.get(name, 0.0) + value
        outcome.bad = [index for row in told for index in row["bad"]]
        self.progress.seconds += max(row["seconds"] for row in told)
        return any(row["stop"] for row in told)

    def advance(self, outcome: Outcome) -> None:
        """Apply the gradients, tell and log. Raises NonFiniteError: they are no numbers."""
        progress, stepper, plan = self.progress, self.stepper, self.plans[0]
        if stepper.hopeless(outcome):
            self.fail(plan, outcome)
        progress.learning_rate = self.config.optimizer.rate * stepper.factor(progress.step, progress.share)
        if not stepper.update(outcome, progress.step, progress.share):
            progress.skipped += 1
        self.plans.popleft()
        progress.step += 1
        progress.samples += len(plan.rows)
        progress.share = self.share(progress.step)
        progress.terms = dict(outcome.terms)
        loss, count = self.since_save
        self.since_save = (loss + sum(outcome.terms.values()), count + 1)
        norm = {"grad_norm": outcome.norm} if outcome.finite else {}
        self.metrics.add(outcome.terms | norm | {"learning_rate": progress.learning_rate})
        if self.ranks.first:
            self.hooks.tell(progress)
        if progress.step % self.config.log_steps == 0:
            self.ranks.on_first(self.log_row)

    def log_row(self) -> None:
        """A line of metrics."""
        progress = self.progress
        head = {"step": progress.step, "seconds": round(progress.seconds, 3)}
        more = {"skipped": float(progress.skipped)} if self.stepper.scale is not None else {}
        row = self.metrics.row(head, more | dict(self.hooks.figures()))
        self.metrics.write(row)
        log.info("%s", "  ".join(f"{name} {value:g}" for name, value in row.items()))
        self.hooks.log(row)

    def save_is_due(self, seconds: float) -> bool:
        """By steps, or by the time since the last one, which the first process reads for all."""
        config = self.config
        by_steps = bool(config.save_steps) and self.progress.step % config.save_steps == 0
        if math.isinf(config.save_seconds):
            return by_steps
        return by_steps or bool(self.ranks.gather(seconds >= config.save_seconds)[0])

    def save(self) -> None:
        """A checkpoint of where the run stands, if there is none yet; then older ones go."""
        if self.saved_step == self.progress.step:
            return
        config, final = self.config, checkpoint.folder_of(self.folder, self.progress.step)

        def fill(beside: Path, figure: float | None) -> None:
            self.fill(beside, figure)
            with self.stepper.weights.averaged(), torch.no_grad():
                self.hooks.export(beside)

        def write() -> None:
            figure = self.figure()  # before the disk's troubles are told as such
            checkpoint.write(final, lambda beside: fill(beside, figure))
            checkpoint.prune(self.folder, keep_last=config.keep_last, keep_best=config.keep_best)

        self.ranks.on_first(write)
        self.saved_step, self.since_save = self.progress.step, (0.0, 0)

    def figure(self) -> float | None:
        """How good the run is now, lower is better; None: not known."""
        with self.stepper.weights.averaged(), torch.no_grad():
            told = self.hooks.validate()
        if told is not None:
            return float(told)
        loss, count = self.since_save
        return loss / count if count else None

    def fill(self, beside: Path, figure: float | None) -> None:
        """Write all that `restore` reads."""
        stepper, progress = self.stepper, self.progress
        save_file(stepper.weights.tensors(), beside / checkpoint.WEIGHTS)
        if stepper.weights.averages:
            averages = {name: average.contiguous() for name, average in stepper.weights.averages.items()}
            save_file(averages, beside / checkpoint.AVERAGES)
        checkpoint.write_optimizer(stepper.optimizers.state_dict(), beside / checkpoint.OPTIMIZER)
        scale = stepper.scale
        state = RunState(
            step=progress.step,
            seconds=progress.seconds,
            samples=progress.samples,
            skipped=progress.skipped,
            seed=self.seed,
            parts=self.ranks.world * self.config.accumulate,
            learning_rate=progress.learning_rate,
            loss_scale=None if scale is None else (scale.value, scale.good),
            figure=figure if figure is not None and math.isfinite(figure) else None,
        )
        text = json.dumps(state.to_json(), indent=2) + "\n"
        (beside / checkpoint.STATE).write_text(text, encoding="utf-8")

    def sample(self) -> None:
        """What the averages do now, as a picture."""
        path = self.folder / SAMPLES / f"step-{self.progress.step:09d}.png"

        def draw() -> None:
            with self.stepper.weights.averaged(), torch.no_grad():
                picture = self.recipe.sample()
            if picture is not None:
                write_atomic(path, lambda beside: picture.save(beside))

        self.ranks.on_first(draw)

    def fail(self, plan: StepPlan, outcome: Outcome) -> NoReturn:
        """Write the plan and the state before it. Raises NonFiniteError always."""
        final = self.folder / checkpoint.FAILED / f"step-{plan.step:09d}"
        names = list(self.recipe.names(plan))
        parts = self.ranks.world * self.config.accumulate
        values = {**outcome.terms, "grad_norm": outcome.norm}
        report = {
            "plan": plan.to_json(),
            "names": names,
            "parts": parts,
            "bad_parts": outcome.bad,
            "terms": {name: value if math.isfinite(value) else str(value) for name, value in values.items()},
        }

        def fill(beside: Path) -> None:
            (beside / PLAN).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
            self.fill(beside, None)

        self.ranks.on_first(lambda: checkpoint.write(final, fill))
        odd = ", ".join(name for name, value in values.items() if not math.isfinite(value))
        there = bool(checkpoint.checkpoints(self.folder))
        raise NonFiniteError(
            f"step {plan.step}: {odd} is no number. Its plan, its samples' names and the weights before it "
            f"are in {final}: `adaface train replay {self.folder}` runs it again and finds the samples. "
            f"{'Go on from the last checkpoint' if there else 'Begin a new run'} without them, with another "
            "seed or with a lower learning rate"
        )
