"""Is the memory that `adaface train --dry-run` names what a training takes?

For each batch size: the estimate, and a whole run of a few steps in a process of its own, with validation, a
grid, a checkpoint and curves, whose peak is read at its end: on the CPU that of resident memory (Linux), all
of it, Python and libraries too; on CUDA the allocator's. Photos are random pixels. `python
benchmarks/train_memory.py [--stack mini] [--batches 1,8,32] [--device cpu] [KEY=VALUE ...]`; the last line is
JSON. Limit: 15 % of the measured peak, up or down.
"""

import argparse
import io
import json
import platform
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]
LIMIT = 0.15
STEPS = 3


def write_data(folder: Path, size: int, recognizer: str, width: int, rows: int = 64) -> None:
    """A data set of random pictures."""
    import numpy as np
    from PIL import Image

    from adaface.data.shards import Entry, ShardWriter

    rng = np.random.default_rng(0)
    with ShardWriter(folder, image_size=size, recognizer=recognizer, settings={}) as writer:
        for row in range(rows):
            file = io.BytesIO()
            Image.fromarray(rng.integers(0, 256, (size, size, 3), dtype=np.uint8)).save(file, "JPEG")
            vector = rng.normal(size=width).astype(np.float32)
            writer.add(
                Entry(
                    key=f"row-{row}",
                    image=file.getvalue(),
                    person=f"person {row % 8}",
                    landmarks=np.zeros((5, 2), np.float32),
                    id_embedding=vector / np.linalg.norm(vector),
                )
            )


def settings(data: str, words: list[str]) -> object:
    """The smoke config over that data, with the settings given."""
    from adaface.recipes.registry import read_config
    from adaface.training.config import Layer, read_overrides

    loop = {"steps": STEPS, "save_steps": STEPS, "schedule": {"warmup_steps": 1}}
    return read_config("smoke", Layer("benchmark", {"data": data, "loop": loop}), read_overrides(words))


def estimated(data: str, words: list[str]) -> None:
    """Print what a dry run says."""
    from adaface.recipes.estimate import estimate
    from adaface.training.distributed import joined

    config = settings(data, words)
    with joined(config.device) as ranks:
        found = estimate(config, ranks)
    print(json.dumps(found.to_json() | {"config": None}))


def measured(data: str, words: list[str]) -> None:
    """Do a run of some steps, and print the peak in MB."""
    import torch

    from adaface.recipes.run import train
    from adaface.training.distributed import joined

    config = settings(data, words)
    with joined(config.device) as ranks, tempfile.TemporaryDirectory() as folder:
        train(config, Path(folder) / "run", ranks)
        cuda = ranks.device.type == "cuda"
        peak = torch.cuda.max_memory_allocated(ranks.device) / 1e6 if cuda else _status("VmHWM")
    print(json.dumps({"peak": peak}))


def _status(name: str) -> float:
    """A line of this process's status, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith(name))


def child(kind: str, data: Path, words: list[str]) -> dict:
    """What a process of its own prints last."""
    command = [sys.executable, __file__, "--as", kind, "--data", str(data), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def compare(batch: int, data: Path, words: list[str]) -> dict:
    """One batch size: what is said and what is taken."""
    given = [f"batch={batch}", *words]
    said, taken = child("estimated", data, given), child("measured", data, given)
    total, peak = said["memory"]["total"], taken["peak"]
    row = {
        "batch": batch,
        "estimate_mb": round(total),
        "measured_mb": round(peak),
        "ratio": round(total / peak, 3),
        "parts": {name: round(value) for name, value in said["memory"].items() if name != "total"},
        "seconds_a_step": round(said["seconds_a_step"], 3),
    }
    row["ok"] = abs(total / peak - 1) <= LIMIT
    print(f"batch {batch}: {total:.0f} MB said, {peak:.0f} MB taken ({row['parts']})")
    return row


def main() -> None:
    """Compare, and print the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stack", default="mini")
    parser.add_argument("--batches", default="1,8,32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--as", dest="kind", default=None, help=argparse.SUPPRESS)
    parser.add_argument("--data", default=None, help=argparse.SUPPRESS)
    parser.add_argument("words", nargs="*")
    args = parser.parse_args()
    if args.kind:
        {"estimated": estimated, "measured": measured}[args.kind](args.data, args.words)
        return
    sys.path.insert(0, str(REPO / "src"))
    started = time.time()
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        write_data(data, 64 if args.stack == "mini" else 512, "sface", 128)
        words = [f"stack={args.stack}", f"device={args.device}", *args.words]
        rows = [compare(int(batch), data, words) for batch in args.batches.split(",")]
    record = {
        "benchmark": "train_memory",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.machine()}, {args.device}",
        "stack": args.stack,
        "settings": args.words,
        "rows": rows,
        "ok": all(row["ok"] for row in rows),
        "seconds": round(time.time() - started, 1),
    }
    print(json.dumps(record))


if __name__ == "__main__":
    main()
