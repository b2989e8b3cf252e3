"""Workers for the tests of the executors; in a file of their own, since other processes import them."""

import os
import secrets
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from adaface.errors import ImageError


@dataclass(frozen=True)
class Piece:
    """A chunk of numbers."""

    name: str
    numbers: tuple[int, ...]


@dataclass(frozen=True)
class Squares:
    """Makes workers that write each chunk's squares as a folder, whole by a rename, and log who did it.

    die, fail, choke: chunks at which the process kills itself, raises an error, or one that cannot travel.
    """

    out: Path
    die: str = ""
    fail: str = ""
    choke: str = ""
    wait_s: float = 0.0
    once: bool = False

    def __call__(self) -> Callable[[Piece], None]:
        self._log("opened")
        return self.work

    def work(self, piece: Piece) -> None:
        if piece.name == self.die and not (self.once and (self.out / "died").exists()):
            (self.out / "died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if piece.name == self.fail:
            raise ImageError(f"{piece.name}: broken. Leave it out")
        if piece.name == self.choke:
            raise Stubborn(1, 2)
        time.sleep(self.wait_s)
        beside = self.out / f".{secrets.token_hex(8)}"
        beside.write_text(" ".join(str(number**2) for number in piece.numbers))
        beside.replace(self.out / piece.name)
        self._log(piece.name)

    def _log(self, what: str) -> None:
        with (self.out / "log").open("a") as log:
            threads = os.environ.get("OMP_NUM_THREADS")
            log.write(f"{os.getpid()} {threads} {what}\n")


class Stubborn(Exception):
    """Cannot be made anew from its arguments."""

    def __init__(self, a: int, b: int) -> None:
        super().__init__(f"{a} and {b}")


def pieces(count: int) -> list[Piece]:
    """That many chunks of three numbers."""
    return [Piece(f"piece{k:02d}", (3 * k, 3 * k + 1, 3 * k + 2)) for k in range(count)]


def results(out: Path) -> dict[str, str]:
    """What stands there, by chunk."""
    return {path.name: path.read_text() for path in sorted(out.glob("piece*"))}


def expected(count: int) -> dict[str, str]:
    return {p.name: " ".join(str(n**2) for n in p.numbers) for p in pieces(count)}


def log_lines(out: Path) -> list[list[str]]:
    """Process, threads, what: a line for each opening and each finished chunk."""
    return [line.split() for line in (out / "log").read_text().splitlines()]
