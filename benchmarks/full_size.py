"""What does a picture cost at SD-1.5's size, and what does `generate` add to the bare diffusers pipeline?

The authors' inference setting: 50 DDIM steps, 512 px, guidance 4 -> 1, batches of 4, half precision. The
weights are random (`scripts/full_size_stack.py`): time and memory depend on shapes alone. Eager, and with
the UNet and the decoder compiled (`torch.compile`). The two ways are interleaved and compared by their
median; the first run of each, which loads and compiles, is told apart. `python benchmarks/full_size.py
[--stack DIR] [--steps 50] [--batch 4] [--size 512] [--rounds 3] [--ways eager compiled]`; without a CUDA
device it says so and measures nothing, unless `--anyway` is given. The last line is JSON.
"""

import argparse
import json
import os
import platform
import resource
import runpy
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

REPO = Path(__file__).resolve().parents[1]
PROMPT = "a photo of <person> in a meadow"
GUIDANCE = (4.0, 1.0)


class Ways:
    """The same pictures by `generate` and by the bare pipeline with ready embeddings."""

    def __init__(
        self, stack: Path, device: torch.device, given: argparse.Namespace, *, compiled: bool
    ) -> None:
        from adaface.pipelines.base import own_pipeline
        from adaface.pipelines.personalizer import Personalizer

        self.device, self.given = device, given
        self.personalizer = Personalizer.from_pretrained(stack, device=device, verify=False)
        if compiled:
            pipe = self.personalizer.pipe
            pipe.unet.compile()  # in place: the pipelines of single calls share the module
            pipe.vae.decoder.compile()
        vector = np.random.default_rng(0).normal(size=512).astype(np.float32)
        self.person = self.personalizer.identity(id_embedding=vector / np.linalg.norm(vector))
        self.rows = [
            self.personalizer.prompt_embeds(text, subjects).prompt_embeds
            for text, subjects in (
                (PROMPT, {"person": self.person.subject_embeds}),
                (self.personalizer.settings.negative_prompt or "", {}),
            )
        ]
        self.bare_pipeline = own_pipeline(self.personalizer.pipe)

    def generate(self) -> Sequence[Any]:
        """What a user calls."""
        given = self.given
        made = self.personalizer.generate(
            PROMPT, self.person, num_images=given.batch, batch_size=given.batch, steps=given.steps,
            guidance_scale=GUIDANCE, height=given.size, width=given.size,
        )  # fmt: skip
        return made.images

    def bare(self) -> Sequence[Any]:
        """The pipeline alone, with the embeddings that `generate` makes."""
        from adaface.pipelines.guidance import guidance_at, linear_guidance

        given = self.given
        rows, negative = (one.expand(given.batch, -1, -1) for one in self.rows)
        return self.bare_pipeline(
            prompt_embeds=rows, negative_prompt_embeds=negative, num_inference_steps=given.steps,
            height=given.size, width=given.size, guidance_scale=guidance_at(0, given.steps, GUIDANCE),
            callback_on_step_end=linear_guidance(GUIDANCE),
            generator=[torch.Generator("cpu").manual_seed(k) for k in range(given.batch)],
        ).images  # fmt: skip

    def peak_gb(self) -> float:
        """Most memory so far: of the device, or of the process on a CPU."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device) / 1e9
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def measure(ways: Ways) -> dict[str, Any]:
    """Seconds a picture and peak memory of both ways, and how far their pictures lie apart."""
    runs: dict[str, Callable[[], Sequence[Any]]] = {"bare": ways.bare, "generate": ways.generate}
    firsts, pictures, peaks = {}, {}, {}
    for name, run in runs.items():
        if ways.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(ways.device)
        firsts[name], pictures[name] = timed(run, ways.device)
        peaks[name] = ways.peak_gb()
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for round_number in range(ways.given.rounds):
        for name in sorted(runs, reverse=bool(round_number % 2)):
            seconds[name].append(timed(runs[name], ways.device)[0])
    usual = {name: statistics.median(values) for name, values in seconds.items()}
    count = ways.given.batch
    return {
        **{f"{name}_seconds_per_picture": round(usual[name] / count, 4) for name in runs},
        **{f"{name}_first_batch_seconds": round(firsts[name], 2) for name in runs},
        **{f"{name}_peak_gb": round(peaks[name], 2) for name in runs},
        "ratio": round(usual["generate"] / usual["bare"], 4),
        "grey_levels_apart": apart(pictures["bare"], pictures["generate"]),
    }


def timed(run: Callable[[], Sequence[Any]], device: torch.device) -> tuple[float, Sequence[Any]]:
    """Seconds of one batch, the device's work included, and its pictures."""
    wait(device)
    start = time.perf_counter()
    pictures = run()
    wait(device)
    return time.perf_counter() - start, pictures


def wait(device: torch.device) -> None:
    """Until the device has done all that it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def apart(left: Sequence[Any], right: Sequence[Any]) -> int:
    """The most grey levels between two batches of pictures."""
    pairs = zip(left, right, strict=True)
    return max(int(np.abs(np.asarray(a, np.int16) - np.asarray(b, np.int16)).max()) for a, b in pairs)


def main() -> None:
    """Measure where a GPU is at hand, print, end with one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stack", type=Path, help="of scripts/full_size_stack.py; without it one is written")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ways", nargs="+", choices=("eager", "compiled"), default=["eager", "compiled"])
    parser.add_argument(
        "--anyway", action="store_true", help="without a GPU, too: hours at the usual numbers"
    )
    given = parser.parse_args()
    line: dict[str, Any] = {"benchmark": "full_size", **circumstances(given)}
    if not torch.cuda.is_available() and not given.anyway:
        print("no CUDA device here: nothing measured (--anyway measures the CPU)")
        print(json.dumps({**line, "measured": False}))
        return
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with tempfile.TemporaryDirectory() as folder:
        stack = given.stack or written(Path(folder) / "stack")
        for name in given.ways:
            torch.cuda.empty_cache()
            figures = measure(Ways(stack, device, given, compiled=name == "compiled"))
            line[name] = figures
            print(
                f"{name}: bare {figures['bare_seconds_per_picture']} s a picture, generate "
                f"{figures['generate_seconds_per_picture']} ({figures['ratio']} times), peak "
                f"{figures['generate_peak_gb']} GB, {figures['grey_levels_apart']} grey levels apart"
            )
    print(json.dumps({**line, "measured": True}))


def written(stack: Path) -> Path:
    """A stack of random weights, 2.6 GB."""
    script = runpy.run_path(str(REPO / "scripts" / "full_size_stack.py"))
    script["write_stack"](stack, torch.float16, 0)
    return stack


def circumstances(given: argparse.Namespace) -> dict[str, Any]:
    """What the figures depend on."""
    git = ["git", "-C", str(REPO), "rev-parse", "--short", "HEAD"]
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return {
        "steps": given.steps, "batch": given.batch, "size": given.size, "rounds": given.rounds,
        "device": device,
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "commit": subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip(),
        "load": round(os.getloadavg()[0], 1),
        "machine": f"{platform.machine()}, {platform.system()}, torch {torch.__version__}",
    }  # fmt: skip


if __name__ == "__main__":
    main()
