"""`prepare` and latents killed, or out of room, at every change of the disk; a file of its own for the test.

Each child is a fork that does all of the work and counts its changes: files opened to be written, folders
made, names changed or removed. At the given one it kills itself, or is refused. A second one goes on.
"""

import errno
import hashlib
import json
import os
import resource
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import torch

from adaface.data import latents
from adaface.data.dataset import FaceDataset
from adaface.data.latents import LatentCache, encode_latents
from adaface.data.prepare.run import Request, prepare
from adaface.data.prepare.settings import PrepareSettings
from adaface.errors import WriteError
from tiny_photos import Always, Analyzer, LeftHalf, tree, write_people

CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate"}
NEED_ROOM = {"open", "os.mkdir", "os.rename"}
FULL, REFUSED = 3, 4  # exit codes: WriteError; another error


def work(place: Path, out: Path) -> None:
    """A data set with masks, the original's layout and latents."""
    request = Request(
        out=out, data_roots=[place / "raw"], settings=PrepareSettings(size=32), analyzer=Analyzer(),
        parser=Always(LeftHalf()), original_layout=True,
    )  # fmt: skip
    prepare(request)
    latents.SAVE_S = 0.0  # a note after each batch
    average = torch.nn.AvgPool2d(8)
    encode_latents(FaceDataset(out), average, count=1, seed=0, vae="average", batch_size=8)


def watch(within: Path, at: int, hurt: Callable[[str], None], counted: list[int]) -> None:
    """Call `hurt` at the so-manieth change below `within`."""

    def hook(event: str, args: tuple[object, ...]) -> None:
        writes = event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR)
        if (writes or event in CHANGES) and str(args[0]).startswith(str(within)):
            counted[0] += 1
            if counted[0] == at:
                hurt("open" if writes else event)

    sys.addaudithook(hook)


def kill(event: str) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def refuse(event: str) -> None:
    if event in NEED_ROOM:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def child(place: Path, out: Path, at: int = 0, hurt: Callable[[str], None] = kill, room: int = 0) -> int:
    """How it ended: an exit code, or minus a signal. room: the most bytes that a file may have; 0: any."""
    number = os.fork()
    if number:
        return os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])
    code = 0
    try:
        os.fsync = lambda handle: None  # a killed process loses nothing that it has written
        counted = [0]
        watch(out, at, hurt, counted)
        if room:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
        work(place, out)
        if not at:
            (place / "changes").write_text(str(counted[0]))
    except WriteError:
        code = FULL
    except BaseException:  # noqa: BLE001 - the parent is told, whatever it is
        traceback.print_exc()
        code = REFUSED
    os._exit(code)


def check(out: Path) -> None:
    """Raises whatever it is: something stands there under its last name, and is not whole."""
    if not (out / "dataset.json").exists():
        return
    data = FaceDataset(out)
    data.verify()
    if LatentCache.there(data):
        cache = LatentCache(data)
        for row in range(len(data)):
            cache[row, 0]


def digest(out: Path) -> str:
    return hashlib.sha256(repr(sorted(tree(out).items())).encode()).hexdigest()


def main(place: Path, most: int) -> None:
    """Tells, of each way to be hurt: which, where, how the first and the second ended, whether the bytes are
    those of one that was let be. most: how many of the changes are tried.
    """
    torch.set_num_threads(1)
    write_people(place / "raw", photos=8)  # two chunks
    assert child(place, place / "whole") == 0
    wanted, changes = digest(place / "whole"), int((place / "changes").read_text())
    step = max(1, changes // most)
    largest = max(len(data) for data in tree(place / "whole").values())
    ways = [("kill", at, 0) for at in range(1, changes + 1, step)]
    ways += [("full", at, 0) for at in range(1 + step // 2, changes + 1, step)]
    ways += [("small", 0, largest * k // 8) for k in range(1, 8)]
    told = []
    for way, at, room in ways:
        out = place / f"{way}-{at}-{room}"
        code = child(place, out, at, refuse if way == "full" else kill, room)
        check(out)
        again = child(place, out)
        told.append([way, at or room, code, again, digest(out) == wanted])
    (place / "told.json").write_text(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
