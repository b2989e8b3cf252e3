"""How much memory do the operations of `adaface checkpoint` take, against the size of the files they work on?

Makes random files in LDM's layout and runs each operation in a process of its own (Linux: the kernel tells a
process its peak of resident memory). What Python and torch have taken before is taken off. `python
benchmarks/checkpoint_memory.py [--gb 1] [--folder DIR]`; the last line is JSON. Limit: 200 MB of its own, for
files of any size.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]
LIMIT_MB = 200  # of the process's own
UNET, VAE, TEXT = "model.diffusion_model.", "first_stage_model.", "cond_stage_model.transformer.text_model."
SIGNS = {f"{UNET}input_blocks.0.0.weight": (320, 4, 3, 3), f"{UNET}out.2.weight": (4, 320, 3, 3)}
LARGEST = (49408, 768)  # the largest tensor of SD-1.5, its token embeddings
OPERATIONS = ("swap-text-encoder", "swap-vae", "swap-vae-of-ckpt", "average", "extract")


def shapes(gigabytes: float) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a file of that size in float32, with tensors as large as SD-1.5 has them."""
    count = max(1, int(gigabytes * 1e9 / 4 / (1280 * 1280 * 9)))
    return {
        **SIGNS,
        **{f"{UNET}input_blocks.{k}.0.in_layers.2.weight": (1280, 1280, 3, 3) for k in range(count)},
        **{f"{VAE}decoder.{k}.weight": (512, 512, 3, 3) for k in range(8)},
        f"{TEXT}embeddings.token_embedding.weight": LARGEST,
    }


def make(path: Path, gigabytes: float) -> None:
    """Write a file of random bits that are small numbers."""
    import torch

    from adaface.checkpoints.surgery.writing import Entry, write_safetensors

    def entry(shape: tuple[int, ...]) -> Entry:
        return Entry(torch.float32, shape, lambda: iter([torch.randn(shape).reshape(-1)]))

    write_safetensors(path, {name: entry(shape) for name, shape in shapes(gigabytes).items()}, {})


def pickle_too(path: Path) -> None:
    """Write the same tensors as trainings do, beside the file."""
    import torch
    from safetensors.torch import load_file

    torch.save({"state_dict": load_file(path), "global_step": 1}, path.with_suffix(".ckpt"))


def operate(operation: str, folder: Path) -> None:
    """Run one operation in this process and print its seconds and its peaks in MB.

    Pages of a pickled file, which is read through a map, count as resident until somebody needs the room; so
    the memory that is the process's own is told too, as it is when a block has been written.
    """
    from adaface.checkpoints.surgery.averaging import average
    from adaface.checkpoints.surgery.extracting import extract
    from adaface.checkpoints.surgery.swapping import swap

    a, b, out = (folder / f"{name}.safetensors" for name in ("a", "b", "out"))
    before, own, started = resident("VmRSS"), resident("RssAnon"), time.perf_counter()
    peaks = [own]

    def tell(_: int, __: int) -> None:
        peaks.append(resident("RssAnon"))

    if operation == "average":
        average([a, b], out, overwrite=True, tell=tell)
    elif operation == "extract":
        extract(a, "unet", out, overwrite=True, tell=tell)
    else:
        base = a.with_suffix(".ckpt") if operation.endswith("-of-ckpt") else a
        role = "text_encoder" if "text" in operation else "vae"
        swap(base, b, out, role, overwrite=True, tell=tell)
    seconds = time.perf_counter() - started
    figures = {"peak_mb": resident("VmHWM") - before, "own_mb": max(peaks) - own, "before_mb": before}
    print(json.dumps({"seconds": round(seconds, 1), **figures}))


def resident(field: str) -> int:
    """Resident memory of this process in MB: now (VmRSS) or at its peak (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith(f"{field}:"))


def main() -> None:
    """Measure, print what was found, end with one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gb", type=float, default=1.0, help="size of each of the two inputs")
    parser.add_argument("--folder", type=Path, help="where to put the files for a while: 4 times --gb")
    parser.add_argument("--operation", choices=OPERATIONS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.operation:
        operate(options.operation, options.folder)
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        found = measure(Path(name), options.gb)
    for name, figures in found.items():
        print(
            f"{name}: {figures['peak_mb']} MB (of its own {figures['own_mb']}) beyond the "
            f"{figures['before_mb']} of the libraries, {figures['seconds']} s"
        )
    worst = max(figures["own_mb"] for figures in found.values())
    line = {
        "benchmark": "checkpoint_memory",
        "file_mb": round(options.gb * 1000),
        **{f"{kind}_mb": {k: v[f"{kind}_mb"] for k, v in found.items()} for kind in ("peak", "own")},
        "worst_own_over_file": round(worst / (options.gb * 1000), 3),
        "limit_mb": LIMIT_MB,
        "seconds": {operation: figures["seconds"] for operation, figures in found.items()},
    }
    print(json.dumps(line | circumstances()))


def measure(folder: Path, gigabytes: float) -> dict[str, dict[str, float]]:
    """Seconds and peak of each operation on two files of that size."""
    for name in ("a", "b"):
        make(folder / f"{name}.safetensors", gigabytes)
    pickle_too(folder / "a.safetensors")
    found = {}
    for operation in OPERATIONS:
        command = [sys.executable, __file__, "--operation", operation, "--folder", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found[operation] = json.loads(done.stdout.splitlines()[-1])
    return found


def circumstances() -> dict[str, object]:
    """Date, commit and machine."""
    git = ["git", "-C", str(REPO), "rev-parse", "--short", "HEAD"]
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "commit": subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip(),
        "load": round(os.getloadavg()[0], 1),
        "machine": f"{platform.machine()}, {platform.system()}",
    }


if __name__ == "__main__":
    main()
