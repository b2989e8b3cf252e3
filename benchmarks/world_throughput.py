"""Does the world of the mini stack keep up with training? Composed pictures a second against the UNet's own.

    python benchmarks/world_throughput.py --data DIR

DIR holds the face packs (docs/mini.md). One thread. A build draws all pictures first, and trains on cached
latents; this is what drawing them beside it would cost.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch
from diffusers import AutoencoderKL

from adaface.mini.measuring import held_out_world
from adaface.mini.models import MiniConfig, for_training, new_unet
from adaface.mini.recipes.latents import World, encode
from adaface.mini.world.data import VALIDATION
from adaface.pipelines.stack import Stack

BATCH, ROUNDS = 32, 9


def main() -> None:
    """Print pictures a second of each, median of rounds that take turns, then one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", required=True, help="folder of the face packs")
    parser.add_argument("--stack", default="mini")
    given = parser.parse_args()
    torch.set_num_threads(1)
    stack = Stack.load(given.stack)
    world = held_out_world(given.data, stack, VALIDATION)
    vae = AutoencoderKL.from_pretrained(stack.path("base") / "vae", low_cpu_mem_usage=False).float().eval()
    generator = torch.Generator().manual_seed(0)
    jobs = {
        "drawn": lambda: _draw(world, generator),
        "drawn and encoded": lambda: encode(vae, _draw(world, generator)),
        "UNet, forward and backward": _training(MiniConfig()),
    }
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for number in range(ROUNDS + 1):
        for name, job in jobs.items():
            begin = time.process_time()
            job()
            if number:  # the first round warms up
                seconds[name].append(time.process_time() - begin)
    rates = {name: [BATCH / one for one in times] for name, times in seconds.items()}
    for name, values in rates.items():
        print(f"{name}: {statistics.median(values):.0f} a second ({min(values):.0f} to {max(values):.0f})")
    medians = {name: round(statistics.median(values), 1) for name, values in rates.items()}
    print(json.dumps({"benchmark": "world_throughput", "batch": BATCH, "pictures_a_second": medians}))


def _draw(world: World, generator: torch.Generator) -> torch.Tensor:
    rows = torch.randint(len(world.packs[0]), (BATCH,), generator=generator)
    return world.view(rows, generator, plain=False).pictures


def _training(config: MiniConfig) -> Callable[[], None]:
    """The least that a step of the base takes: no text, no likeness, no optimiser."""
    unet = for_training(new_unet(config))
    latents = torch.randn(BATCH, config.latent_channels, 8, 8)
    context = torch.randn(BATCH, config.text_length, config.text_width)
    timesteps = torch.randint(1000, (BATCH,))

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            unet(latents, timesteps, context).sample.float().square().mean().backward()

    return step


if __name__ == "__main__":
    main()
