"""How much is won where only the positions that count are computed, from ID embedding to subject embeddings?

CLIP-L shapes, random weights, float32. "Theirs" is the original's way: all 77 positions of both templates,
the same layers and kernels otherwise; so 77 / 20 = 3.85 is the most that can be won. Pairs are interleaved,
so that a busy machine slows both; where it is so busy that threads wait for each other, trust the ratio of
CPU seconds with `--threads 1`. `python benchmarks/encoder.py [--pairs 5] [--threads 2] [--batch 8]`; the last
line is JSON.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel

from adaface.encoder.id_prompter import Arc2FacePrompter
from adaface.encoder.inverse import AdaFaceEncoder
from adaface.spec import ID_OFFSET, NUM_ID_VECTORS
from adaface.text.clip import TextEncoder, text_layers, text_parts
from adaface.text.folder import load_tokenizer
from adaface.text.layers import last_hidden_states, mix

REPO = Path(__file__).resolve().parents[1]
TOKENIZER = REPO / "tests" / "golden" / "text-encoder" / "tokenizer"  # small; its ids do not change the work
WIDTH, LAYERS, HEADS, LENGTH, D_ID = 768, 12, 12, 77, 512
READ = slice(ID_OFFSET, ID_OFFSET + NUM_ID_VECTORS)
COPIES = (
    16  # the original encodes each training prompt once for each of the U-Net's 16 cross-attention layers
)


class Chains:
    """Both ways over the same weights, each as a function of a batch of ID embeddings (B, D_id)."""

    def __init__(self) -> None:
        sizes = {"hidden_size": WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS}
        ids = {"vocab_size": 608, "bos_token_id": 606, "eos_token_id": 607, "pad_token_id": 607}
        config = CLIPTextConfig(intermediate_size=3072, max_position_embeddings=LENGTH, **sizes, **ids)
        self.model, tokenizer = CLIPTextModel(config).eval(), load_tokenizer(TOKENIZER)
        self.text = TextEncoder(self.model)
        self.prompter = Arc2FacePrompter(self.model, tokenizer)
        self.encoder = AdaFaceEncoder.from_text_encoder(self.model, tokenizer).eval()
        template = tokenizer("photo of a " + ", " * NUM_ID_VECTORS, padding="max_length", return_tensors="pt")
        self.template = self.text.embed_tokens(template["input_ids"])  # (1, 77, D)

    def ours(self, faces: Tensor) -> Tensor:
        """Twenty positions of each template."""
        return self.encoder(self.prompter(faces))

    def theirs(self, faces: Tensor) -> Tensor:
        """All positions of each template, then the sixteen that are wanted."""
        rows = self.template.repeat(len(faces), 1, 1)
        rows[:, READ] = self.prompter.context(faces)[:, READ]
        hidden = self.text.add_positions(rows)
        states = last_hidden_states(text_layers(self.model), hidden, slice(0, LENGTH), HEADS, 3)
        norm = text_parts(self.model).final_layer_norm
        return norm(mix(states, [1, 2, 4]))[:, READ]

    def prompt(self, subject: Tensor) -> Tensor:
        """Subject embeddings -> prompt embeddings, all positions."""
        rows = self.template.repeat(len(subject), 1, 1)
        rows[:, READ] = subject
        return self.text(rows)

    def copied_prompts(self, subject: Tensor) -> list[Tensor]:
        """The original's way in training; one after another, since one batch of all spills every cache."""
        return [self.prompt(subject) for _ in range(COPIES)]


@dataclass(frozen=True)
class Pairs:
    """Medians over interleaved pairs: theirs / ours in wall and CPU seconds, and the wall seconds of each."""

    ratio: float
    cpu_ratio: float
    theirs: float
    ours: float


def compare(theirs: Callable[[], object], ours: Callable[[], object], pairs: int) -> Pairs:
    """Run both in turn, `pairs` times."""
    runs = [(_time(theirs), _time(ours)) for _ in range(pairs)]
    ratio, cpu_ratio = (statistics.median(a[clock] / b[clock] for a, b in runs) for clock in (0, 1))
    return Pairs(ratio, cpu_ratio, *(statistics.median(run[side][0] for run in runs) for side in (0, 1)))


def _time(run: Callable[[], object]) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - wall, time.process_time() - cpu


def main() -> None:
    """Measure, print what was found, end with one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument(
        "--training-pairs", type=int, default=1, help="pairs with the 16 copies; 0 leaves them out"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=8)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    with torch.inference_mode():
        line = _measure(options)
    print(json.dumps(line))


def _measure(options: argparse.Namespace) -> dict[str, object]:
    chains, faces = Chains(), torch.randn(options.batch, D_ID)
    difference = float((chains.ours(faces) - chains.theirs(faces)).abs().max())  # also warms both up
    encoder = compare(lambda: chains.theirs(faces), lambda: chains.ours(faces), options.pairs)
    print(f"ID prompter + inverse encoder: {encoder.ratio:.2f} times as fast (limit 3.85)")
    print(f"the two ways differ by {difference:.1e}")

    def chain_ours() -> Tensor:
        return chains.prompt(chains.ours(faces))

    chain = compare(lambda: chains.prompt(chains.theirs(faces)), chain_ours, options.pairs)
    print(f"with the text encoder: {chain.ratio:.2f} (limit 1.97)")
    line: dict[str, object] = {
        "benchmark": "encoder",
        "ratio": round(encoder.ratio, 3),
        "ratio_of_cpu_seconds": round(encoder.cpu_ratio, 3),
        "limit": 3.85,
        "goal": 3.0,
        "seconds_theirs": round(encoder.theirs, 3),
        "seconds_ours": round(encoder.ours, 3),
        "difference": difference,
        "ratio_with_text_encoder": round(chain.ratio, 3),
        "ratio_of_cpu_seconds_with_text_encoder": round(chain.cpu_ratio, 3),
        "limit_with_text_encoder": 1.97,
    }
    if options.training_pairs:
        copies = compare(
            lambda: chains.copied_prompts(chains.theirs(faces)), chain_ours, options.training_pairs
        )
        print(f"with its {COPIES} identical copies in training: {copies.ratio:.2f} (limit 11.85)")
        line |= {"ratio_with_16_copies": round(copies.ratio, 3), "limit_with_16_copies": 11.85}
    return line | _circumstances(options)


def _circumstances(options: argparse.Namespace) -> dict[str, object]:
    git = ["git", "-C", str(REPO), "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    return {
        "batch": options.batch,
        "threads": options.threads,
        "pairs": options.pairs,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "commit": commit,
        "load": round(os.getloadavg()[0], 1),
        "machine": f"{platform.machine()}, {platform.system()}, torch {torch.__version__}",
    }


if __name__ == "__main__":
    main()
