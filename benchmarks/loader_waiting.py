"""Does the loader keep the device busy? Share of the time that the loop waits for photos; a photo's cost.

First a real training: the mini stack at 64 pixels on the CPU, whose steps take cores from the readers. Then
512 pixels, in the same loop with the same reader, but the step is simulated: it sleeps for as long as a
device of `--rate` photos a second would take, as a GPU leaves the CPU's cores to the readers; nothing of
Stable Diffusion is computed. Without `--rate` the device takes half of what one reader alone reads in the
same run: so the figure says whether reading hides behind the steps, whatever else the machine does, and the
CPU's ms a photo say how fast a device may be (`cores * 1000 / ms` photos a second). Pictures are drawn: soft
colours with grain, saved as JPEG of quality 95; or those of a prepared folder (`--data`). Once they are
decoded and augmented, once cached latents are read in their place. `python benchmarks/loader_waiting.py
[--rate 32] [--workers 2] [--steps 15] [--data FOLDER]`; the last line is JSON. Limit: waiting below 5 % in
each row.
"""

import argparse
import io
import json
import os
import platform
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

REPO = Path(__file__).resolve().parents[1]
LIMIT = 0.05
ROWS, LATENTS_EACH = 96, 2
ALONE = 64  # photos that one reader reads, for its pace


def write_data(folder: Path, size: int) -> None:
    """A data set of drawn pictures with masks."""
    import numpy as np
    from PIL import Image

    from adaface.data.shards import Entry, ShardWriter

    rng = np.random.default_rng(0)

    def file(picture: Image.Image, kind: str) -> bytes:
        held = io.BytesIO()
        picture.save(held, kind, quality=95)
        return held.getvalue()

    with ShardWriter(folder, image_size=size, recognizer="sface", settings={}) as writer:
        for row in range(ROWS):
            soft = Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)).resize((size, size))
            grain = rng.normal(0, 8, (size, size, 3))
            picture = Image.fromarray(np.clip(np.asarray(soft) + grain, 0, 255).astype(np.uint8))
            mask = np.zeros((size, size), np.uint8)
            mask[size // 4 :, size // 4 : -size // 4] = 255
            vector = rng.normal(size=128).astype(np.float32)
            writer.add(
                Entry(
                    key=f"row-{row}",
                    image=file(picture, "JPEG"),
                    mask=file(Image.fromarray(mask), "PNG"),
                    person=f"person {row % 8}",
                    landmarks=np.zeros((5, 2), np.float32),
                    photo_corners=size * np.array([[-1, -1], [2, -1], [2, 2], [-1, 2]], np.float32),
                    id_embedding=vector / np.linalg.norm(vector),
                )
            )


def real(data: Path, steps: int, workers: int, run: Path) -> dict:
    """The smoke config for some steps."""
    from adaface.recipes.registry import read_config
    from adaface.recipes.run import Pace, train
    from adaface.training.config import Layer
    from adaface.training.distributed import ONE

    loop = {"steps": steps, "save_steps": 0, "schedule": {"warmup_steps": 1}}
    given = {
        "data": str(data),
        "device": "cpu",
        "validation": 0,
        "samples": {"people": 0},
        "workers": workers,
    }
    last = [Pace()]
    train(
        read_config("smoke", Layer("", {**given, "loop": loop})), run, ONE, lambda p, pace: last.append(pace)
    )
    return {"images_per_second": round(last[-1].images, 2), "waiting": round(last[-1].waiting, 4)}


class Simulated:
    """A recipe that reads photos as a real one does, and then sleeps as long as a device would compute."""

    def __init__(self, photos, config, rate: float) -> None:
        import torch

        from adaface.recipes.base.batches import Loader

        self.photos, self.rate = photos, rate
        self.loader = Loader(photos.read, config.workers)
        self.modules = {"nothing": torch.nn.Linear(1, 1)}
        self.seen: list[tuple[float, float]] = []  # when each step began, and what was waited by then

    def draw(self, step, generator, share):
        from adaface.training.plan import StepPlan

        rows, seeds = self.photos.draw(generator)
        return StepPlan(step=step, rows=rows, seeds=seeds)

    def prepare(self, plan, part):
        self.loader.prepare(plan, part)

    def loss(self, plan, part):
        import torch

        self.seen.append((time.monotonic(), self.loader.waited))
        items = self.loader.take(plan, part)
        time.sleep(len(items) / self.rate)
        return {"nothing": self.modules["nothing"](torch.ones(1, 1)).square().mean()}

    def sample(self):
        return None

    def names(self, plan):
        return []


def simulated(data: Path, kind: str, args: argparse.Namespace, run: Path) -> dict:
    """Some steps at 512 pixels; kind: "pictures" or "latents"."""
    from adaface.data.dataset import FaceDataset
    from adaface.data.latents import LatentCache
    from adaface.recipes.base.config import PhotoConfig
    from adaface.recipes.base.photos import Photos
    from adaface.training.loop import fit
    from adaface.training.settings import LoopConfig

    dataset = FaceDataset(data)
    cache = LatentCache(dataset) if kind == "latents" else None
    config = PhotoConfig(recipe="simulated", batch=args.batch, workers=args.workers)
    shapes = SimpleNamespace(latent_shape=lambda size: (4, size // 8, size // 8), steps=1000)
    photos = Photos(config, dataset, shapes, dataset.image_size, cache)
    before, begun = time.thread_time(), time.monotonic()
    for row in range(ALONE):
        photos.read(row % len(dataset), row)
    cost, alone = (time.thread_time() - before) / ALONE, ALONE / (time.monotonic() - begun)
    rate = args.rate or alone / 2
    recipe = Simulated(photos, config, rate)
    fit(recipe, LoopConfig(steps=args.steps + 1, save_steps=0, precision="fp32", ema_decay=0.0), run)
    (begin, waited), (end, waited_then) = recipe.seen[1], recipe.seen[-1]  # nothing lay ahead of the first
    recipe.loader.close()
    return {
        "cpu_ms_a_photo": round(1000 * cost, 2),
        "one_reader_per_second": round(alone, 1),
        "device_per_second": round(rate, 1),
        "images_per_second": round((len(recipe.seen) - 2) * args.batch / (end - begin), 2),
        "waiting": round((waited_then - waited) / (end - begin), 4),
    }


def main() -> None:
    """Measure, and print the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, help="photos a second of the simulated device")
    parser.add_argument("--batch", type=int, default=16, help="of the simulated device")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument(
        "--data", type=Path, help="a folder of `adaface prepare --size 512`; else drawn pictures"
    )
    args = parser.parse_args()
    sys.path.insert(0, str(REPO / "src"))
    import torch

    from adaface.data.dataset import FaceDataset
    from adaface.data.latents import encode_latents

    torch.set_num_threads(1)
    started, rows, load = time.time(), {}, os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        write_data(place / "64", 64)
        rows["mini stack, 64 px, real steps on the CPU"] = real(
            place / "64", args.steps, args.workers, place / "m"
        )
        large = args.data or place / "512"
        if args.data is None:
            write_data(large, 512)
        rows["512 px, simulated steps, pictures"] = simulated(large, "pictures", args, place / "p")
        if args.data is None:  # a user's folder is not written to
            encode = lambda images: torch.zeros(len(images), 4, 64, 64)  # noqa: E731
            encode_latents(FaceDataset(large), encode, count=LATENTS_EACH, seed=0, vae="none")
            rows["512 px, simulated steps, cached latents"] = simulated(large, "latents", args, place / "l")
    for name, row in rows.items():
        row["ok"] = row["waiting"] < LIMIT
        print(f"{name}: {', '.join(f'{key} {value}' for key, value in row.items())}")
    record = {
        "benchmark": "loader_waiting",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": platform.machine(),
        "load": round(load, 1),
        "settings": {key: str(value) for key, value in vars(args).items()},
        "rows": rows,
        "ok": all(row["ok"] for row in rows.values()),
        "seconds": round(time.time() - started, 1),
    }
    print(json.dumps(record))


if __name__ == "__main__":
    main()
