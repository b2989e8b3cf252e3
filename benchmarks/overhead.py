"""What does `Personalizer.generate` cost above the bare diffusers pipeline with the same embeddings?

Both draw the same pictures with the same models, steps, seeds and guidance; `generate` also reads the prompt,
runs the text encoder, makes its own shallow pipeline and collects the result. Pairs are interleaved, so that
a busy machine slows both, and CPU seconds are compared. `python benchmarks/overhead.py [--stack mini]
[--pairs 11] [--pictures 4] [--threads 1]`; the last line is JSON. Limit: 2 % more CPU seconds.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from adaface.pipelines.base import ddim
from adaface.pipelines.guidance import guidance_at, linear_guidance
from adaface.pipelines.personalizer import Personalizer
from adaface.pipelines.quiet import quiet
from adaface.prompt.embedding import embed_prompt

REPO = Path(__file__).resolve().parents[1]
LIMIT = 1.02
PROMPT = "a photo of <person> in a meadow"


class Pair:
    """The two ways to the same pictures, each as a function without arguments."""

    def __init__(self, stack: str, pictures: int) -> None:
        self.personalizer = Personalizer.from_pretrained(stack, device="cpu")
        vector = np.random.default_rng(0).normal(size=self.personalizer.analyzer.recognizer.dim)
        self.person = self.personalizer.identity(id_embedding=vector / np.linalg.norm(vector))
        self.settings = self.personalizer.settings.override({"batch_size": pictures})
        self.pictures = pictures
        self.bare = self._bare_pipeline()
        self.rows = [self._embed(PROMPT), self._embed(self.settings.negative_prompt or "", subject=False)]

    def ours(self) -> Sequence[Any]:
        """What a user calls."""
        made = self.personalizer.generate(
            PROMPT, self.person, num_images=self.pictures, batch_size=self.pictures
        )
        return made.images

    def theirs(self) -> Sequence[Any]:
        """The pipeline alone, ready and with ready embeddings."""
        rows, negative = (one.expand(self.pictures, -1, -1) for one in self.rows)
        steps, scale = self.settings.steps, self.settings.guidance_scale
        return self.bare(
            prompt_embeds=rows,
            negative_prompt_embeds=negative,
            num_inference_steps=steps,
            guidance_scale=guidance_at(0, steps, scale),
            callback_on_step_end=linear_guidance(scale),
            generator=[torch.Generator("cpu").manual_seed(k) for k in range(self.pictures)],
        ).images

    def _bare_pipeline(self) -> Any:
        pipe = self.personalizer.pipe
        parts = {
            **pipe.components,
            "scheduler": ddim(pipe.scheduler),
            "text_encoder": None,
            "tokenizer": None,
        }
        with quiet():
            bare = type(pipe)(**parts, requires_safety_checker=False)
        bare.set_progress_bar_config(disable=True)
        return bare

    def _embed(self, prompt: str, *, subject: bool = True) -> torch.Tensor:
        subjects = {self.person.name: self.person.subject_embeds} if subject else {}
        text, tokenizer = self.personalizer.text, self.personalizer.pipe.tokenizer
        with torch.no_grad():
            weights = self.settings.layer_weights
            return embed_prompt(text, tokenizer, prompt, subjects, layer_weights=weights).prompt_embeds


def main() -> None:
    """Measure, print what was found, end with one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stack", default="mini")
    parser.add_argument("--pairs", type=int, default=11)
    parser.add_argument("--pictures", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    pair = Pair(options.stack, options.pictures)
    difference = _difference(pair.ours(), pair.theirs())  # also warms both up
    runs = [_both(pair, first_ours=bool(k % 2)) for k in range(options.pairs)]
    ratio = statistics.median(ours / theirs for ours, theirs in runs)
    print(f"CPU seconds of generate over the bare pipeline: {ratio:.4f} (limit {LIMIT})")
    print(f"the pictures differ by {difference} grey levels")
    line = {
        "benchmark": "overhead",
        "ratio_of_cpu_seconds": round(ratio, 4),
        "limit": LIMIT,
        "seconds_ours": round(statistics.median(ours for ours, _ in runs), 3),
        "seconds_theirs": round(statistics.median(theirs for _, theirs in runs), 3),
        "difference": difference,
        "steps": pair.settings.steps,
    }
    print(json.dumps(line | _circumstances(options)))


def _both(pair: Pair, *, first_ours: bool) -> tuple[float, float]:
    """CPU seconds of ours and theirs, the order swapped every other time."""
    if first_ours:
        ours = _cpu(pair.ours)
        return ours, _cpu(pair.theirs)
    theirs = _cpu(pair.theirs)
    return _cpu(pair.ours), theirs


def _cpu(run: Callable[[], object]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def _difference(ours: Sequence[Any], theirs: Sequence[Any]) -> int:
    pairs = zip(ours, theirs, strict=True)
    return max(int(np.abs(np.asarray(a, np.int16) - np.asarray(b, np.int16)).max()) for a, b in pairs)


def _circumstances(options: argparse.Namespace) -> dict[str, object]:
    git = ["git", "-C", str(REPO), "rev-parse", "--short", "HEAD"]
    return {
        "stack": Path(options.stack).name,
        "pictures": options.pictures,
        "threads": options.threads,
        "pairs": options.pairs,
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "commit": subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip(),
        "load": round(os.getloadavg()[0], 1),
        "machine": f"{platform.machine()}, {platform.system()}, torch {torch.__version__}",
    }


if __name__ == "__main__":
    main()
