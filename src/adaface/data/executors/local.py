"""Chunks over the cores of one machine: each process makes its worker once, and works on one thread."""

import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.reduction import ForkingPickler
from typing import Any, Protocol, TypeVar

from adaface.errors import ConfigError, WorkerError

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
END_S = 5.0  # how long a process that has nothing left may take to end by itself


class Chunk(Protocol):
    """A part of the work; goes to another process."""

    @property
    def name(self) -> str:
        """What messages call it; no two have the same."""


C = TypeVar("C", bound=Chunk)
Tell = Callable[[int, int], None]  # chunks done, chunks in all


def cores() -> int:
    """How many cores this process may use; a container or a scheduler may leave it less than there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def check_workers(workers: int | None) -> None:
    """Raises ConfigError: a number of workers below 1."""
    if workers is not None and workers < 1:
        raise ConfigError(f"workers={workers}: give 1 or more")


def run_chunks(
    chunks: Sequence[C],
    make_worker: Callable[[], Callable[[C], None]],
    *,
    workers: int = 1,
    tell: Tell | None = None,
) -> None:
    """Work on every chunk; whichever process is free takes the next.

    make_worker: is called once in each process, there, and opens what the work needs (models). With `workers`
    above 1 it goes there: a function of a module, or a dataclass with `__call__`. tell: is told after each
    chunk, in this process.
    Raises what the work raises, and stops the other processes. WorkerError: a process died (killed for want
    of memory, say); names it and its chunk. ConfigError: workers below 1.
    """
    check_workers(workers)
    tell = tell or (lambda done, total: None)
    if workers == 1 or len(chunks) < 2:
        _run_here(chunks, make_worker, tell)
        return
    crew: list[_Worker] = []
    try:
        with _threads_of_children():
            for number in range(min(workers, len(chunks))):
                crew.append(_Worker(number, make_worker))
        _feed(crew, chunks, tell)
    finally:
        for worker in crew:
            worker.stop()


@contextmanager
def one_thread() -> Iterator[None]:
    """OpenCV and torch, if they are loaded, on one thread: sums come out in the same order everywhere."""
    cv2, torch = (sys.modules.get(name) for name in ("cv2", "torch"))
    before = cv2.getNumThreads() if cv2 else 0, torch.get_num_threads() if torch else 0
    try:
        if cv2:
            cv2.setNumThreads(1)
        if torch:
            torch.set_num_threads(1)
        yield
    finally:
        if cv2:
            cv2.setNumThreads(before[0])
        if torch:
            torch.set_num_threads(before[1])


def _run_here(chunks: Sequence[C], make_worker: Callable[[], Callable[[C], None]], tell: Tell) -> None:
    if not chunks:
        return
    work = make_worker()
    with one_thread():
        for done, chunk in enumerate(chunks, 1):
            work(chunk)
            tell(done, len(chunks))


@contextmanager
def _threads_of_children() -> Iterator[None]:
    """BLAS and OpenMP read these when they are loaded, so they stand while processes are started."""
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


class _Worker:
    """A process, and this end of its pipe."""

    def __init__(self, number: int, make_worker: Callable[[], Any]) -> None:
        context = get_context("spawn")  # a fork would copy locks that other threads hold
        self.pipe, far = context.Pipe()
        self.name, self.chunk = f"worker {number + 1}", ""
        self._process = context.Process(
            target=_serve, args=(far, make_worker), name=f"adaface {self.name}", daemon=True
        )
        self._process.start()
        far.close()  # the process has its own: without another holder, its death is the end of the pipe

    def give(self, chunk: Chunk) -> None:
        self.chunk = chunk.name
        with suppress(BrokenPipeError, ConnectionResetError):  # it died: `receive` says so
            self.pipe.send(chunk)

    def receive(self) -> None:
        """Wait until it is ready for work. Raises what happened there, or WorkerError: it died."""
        try:
            error = self.pipe.recv()
        except (EOFError, ConnectionResetError):
            raise self._died() from None
        if error is not None:
            raise error

    def stop(self) -> None:
        self.pipe.close()
        if not self.chunk:  # nothing to do: it ends by itself, and cleanly
            self._process.join(END_S)
        self._process.kill()
        self._process.join()

    def _died(self) -> WorkerError:
        self._process.join(END_S)
        code = self._process.exitcode
        how = f"ended with code {code}" if code is None or code >= 0 else f"was killed by {_signal(-code)}"
        who = f"{self.name} (process {self._process.pid}) {how}"
        if not self.chunk:
            return WorkerError(
                f"{who} before its first chunk. In a script, call this below `if __name__ == '__main__':`; "
                "else see what it wrote above"
            )
        return WorkerError(
            f"{who} while it worked on chunk {self.chunk}. What was finished stays: run again to go on; "
            "with fewer workers if memory was short"
        )


def _feed(crew: Sequence[_Worker], chunks: Sequence[C], tell: Tell) -> None:
    left, done = deque(chunks), 0
    busy = {worker.pipe: worker for worker in crew}
    while busy:
        for pipe in wait(list(busy)):
            assert isinstance(pipe, Connection)
            worker = busy[pipe]
            worker.receive()
            if worker.chunk:
                done += 1
                tell(done, len(chunks))
            worker.chunk = ""
            if left:
                worker.give(left.popleft())
            else:
                del busy[pipe]


def _serve(pipe: Connection, make_worker: Callable[[], Callable[[Any], None]]) -> None:
    """A process's life: say "ready", take a chunk, work, say so; an error is said and ends it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):  # the parent has gone, or has no more
        try:
            work = make_worker()
            with one_thread():
                pipe.send(None)
                while True:
                    work(pipe.recv())
                    pipe.send(None)
        except (EOFError, BrokenPipeError, ConnectionResetError):
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it is raised in the parent
            pipe.send(_portable(error))


def _portable(error: Exception) -> Exception:
    """The error if it can go to another process, else its words."""
    try:
        ForkingPickler.loads(ForkingPickler.dumps(error))
    except Exception:  # noqa: BLE001 - some classes cannot be made anew from what they keep
        return WorkerError(f"{type(error).__name__}: {error}")
    return error


def _signal(number: int) -> str:
    with suppress(ValueError):
        return signal.Signals(number).name
    return f"signal {number}"
