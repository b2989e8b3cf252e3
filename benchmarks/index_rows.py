"""Does a data set of 400,000 rows open at once, and does memory stay the same as with few rows?

    python benchmarks/index_rows.py [--rows 400000] [--reads 1000]

Writes two synthetic data sets (8,631 people, as VGGFace2 has; ID embeddings of 512 numbers), one of `--rows`
rows and one of a hundredth of them, whose rows all point to one small picture. Then, in a process each,
opens one with its index dropped from the system's cache, and reads `--reads` samples of random people. The
last line is JSON. Limits: 5 seconds to open; the process's own memory at most 10 MB above the small one's.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

LIMIT_S, LIMIT_MB = 5.0, 10.0
PEOPLE, WIDTH, SIZE, BLOCK = 8631, 512, 64, 10_000


def write(folder: Path, rows: int) -> None:
    """A data set as ShardWriter writes it, but for its one picture."""
    import io

    from PIL import Image

    from adaface.data.index import ColumnSpool
    from adaface.data.layout import CARD, INDEX, KIND, VERSION, row_digest, shard_name
    from adaface.files import sha256

    (folder / "columns").mkdir(parents=True)
    buffer = io.BytesIO()
    Image.effect_noise((SIZE, SIZE), 40).convert("RGB").save(buffer, "JPEG")
    files = (buffer.getvalue(), b"", b"{}")
    (folder / shard_name(0)).write_bytes(b"".join(files))
    spool, rng = ColumnSpool(folder / "columns"), np.random.default_rng(0)
    corners, numbers = np.full((4, 2), np.nan, np.float32), np.array([1.0, 0.0], np.float32)
    people = np.sort(rng.integers(0, min(PEOPLE, rows // 2), rows)).astype(np.int32)
    names, people = np.unique(people, return_inverse=True)
    for start in range(0, rows, BLOCK):
        n = min(BLOCK, rows - start)
        ids = rng.normal(size=(n, WIDTH)).astype(np.float32)
        ids /= np.linalg.norm(ids, axis=1, keepdims=True)
        points = rng.uniform(0, SIZE, (n, 5, 2)).astype(np.float32)
        keys = [f"picture-{row}" for row in range(start, start + n)]
        who = people[start : start + n].astype(np.int32)
        digests = [
            row_digest((key, f"person {p}", "person"), files, (point, one, corners, numbers))
            for key, p, point, one in zip(keys, who, points, ids, strict=True)
        ]
        zeros = np.zeros((n, 3), np.int64)
        columns = {
            "shard": np.zeros(n, np.int32),
            "begin": zeros + np.array([0, 0, len(files[0])]),
            "length": (zeros + np.array([len(file) for file in files])).astype(np.int32),
            "person": who,
            "class_word": np.zeros(n, np.uint8),
            "landmarks": points,
            "id_embedding": ids,
            "photo_corners": np.broadcast_to(corners, (n, 4, 2)),
            "quality": np.ones(n, np.float32),
            "sha256": np.frombuffer(b"".join(digests), np.uint8).reshape(n, 32),
        }
        for name, values in columns.items():
            spool.append(name, values)
        spool.append_text("keys", keys)
    spool.append("person_rows", np.arange(rows, dtype=np.int64))
    spool.append("person_begin", np.searchsorted(people, np.arange(len(names) + 1)).astype(np.int64))
    spool.append("person_mixed", np.zeros(len(names), np.uint8))
    spool.append_text("people", [f"person {k}" for k in range(len(names))])
    spool.append_text("class_words", ["person"])
    spool.write(folder / INDEX, {"kind": KIND})
    spool.close()
    card = {"kind": KIND, "version": VERSION, "image_size": SIZE, "recognizer": "none", "id_width": WIDTH}
    card |= {"settings": {}, "rows": rows, "people": len(names)}
    card["index"] = {"file": INDEX, "bytes": 0, "sha256": sha256(folder / INDEX)}
    card["shards"] = [{"file": shard_name(0), "bytes": 0, "sha256": "", "rows": rows}]
    (folder / CARD).write_text(json.dumps(card))


def measure(folder: Path, reads: int) -> None:
    """Open and read, in this process; prints what it took."""
    from adaface.data.dataset import FaceDataset

    with (folder / "index.safetensors").open("rb") as stream:  # as after a restart of the machine
        os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    before = own_mb()
    start = time.perf_counter()
    dataset = FaceDataset(folder)
    opened = time.perf_counter() - start
    after = own_mb() - before
    rng = np.random.default_rng(1)
    start = time.perf_counter()
    for person in rng.integers(0, len(dataset.people), reads):
        dataset[int(rng.choice(dataset.rows_of(int(person))))]
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    figures = {"rows": len(dataset), "open_s": opened, "open_mb": after, "read_mb": own_mb() - before}
    figures |= {"read_ms": 1000 * seconds / reads, "peak_rss_mb": peak}
    print(json.dumps({name: round(value, 4) for name, value in figures.items()}))


def own_mb() -> float:
    """Memory of this process that is no mapped file, in MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) / 1024
    raise SystemExit("this benchmark reads /proc, which only Linux has")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=400_000)
    parser.add_argument("--reads", type=int, default=1000)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(options.measure, options.reads)
        return
    found = []
    with tempfile.TemporaryDirectory() as place:
        for rows in (max(200, options.rows // 100), options.rows):
            folder = Path(place) / str(rows)
            write(folder, rows)
            command = [sys.executable, __file__, "--reads", str(options.reads), "--measure", str(folder)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found.append(json.loads(done.stdout.splitlines()[-1]))
            found[-1]["index_mb"] = round((folder / "index.safetensors").stat().st_size / 2**20, 1)
            print(found[-1])
    few, many = found
    grown = many["read_mb"] - few["read_mb"]
    good = many["open_s"] < LIMIT_S and grown < LIMIT_MB
    print(f"{many['rows']} rows open in {many['open_s']:.3f} s; own memory {grown:+.1f} MB")
    line = {"benchmark": "index_rows", "good": good, "limit_s": LIMIT_S, "limit_mb": LIMIT_MB}
    print(json.dumps(line | {"grown_mb": round(grown, 2), "few": few, "many": many}))


if __name__ == "__main__":
    main()
