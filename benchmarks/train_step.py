"""What is won in a training step over the original's way: images a second, and memory?

Ours: the recipes as they are, with the settings of the reported runs. The original's way is a reference of
our own (`train_steps/original.py`): float32 weights with TF32 products, attention that writes its matrix, the
whole UNet computed twice, ID embeddings and latents computed in the step, each prompt encoded sixteen times,
teacher and student one after the other. Weights are random, photos drawn: time and memory depend on
shapes alone. Cases: identity distillation over 1 and 3 denoising steps, and a compositional step. An image
is a noisy picture that the student is asked about (where a step has several denoising steps the original
keeps a part of its batch and of the steps); of a compositional step, one person's four prompts.

    python benchmarks/train_step.py                            # CPU, narrow shapes: some three minutes
    python benchmarks/train_step.py --shape sd15               # GPU: SD-1.5's shapes; bf16, channels last
    python benchmarks/train_step.py --shape sd15 --compile
    python benchmarks/train_step.py --computed                 # anywhere: SD-1.5's sizes from shapes alone

Pairs of both ways take turns in one run; the median ratio of their images a second is told with the least
and the most. Peak memory is that of a process of its own for each way, after a first step: on CUDA what the
allocator held, on Linux what was resident. On a CPU trust the ratio of processor seconds where other programs
run beside. The last line is JSON.
"""

import argparse
import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

REPO = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPO / "src"))
CASES = {"identity-1": 1, "identity-3": 3, "composition": 0}
WAYS = ("ours", "original")
# dense products of bf16 or fp16 with float32 sums, TFLOP/s, as their makers say
PEAKS = {
    "H200": 989.0, "H100 PCIe": 756.0, "H100": 989.0, "A100": 312.0, "L40S": 362.0, "A6000": 155.0,
    "RTX 4090": 165.0, "RTX 3090": 71.0, "A10": 125.0, "L4": 121.0,
}  # fmt: skip


@dataclass(frozen=True)
class Way:
    """One way, ready to step. images: that a step learns from. faces: seconds spent on finding faces."""

    step: Callable[[], float]
    images: int
    close: Callable[[], None]
    faces: Callable[[], float] = lambda: 0.0


def opened(name: str, case: str, given: argparse.Namespace, folder: Path) -> Way:
    """Open one way for one case."""
    import torch
    from train_steps.original import Original, asked, kept
    from train_steps.original_composition import OriginalComposition
    from train_steps.ours import Ours, settings

    from adaface.data.dataset import FaceDataset
    from adaface.pipelines.stack import Stack

    device, steps = torch.device(given.device), CASES[case]
    config = settings(folder / "stack", folder / "faces", given.batch, steps, device, compiled=given.compile)
    if name == "ours":
        ours = Ours(config, device)
        return Way(ours.step, given.batch * max(1, steps), ours.close)
    stack, dataset, rows = Stack.load(folder / "stack"), FaceDataset(folder / "faces"), range(given.batch)
    if steps == 0:
        two = OriginalComposition(stack, dataset, config.loop, device)
        return Way(lambda: two.composition(rows), 2, lambda: None, lambda: two.seconds_in_faces)
    one = Original(stack, dataset, config.loop, device)
    images = kept(given.batch, steps) * asked(given.batch, steps)
    return Way(lambda: one.identity(rows, steps), images, lambda: None, lambda: one.seconds_in_faces)


def measured(case: str, given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Both ways in turn."""
    import torch
    from train_steps.counting import operations

    ways = {name: opened(name, case, given, folder) for name in WAYS}
    with torch.compiler.set_stance("force_eager"):  # what is compiled cannot be counted
        flops = {name: operations(way.step) for name, way in ways.items()}  # a first step, too
    for way in ways.values():
        if given.device != "cpu":
            way.step()  # compiles, and finds its kernels
    runs: dict[str, list[tuple[float, float]]] = {name: [] for name in WAYS}
    faces = ways["original"].faces()
    for pair in range(given.pairs):
        for name in sorted(WAYS, reverse=bool(pair % 2)):
            runs[name].append(timed(ways[name].step, given.device))
    faces = (ways["original"].faces() - faces) / given.pairs
    row: dict[str, Any] = {"case": case}
    for clock, word in enumerate(("", "_of_processor_seconds")):
        rates = {name: [ways[name].images / run[clock] for run in runs[name]] for name in WAYS}
        ratios = [a / b for a, b in zip(rates["ours"], rates["original"], strict=True)]
        row[f"ratio{word}"] = round(statistics.median(ratios), 3)
        row[f"ratio{word}_least_most"] = [round(min(ratios), 3), round(max(ratios), 3)]
    for name, way in ways.items():
        seconds = statistics.median(run[0] for run in runs[name])
        row[name] = {
            "images_a_second": round(way.images / seconds, 4),
            "seconds_a_step": round(seconds, 4),
            "images_a_step": way.images,
            "tflop_an_image": round(flops[name] / way.images / 1e12, 4),
            "tflops": round(flops[name] / seconds / 1e12, 4),
        }
        if given.peak:
            row[name]["share_of_peak"] = round(flops[name] / seconds / 1e12 / given.peak, 4)
        way.close()
    row["original"]["seconds_in_faces"] = round(faces, 4)
    return row


def timed(step: Callable[[], float], device: str) -> tuple[float, float]:
    """Wall and processor seconds of a step, the device's work included."""
    wait(device)
    wall, cpu = time.perf_counter(), time.process_time()
    step()
    wait(device)
    return time.perf_counter() - wall, time.process_time() - cpu


def wait(device: str) -> None:
    """Until the device has done all that it was told."""
    if device.startswith("cuda"):
        import torch

        torch.cuda.synchronize(device)


def peak_of(name: str, case: str, given: argparse.Namespace, folder: Path) -> dict[str, float]:
    """Peak memory of one way, MB; in this process, which does nothing else."""
    import torch

    way = opened(name, case, given, folder)
    way.step()
    wait(given.device)
    if given.device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(given.device)
        standing = torch.cuda.memory_allocated(given.device) / 1e6
        way.step()
        wait(given.device)
        peak = torch.cuda.max_memory_allocated(given.device) / 1e6
    else:
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        standing = status("VmRSS")
        way.step()
        peak = status("VmHWM")
    way.close()
    return {"peak_mb": round(peak), "standing_mb": round(standing)}


def status(name: str) -> float:
    """A line of this process's status, MB; 0 where the system does not tell."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(name):
                return float(line.split()[1]) * 1024 / 1e6
    return 0.0


def child(name: str, case: str, given: argparse.Namespace, folder: Path) -> dict[str, float]:
    """`peak_of` in a process of its own."""
    words = ["--as", name, "--cases", case, "--batch", given.batch, "--threads", given.threads]
    words += ["--device", given.device, "--shape", given.shape, "--folder", folder]
    words += ["--compile"] if given.compile else []
    command = [sys.executable, __file__, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def write_parts(folder: Path, given: argparse.Namespace) -> None:
    """The stack, the photos and their latents, unless they are there."""
    import torch
    from train_steps.shapes import SHAPES, write_photos, write_stack

    from adaface.recipes.base.latents import encode_dataset

    shape, cuda = SHAPES[given.shape], given.device.startswith("cuda")
    if not (folder / "stack" / "stack.json").is_file():
        write_stack(folder / "stack", shape, torch.float16 if cuda else torch.float32)
        write_photos(folder / "faces", shape, rows=max(16, given.batch))
        encode_dataset(folder / "faces", folder / "stack", count=1, device=given.device, batch_size=1)


def arguments() -> argparse.Namespace:
    """What the user gave, with the device's own defaults."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", choices=("narrow", "sd15", "tiny"), default="narrow")
    parser.add_argument("--cases", nargs="+", choices=tuple(CASES), default=list(CASES))
    parser.add_argument("--batch", type=int, default=None, help="usual: 8 on CUDA and of shapes, else 2")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default=None, help="usual: cuda if there is one, else cpu")
    parser.add_argument("--compile", action="store_true", help="compile our UNets (the first step: minutes)")
    parser.add_argument("--peak", type=float, help="TFLOP/s of the device, if its name is not known")
    parser.add_argument("--no-memory", action="store_true", help="leave out the processes for peak memory")
    parser.add_argument("--folder", type=Path, help="where stack and photos lie, or are to be kept")
    parser.add_argument(
        "--computed", action="store_true", help="SD-1.5's sizes from shapes alone; a minute, on any machine"
    )
    parser.add_argument("--as", dest="child", choices=WAYS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    import torch

    torch.set_num_threads(given.threads)
    given.device = given.device or ("cuda:0" if torch.cuda.is_available() else "cpu")
    cuda = given.device.startswith("cuda")
    given.batch = given.batch or (8 if cuda or given.computed else 2)
    if cuda:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        name = torch.cuda.get_device_name(given.device)
        given.peak = given.peak or next((peak for key, peak in PEAKS.items() if key in name), None)
    return given


def main() -> None:
    """Measure, print, end with one JSON line."""
    given = arguments()
    if given.computed:
        print(json.dumps({"benchmark": "train_step", "computed": computed(given), "batch": given.batch}))
        return
    with tempfile.TemporaryDirectory() as made:
        folder = given.folder or Path(made)
        write_parts(folder, given)
        if given.child:
            print(json.dumps(peak_of(given.child, given.cases[0], given, folder)))
            return
        rows = []
        for case in given.cases:
            memory = {} if given.no_memory else {name: child(name, case, given, folder) for name in WAYS}
            row = measured(case, given, folder)
            for name, found in memory.items():
                row[name] |= found
            rows.append(row)
            print(told(row))
    print(json.dumps({"benchmark": "train_step", "rows": rows, **circumstances(given)}))


def computed(given: argparse.Namespace) -> dict[str, Any]:
    """Operations and memory of SD-1.5's sizes by shapes."""
    from train_steps.computed import both

    rows = {}
    for case in given.cases:
        rows[case] = row = both(given.batch, CASES[case])
        ours, theirs = row["ours"], row["original"]
        print(
            f"{case}: {ours['tflop_an_image']} against {theirs['tflop_an_image']} TFLOP an image; GB "
            f"{ours['total_gb']} at batch {ours['batch']} against {theirs['total_gb']} at {theirs['batch']}"
        )
    return rows


def told(row: dict[str, Any]) -> str:
    """One case in a line."""
    ours, theirs = row["ours"], row["original"]
    low, high = row["ratio_least_most"]
    line = (
        f"{row['case']}: {row['ratio']} times as fast ({low} to {high}; processor seconds "
        f"{row['ratio_of_processor_seconds']}): {ours['images_a_second']} against "
        f"{theirs['images_a_second']} images/s; {ours['tflop_an_image']} against "
        f"{theirs['tflop_an_image']} TFLOP an image, at {ours['tflops']} against {theirs['tflops']} TFLOP/s"
    )
    if "share_of_peak" in ours:
        line += f" ({ours['share_of_peak']:.1%} of the peak)"
    if "peak_mb" in ours:
        line += f"; peak {ours['peak_mb']} against {theirs['peak_mb']} MB"
        line += f" ({ours['standing_mb']} and {theirs['standing_mb']} before the step)"
    return line


def circumstances(given: argparse.Namespace) -> dict[str, Any]:
    """What the figures depend on."""
    import torch

    git = ["git", "-C", str(REPO), "rev-parse", "--short", "HEAD"]
    cuda = given.device.startswith("cuda")
    return {
        "shape": given.shape, "batch": given.batch, "pairs": given.pairs, "threads": given.threads,
        "compiled": given.compile, "peak_tflops": given.peak,
        "goal": {"ratio": 3.0, "peak_mb": 24_000, "of": "sd15, batch 8, a GPU"},
        "device": torch.cuda.get_device_name(given.device) if cuda else "cpu",
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "commit": subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip(),
        "load": round(os.getloadavg()[0], 1),
        "machine": f"{platform.machine()}, {platform.system()}, torch {torch.__version__}",
    }  # fmt: skip


if __name__ == "__main__":
    main()
