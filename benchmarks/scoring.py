"""What does scoring a picture cost, beside drawing it?

Pictures of the astronaut under the stack's own prompts are drawn and scored in turns, so that a busy machine
slows both, and CPU seconds are compared. What a run pays once is told beside it, for one subject: two photos
that the scorers look at, and one that they score like a picture. `python benchmarks/scoring.py
[--stack mini] [--rounds 5] [--seeds 4] [--second auto] [--threads 1]`; the last line is JSON. Limit: scoring
takes at most 20 % of drawing.
"""

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from skimage.data import astronaut

from adaface.evaluation.anchors import anchors
from adaface.evaluation.records import Case, Picture, Scorer, Subject, World
from adaface.evaluation.scores.choose import scorers
from adaface.pipelines.generation import Generation
from adaface.pipelines.personalizer import Personalizer
from adaface.pipelines.stack import Stack

LIMIT = 0.20


def main() -> None:
    """Measure, print a line a round, and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stack", default="mini")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=4, help="pictures a prompt")
    parser.add_argument("--second", default="auto")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    stack = Stack.load(options.stack)
    personalizer = Personalizer.from_pretrained(stack, device="cpu")
    prompts: list[str] = stack.settings["demo_prompts"]
    chosen, names, photos = opened(personalizer, stack, prompts, options.second)
    person = personalizer.identity(astronaut())
    draws: list[float] = []
    parts: list[dict[str, float]] = []
    for k in range(options.rounds + 1):
        draw = partial(personalizer.generate, prompts, person, num_images=options.seeds, seed=1000 * k)
        made, drawn = timed(draw)
        cases = as_cases(made)
        spent = [timed(partial(scorer, cases))[1] / len(cases) for scorer in chosen]
        if k == 0:  # the first round opens what is opened lazily
            continue
        draws.append(drawn / len(cases))
        parts.append(dict(zip(names, spent, strict=True)))
        print(f"round {k}: drawing {draws[-1]:.3f} s a picture, scoring {sum(spent):.3f}", flush=True)
    ratios = [sum(part.values()) / drawn for part, drawn in zip(parts, draws, strict=True)]
    print(json.dumps(record(options, ratios, draws, parts) | {"cpu_s_photos_a_subject": round(photos, 4)}))


def opened(
    personalizer: Personalizer, stack: Stack, prompts: Sequence[str], second: str
) -> tuple[list[Scorer], list[str], float]:
    """The scorers of a run with one subject, ready, what each is called, and seconds for the photos."""
    with tempfile.TemporaryDirectory() as folder:
        given, scored = Path(folder, "given.png"), Path(folder, "scored.png")
        Image.fromarray(astronaut()).save(given)
        Image.fromarray(np.ascontiguousarray(astronaut()[:, ::-1])).save(scored)
        chosen = scorers(stack, analyzer=personalizer.analyzer, second=second)
        world = World((Subject("astronaut", (given,), (scored,)),), tuple(prompts))
        photos = [Case(one, Image.open(one.file)) for one in anchors(world)]

        def look_at_photos() -> None:
            for scorer in chosen:
                scorer.begin(world)
                scorer(photos)

        look_at_photos()  # opens what is opened lazily
        spent = timed(look_at_photos)[1]
    return chosen, [type(scorer).__name__ for scorer in chosen], spent


def as_cases(made: Generation) -> list[Case]:
    """Pictures under the prompts that they were drawn by."""
    return [
        Case(Picture(("astronaut",), prompt, prompt, seed, ""), image)
        for image, prompt, seed in zip(made.images, made.prompts, range(len(made)), strict=True)
    ]


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """What `work` returns, and its CPU seconds, of all threads."""
    begin = time.process_time()
    result = work()
    return result, time.process_time() - begin


def record(
    options: argparse.Namespace,
    ratios: Sequence[float],
    draws: Sequence[float],
    parts: Sequence[dict[str, float]],
) -> dict[str, Any]:
    """The JSON line: medians over the rounds."""
    return {
        "benchmark": "scoring",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "torch": torch.__version__,
        "threads": options.threads,
        "stack": options.stack,
        "second": options.second,
        "rounds": options.rounds,
        "cpu_s_drawing_a_picture": round(statistics.median(draws), 4),
        "cpu_s_scoring_a_picture": {
            name: round(statistics.median([part[name] for part in parts]), 4) for name in parts[0]
        },
        "ratio": round(statistics.median(ratios), 4),
        "limit": LIMIT,
        "within": statistics.median(ratios) <= LIMIT,
    }


if __name__ == "__main__":
    main()
