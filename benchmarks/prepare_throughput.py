"""How much do the executors of `adaface prepare` cost? Photos a second, by pairs of ways that take turns.

    python benchmarks/prepare_throughput.py [--photos DIR] [--seconds 240] [--no-ray]   # at most 5 minutes
    python benchmarks/prepare_throughput.py --cost    # CPU time and disk a photo, by the photo's size

bare     a loop of the bare networks: read, detect, align, recognise; one thread
one      `run_chunks` with one worker: all that prepare does with a photo (512-pixel crops, no mask network)
alone    two independent processes, each a half of the chunks with one worker: what the machine has to give
local    `run_chunks` with two workers
ray      `run_chunks_on_ray` on a local cluster of two cores

Each comparison is of pairs that follow each other at once, the order swapped every other time, so that what
else the machine does meets both: one / bare (a chunk each), local / alone, ray / alone (all chunks each). The
figure is the median of the pairs' ratios, with the lowest and the highest beside it. `clock`: photos a
second, of the time in which both processes are at work; their start is told by itself, since it does not grow
with the photos. `cpu`: photos a second of processor time, of all processes that serve the work, times the
share of the time in which the two were at work: what two cores of their own would give. On a machine that
does nothing else the two agree; beside other programs the clock says little. The last line is JSON; `good` is
by the clock, `good_by_cpu` by processor time. Without `--photos`, these are cut from scikit-image's
astronaut: 250 x 250, one face.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from adaface.data.executors import run_chunks
from adaface.data.prepare.looking.stage import Stage
from adaface.data.prepare.settings import PrepareSettings
from adaface.data.record import Chunk, Photo

LIMITS = {"one / bare": 0.9, "local / alone": 0.9, "ray / alone": 0.8}
SHARES = {"one / bare": 0.25, "local / alone": 0.35, "ray / alone": 0.4}  # of the time
LEAST, USUAL, MOST = 3, 5, 16  # pairs
START = 4.0  # seconds of a run of two processes before the work
SMALL, LARGE = 8, 32  # photos a chunk
SIDE = 250  # as LFW's photos
DIFFERENT = 96  # photos that are made; then they come again


@dataclass(frozen=True)
class Timed:
    """A stage that notes when each chunk began and ended, by a clock that all processes share."""

    stage: Stage
    log: Path

    def __call__(self) -> Callable[[Chunk], None]:
        work = self.stage()

        def timed(chunk: Chunk) -> None:
            begin, cpu = time.monotonic(), time.process_time()
            work(chunk)
            cpu = time.process_time() - cpu
            line = json.dumps([os.getpid(), begin, time.monotonic(), len(chunk.photos), cpu])
            with self.log.open("a") as log:
                log.write(line + "\n")

        return timed


def write_photos(folder: Path) -> None:
    """Squares around the astronaut's face, each a little different."""
    import numpy as np
    from PIL import Image
    from skimage.data import astronaut

    rng, picture = np.random.default_rng(0), Image.fromarray(astronaut())
    (folder / "astronaut").mkdir(parents=True)
    for number in range(DIFFERENT):
        side = rng.integers(230, 300)
        x, y = 225 - side // 2 + rng.integers(-20, 21), 140 - side // 2 + rng.integers(0, 21)
        cut = picture.crop((x, max(0, y), x + side, max(0, y) + side)).resize((SIDE, SIDE))
        cut.save(folder / "astronaut" / f"{number:03d}.jpg", quality=92)


def cost(place: Path, count: int = 16) -> dict[str, object]:
    """What a photo of each size costs one core, with and without the mini stack's masks, and on the disk."""
    import cv2
    from skimage.data import astronaut

    from adaface.data.prepare.run import Request, prepare
    from adaface.mini.parser import ShippedParser

    cv2.setNumThreads(1)
    rows = []
    for side in (250, 512, 1024):
        folder = place / f"photos{side}" / "astronaut"
        folder.mkdir(parents=True)
        for number in range(count):
            window = astronaut()[0 : 250 + number, 100 : 350 + number]
            cut = cv2.resize(window, (side, side), interpolation=cv2.INTER_CUBIC)
            cv2.imwrite(str(folder / f"{number:02d}.jpg"), cut[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])
        chunks, ms = chunks_of(folder.parent, 4, count), {}
        for name, parser in (("without masks", None), ("mini masks", ShippedParser())):
            work = Stage(place / f"{name}{side}", PrepareSettings(), parser=parser)()
            work(chunks[0])
            took = []
            for chunk in chunks[1:]:
                start = time.process_time()
                work(chunk)
                took.append(1000 * (time.process_time() - start) / count)
            ms[name] = round(statistics.median(took), 1)
        settings = PrepareSettings(filter_people=False, drop_near_duplicates=False)
        out = place / f"out{side}"
        prepare(Request(out=out, data_roots=[folder.parent], settings=settings, parser=ShippedParser()))
        card = json.loads((out / "dataset.json").read_text())
        size = (sum(shard["bytes"] for shard in card["shards"]) + card["index"]["bytes"]) / card["rows"]
        hours = {name: round(400_000 * value / 3.6e6, 1) for name, value in ms.items()}
        rows.append({"side": side, "CPU ms": ms, "core hours of 400,000": hours, "KB": round(size / 1000, 1)})
        rows[-1]["GB of 400,000"] = round(400_000 * size / 1e9, 1)
        print(rows[-1])
    return {"benchmark": "prepare_cost", "crop": 512, "rows": rows}


def chunks_of(folder: Path, count: int, size: int) -> list[Chunk]:
    files = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    photos = [Photo(folder, folder.name, path, path.split("/")[0]) for path in files]
    return [
        Chunk(f"chunk{k:04d}", tuple(photos[(k * size + n) % len(photos)] for n in range(size)))
        for k in range(count)
    ]


class Helpers:
    """Processor time of this process and all below it, at the first and at the last finished chunk."""

    def __init__(self) -> None:
        self.seen: list[dict[int, float]] = []

    def tell(self, done: int, total: int) -> None:
        if done in (1, total):
            self.seen.append(_tree())

    def seconds(self, workers: Iterable[int]) -> float:
        """Of those that work on no chunk: what handing out the work costs."""
        if len(self.seen) < 2:
            return 0.0
        first, last = self.seen[0], self.seen[-1]
        return sum(last[p] - first.get(p, 0.0) for p in last.keys() - set(workers))


def _tree() -> dict[int, float]:
    import psutil

    here = psutil.Process()
    found = {}
    for process in (here, *here.children(recursive=True)):
        with suppress(psutil.Error):
            times = process.cpu_times()
            found[process.pid] = times.user + times.system
    return found


def rates(log: Path, helpers: Helpers) -> dict[str, float]:
    """What two processes did while both were at work.

    per_s: photos a second, where a chunk at the edge counts by its share. busy: share of the time in which
    they were inside of a chunk, not between two. per_cpu_s: photos a second of processor time, of these
    processes and of all that serve them.
    """
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    firsts, lasts = ({}, {})
    for process, begin, end, *_ in rows:
        firsts[process] = min(begin, firsts.get(process, begin))
        lasts[process] = max(end, lasts.get(process, end))
    if len(firsts) < 2:
        raise SystemExit(f"{log.name}: one process did all. Give more --chunks")
    start, stop = sorted(firsts.values())[1], sorted(lasts.values())[-2]
    inside = [max(0.0, min(end, stop) - max(begin, start)) for _, begin, end, *_ in rows]
    photos = sum(part / (row[2] - row[1]) * row[3] for part, row in zip(inside, rows, strict=True))
    spent = sum(row[4] for row in rows) / sum(row[3] for row in rows)
    served = helpers.seconds(firsts) / sum(row[3] for row in rows[1:])
    return {
        "per_s": photos / (stop - start),
        "per_cpu_s": 1 / (spent + served),
        "busy": sum(inside) / (2 * (stop - start)),
        "first": min(firsts.values()),
    }


def bare_loop() -> Callable[[Chunk], None]:
    """The networks by themselves."""
    from adaface.face.align import align
    from adaface.face.detect import YuNet
    from adaface.face.images import load_image
    from adaface.face.recognize import load_recognizer

    detector, recognizer = YuNet(), load_recognizer("sface")

    def work(chunk: Chunk) -> None:
        for photo in chunk.photos:
            image = load_image(photo.file)
            for face in detector(image):
                recognizer(align(image, face.landmarks)[None])

    return work


@dataclass(frozen=True)
class Ran:
    """One way, once: photos a second by the clock and of processor time. start: seconds before the work."""

    clock: float
    cpu: float
    start: float = 0.0


def pairs(name: str, seconds: float, run: Callable[[str, int], Ran]) -> dict[str, object]:
    """Both ways of a name in turns, as long as there is time; the medians and the ends of their ratios."""
    ways, ran, begin = name.split(" / "), [], time.monotonic()
    while len(ran) < LEAST or (len(ran) < MOST and time.monotonic() - begin < seconds * (1 - 1 / len(ran))):
        number = len(ran)
        turn = ways if number % 2 else ways[::-1]
        ran.append({way: run(way, number) for way in turn})
    first, second = ways
    found: dict[str, object] = {"limit": LIMITS[name], "pairs": len(ran)}
    for what in ("clock", "cpu"):
        ratios = [getattr(pair[first], what) / getattr(pair[second], what) for pair in ran]
        found[what] = round(statistics.median(ratios), 3)
        found[f"{what}_spread"] = [round(min(ratios), 3), round(max(ratios), 3)]
    for way in ways:
        rates = {
            what: statistics.median(getattr(pair[way], what) for pair in ran) for what in ("clock", "cpu")
        }
        found[way] = {"per_s": round(rates["clock"], 1), "per_cpu_s": round(rates["cpu"], 1)}
        found[way]["start_s"] = round(statistics.median(pair[way].start for pair in ran), 1)
    print(json.dumps({name: found}), flush=True)
    return found


def one_or_bare(chunks: Sequence[Chunk], stage: Callable[[str], Stage]) -> Callable[[str, int], Ran]:
    """Runs the bare loop or one worker on one chunk, in this process."""
    import cv2

    cv2.setNumThreads(1)
    bare, work = bare_loop(), stage("one")()
    ways = {"bare": bare, "one": lambda piece: run_chunks([piece], lambda: work)}
    for way in ways.values():
        way(chunks[-1])  # opens files and networks

    def run(way: str, number: int) -> Ran:
        chunk = chunks[number % (len(chunks) - 1)]
        chunk = Chunk(f"{chunk.name}-{number}", chunk.photos)
        clock, cpu = time.perf_counter(), time.process_time()
        ways[way](chunk)
        clock, cpu = time.perf_counter() - clock, time.process_time() - cpu
        return Ran(len(chunk.photos) / clock, len(chunk.photos) / cpu)

    return run


def alone(chunks: Sequence[Chunk], stage: Stage, log: Path) -> None:
    """Two processes that know nothing of each other, and begin together."""
    command = [sys.executable, __file__, "--alone"]
    crew = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    for number, process in enumerate(crew):
        given = [
            str(stage.work),
            str(log),
            str(chunks[0].photos[0].folder),
            len(chunks),
            len(chunks[0].photos),
        ]
        process.stdin.write(json.dumps([*given, number]) + "\n")
        process.stdin.flush()
    for process in crew:
        process.stdout.readline()  # it is ready
    for process in crew:
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in crew:
        process.communicate()
        if process.returncode:
            raise SystemExit("one of the two processes failed")


def alone_here() -> None:
    """One of them: opens its networks, says so, waits, works."""
    work, log, folder, count, size, number = json.loads(sys.stdin.readline())
    timed = Timed(Stage(Path(work), PrepareSettings()), Path(log))()
    chunks = chunks_of(Path(folder), count, size)[number::2]
    print("ready", flush=True)
    sys.stdin.readline()
    run_chunks(chunks, lambda: timed)


@contextmanager
def ray_cluster() -> Iterator[None]:
    """Two cores of this machine, kept over the rounds."""
    import ray

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(
        address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=10**8
    )
    try:
        yield
    finally:
        ray.shutdown()


def two(way: str, number: int, chunks: Sequence[Chunk], stage: Callable[[str], Stage], place: Path) -> Ran:
    """All chunks by two processes."""
    name = f"{way}-{number}-{time.monotonic_ns()}"
    log, own, helpers = place / f"{name}.log", stage(name), Helpers()
    start = time.monotonic()
    if way == "alone":
        alone(chunks, own, log)
    elif way == "local":
        run_chunks(chunks, Timed(own, log), workers=2, tell=helpers.tell)
    else:
        from adaface.data.executors.on_ray import run_chunks_on_ray

        run_chunks_on_ray(chunks, Timed(own, log), workers=2, tell=helpers.tell)
    figures = rates(log, helpers)
    return Ran(figures["per_s"], figures["per_cpu_s"] * figures["busy"], figures["first"] - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--seconds", type=float, default=240, help="about how long, with %(default)s usual")
    parser.add_argument("--chunks", type=int, default=8)
    parser.add_argument("--size", type=int, help="photos a chunk; usual is what fits the time")
    parser.add_argument("--cost", action="store_true", help="CPU time and disk of a photo")
    parser.add_argument("--no-ray", action="store_true")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.alone:
        alone_here()
        return
    with tempfile.TemporaryDirectory() as place:
        print(json.dumps(cost(Path(place)) if options.cost else measured(options, Path(place))))


def fitting(per_s: float, options: argparse.Namespace) -> int:
    """Photos a chunk, so that the usual number of pairs of two processes takes the time that it may."""
    each = SHARES["local / alone"] * options.seconds / (2 * USUAL) - START
    return max(SMALL, min(LARGE, round(2 * per_s * each / options.chunks)))


def measured(options: argparse.Namespace, place: Path) -> dict[str, object]:
    folder, load = options.photos or place / "photos", os.getloadavg()[0]
    if options.photos is None:
        write_photos(folder)
    chunks = chunks_of(folder.resolve(), options.chunks, options.size or LARGE)
    stage = lambda name: Stage(place / name, PrepareSettings())  # noqa: E731
    by_two = lambda way, number: two(way, number, chunks, stage, place)  # noqa: E731
    found, begin = {}, time.monotonic()
    for name, share in SHARES.items():
        with ray_cluster() if name.startswith("ray") and not options.no_ray else nullcontext():
            if name.startswith("one"):
                found[name] = pairs(name, share * options.seconds, one_or_bare(chunks, stage))
                size = options.size or fitting(found[name]["one"]["per_s"], options)
                chunks = chunks_of(folder.resolve(), options.chunks, size)
            elif name.startswith("local") or not options.no_ray:
                found[name] = pairs(name, share * options.seconds, by_two)
    git = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=Path(__file__).parent
    )
    about = {"cores": os.cpu_count(), "load_before": round(load, 1), "machine": platform.machine()}
    about |= {"date": datetime.now(UTC).strftime("%Y-%m-%d"), "commit": git.stdout.strip()}
    about |= {
        "seconds": round(time.monotonic() - begin),
        "photos": sum(len(chunk.photos) for chunk in chunks),
    }
    good = {what: all(one[what] >= one["limit"] for one in found.values()) for what in ("clock", "cpu")}
    head = {"benchmark": "prepare_throughput", "good": good["clock"], "good_by_cpu": good["cpu"]}
    return {**head, **found, **about}


if __name__ == "__main__":
    main()
