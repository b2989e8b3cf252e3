"""One plain resumable loop for every recipe: step, clip, update, average, save, sample.

A run is a folder: the last save `save-<step>/` with `state.safetensors` (weights and their averages),
`optimizer.pt` (read by the weights-only loader) and `state.json` (step, seconds, generator); beside it
`metrics.jsonl` and `sample.png`. Stop it with Ctrl-C, SIGTERM or a kill: a save appears whole or not at all,
and the same call goes on.
"""

import json
import logging
import math
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from PIL.Image import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Generator, Tensor, nn

from adaface.errors import ConfigError, FormatError, WriteError
from adaface.files import write_atomic

log = logging.getLogger(__name__)
SAVES = "save-"


@dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """How long and how fast. The end is `steps` or `seconds` of training, whichever comes first."""

    steps: int = 1_000_000
    seconds: float = math.inf
    learning_rate: float = 4e-4
    warmup_steps: int = 200
    final_share: float = 0.02  # of the learning rate, at the end of a cosine
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    ema_decay: float = 0.999
    bf16: bool = True
    save_every: float = 120.0  # seconds
    log_every: int = 50  # steps

    def __post_init__(self) -> None:
        """Raises ConfigError: a value out of range, or no end."""
        if self.steps < 1 or self.seconds <= 0:
            raise ConfigError(f"steps={self.steps}, seconds={self.seconds}: give both above 0")
        if not 0 <= self.ema_decay < 1:
            raise ConfigError(f"ema_decay={self.ema_decay}: give 0 <= ema_decay < 1")
        if self.warmup_steps < 1 or self.log_every < 1:
            raise ConfigError(
                f"warmup_steps={self.warmup_steps}, log_every={self.log_every}: give both at least 1"
            )
        if not self.learning_rate > 0:
            raise ConfigError(f"learning_rate={self.learning_rate}: give one above 0")


class Recipe(Protocol):
    """What the loop trains: named modules and one step."""

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        """What is trained, by the name it is saved under; an attribute that holds a dict will do."""

    def step(self, generator: Generator) -> dict[str, Tensor]:
        """Named scalar terms of one step's loss, already weighted; their sum is minimised."""

    def sample(self) -> Image | None:
        """A picture of what the averaged modules do now, or None."""


@dataclass
class Progress:
    """Where a run stands."""

    step: int = 0
    seconds: float = 0.0
    finished: bool = False  # False also when a signal stopped the run before its end


def fit(
    recipe: Recipe,
    config: LoopConfig,
    folder: str | Path,
    generator: Generator,
    progress: Callable[[float, Progress], None] = lambda share, progress: None,
) -> Progress:
    """Train until the end that `config` names; resumes from `folder`; leaves the averages in the modules.

    progress: told after each step which share of the run is done (0..1), and where it stands.
    Raises FormatError: the folder holds a run of another recipe. WriteError: disk trouble.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    run = _Run(recipe, config, generator)
    run.restore(folder)
    with _stop_flag() as stopped:
        trained = _train(run, folder, stopped, progress)
    run.save(folder)
    run.use_averages()
    run.progress.finished = run.share_done() >= 1
    if trained and run.progress.finished:
        _write_sample(run, folder)
    return run.progress


class _Run:
    def __init__(self, recipe: Recipe, config: LoopConfig, generator: Generator) -> None:
        self.recipe, self.config, self.generator = recipe, config, generator
        named = [(f"{m}.{n}", p) for m, mod in recipe.modules.items() for n, p in mod.named_parameters()]
        self.weights = {name: p for name, p in named if p.requires_grad}
        self.averages = {name: p.detach().clone() for name, p in self.weights.items()}
        self.optimizer = torch.optim.AdamW(
            list(self.weights.values()),
            lr=0.0,
            betas=(0.9, 0.99),
            weight_decay=config.weight_decay,
            fused=True,
        )
        self.progress = Progress()

    def share_done(self) -> float:
        config, progress = self.config, self.progress
        return min(1.0, max(progress.step / config.steps, progress.seconds / config.seconds))

    def step(self) -> dict[str, Tensor]:
        config, step = self.config, self.progress.step
        low = config.final_share
        scale = low + (1 - low) * 0.5 * (1 + math.cos(math.pi * self.share_done()))
        for group in self.optimizer.param_groups:
            group["lr"] = config.learning_rate * scale * min(1.0, (step + 1) / config.warmup_steps)
        device = next(iter(self.weights.values())).device
        with torch.autocast(device.type, torch.bfloat16, enabled=config.bf16):
            terms = self.recipe.step(self.generator)
        self.optimizer.zero_grad()
        torch.stack([term.float() for term in terms.values()]).sum().backward()
        terms["grad_norm"] = nn.utils.clip_grad_norm_(self.weights.values(), config.max_grad_norm)
        self.optimizer.step()
        decay = min(config.ema_decay, (1 + step) / (10 + step))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.averages.values()), list(self.weights.values()), 1 - decay)
        self.progress.step += 1
        return terms

    def use_averages(self) -> None:
        with torch.no_grad():
            for name, weight in self.weights.items():
                weight.copy_(self.averages[name])

    @contextmanager
    def averaged(self) -> Iterator[None]:
        kept = {name: weight.detach().clone() for name, weight in self.weights.items()}
        self.use_averages()
        try:
            yield
        finally:
            with torch.no_grad():
                for name, weight in self.weights.items():
                    weight.copy_(kept[name])

    def save(self, folder: Path) -> None:
        tensors = {f"weights.{n}": w.detach().contiguous() for n, w in self.weights.items()}
        tensors |= {f"averages.{n}": a.contiguous() for n, a in self.averages.items()}
        state = {
            "step": self.progress.step,
            "seconds": self.progress.seconds,
            "generator": self.generator.get_state().tolist(),
        }
        with _whole_folder(folder / f"{SAVES}{self.progress.step:09d}") as beside:
            save_file(tensors, beside / "state.safetensors")
            _write_optimizer(self.optimizer, beside / "optimizer.pt")
            (beside / "state.json").write_text(json.dumps(state))

    def restore(self, folder: Path) -> None:
        saves = _saves(folder)
        if not saves:
            return
        state = json.loads((saves[-1] / "state.json").read_text())
        tensors = load_file(saves[-1] / "state.safetensors")
        wanted = {f"weights.{n}": w.shape for n, w in self.weights.items()}
        found = {n: t.shape for n, t in tensors.items() if n.startswith("weights.")}
        if wanted != found:
            odd = sorted(n for n in wanted.keys() | found.keys() if wanted.get(n) != found.get(n))
            raise FormatError(
                f"{folder}: a run of other sizes ({odd[0]} and {len(odd) - 1} more). Choose a new folder"
            )
        with torch.no_grad():
            for name, weight in self.weights.items():
                weight.copy_(tensors[f"weights.{name}"])
                self.averages[name].copy_(tensors[f"averages.{name}"])
        state_of_optimizer = torch.load(saves[-1] / "optimizer.pt", weights_only=True, map_location="cpu")
        self.optimizer.load_state_dict(state_of_optimizer)  # moves it to the weights
        self.generator.set_state(torch.tensor(state["generator"], dtype=torch.uint8))
        self.progress = Progress(step=state["step"], seconds=state["seconds"])
        log.info("resumed %s at step %d", folder, self.progress.step)


def _write_optimizer(optimizer: torch.optim.Optimizer, path: Path) -> None:
    """Raises OSError: disk trouble, which torch tells as a RuntimeError."""
    try:
        torch.save(optimizer.state_dict(), path)
    except RuntimeError as error:
        raise OSError(str(error).strip().splitlines()[0]) from error


def _saves(folder: Path) -> list[Path]:
    """Finished saves, oldest first."""
    return sorted(folder.glob(f"{SAVES}*"))


@contextmanager
def _whole_folder(final: Path) -> Iterator[Path]:
    """A folder to fill, which becomes `final` once it is whole; then older saves go.

    Raises WriteError: disk trouble.
    """
    beside = final.parent / f".{final.name}"
    older = [save for save in _saves(final.parent) if save != final]
    try:
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir()
        yield beside
        if final.exists():
            return  # this very step is saved already
        beside.rename(final)
    except (OSError, SafetensorError) as error:
        raise WriteError(
            f"{final}: not saved ({error}). Free some space; the save before it is whole"
        ) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    for save in older:
        shutil.rmtree(save, ignore_errors=True)


def _train(run: _Run, folder: Path, stopped: list[bool], tell: Callable[[float, Progress], None]) -> bool:
    """Step until the end or a signal; True if there was a step left to do."""
    config, progress = run.config, run.progress
    sums: dict[str, Tensor] = {}  # on the device: reading a term each step would make it wait for the host
    first = since = progress.step
    saved = last = time.monotonic()
    while run.share_done() < 1 and not stopped:
        for name, term in run.step().items():
            sums[name] = sums.get(name, 0.0) + term.detach().float()
        if progress.step % config.log_every == 0:
            means = {name: float(total) / (progress.step - since) for name, total in sums.items()}
            _write_metrics(folder, progress, means)
            sums, since = {}, progress.step
        now = time.monotonic()
        progress.seconds += now - last
        tell(run.share_done(), progress)
        last = now
        if now - saved > config.save_every:
            run.save(folder)
            _write_sample(run, folder)
            saved = last = time.monotonic()
    return progress.step > first


def _write_sample(run: _Run, folder: Path) -> None:
    """What the averages do now, as `sample.png`."""
    with run.averaged(), torch.no_grad():
        picture = run.recipe.sample()
    if picture is not None:
        write_atomic(folder / "sample.png", lambda path: picture.save(path))


def _write_metrics(folder: Path, progress: Progress, means: dict[str, float]) -> None:
    row = {"step": progress.step, "seconds": round(progress.seconds, 1)}
    row |= {name: round(mean, 5) for name, mean in means.items()}
    with (folder / "metrics.jsonl").open("a") as lines:
        lines.write(json.dumps(row) + "\n")
    log.info("%s", "  ".join(f"{name} {value:g}" for name, value in row.items()))


@contextmanager
def _stop_flag() -> Iterator[list[bool]]:
    """A list that becomes non-empty at SIGTERM or Ctrl-C, so that a run ends after its step and saves."""
    stopped: list[bool] = []
    kinds = (signal.SIGTERM, signal.SIGINT)
    try:
        before = [signal.signal(kind, lambda *_: stopped.append(True)) for kind in kinds]
    except ValueError:  # not in the main thread: nobody sends signals there
        yield stopped
        return
    try:
        yield stopped
    finally:
        for kind, handler in zip(kinds, before, strict=True):
            signal.signal(kind, handler)
