"""The same chunks on Ray Data, on one machine or a cluster; what a lost machine had in hand is done again.

Tasks, not actors: an actor whose machine is gone waits for another one with room, and the chunks that it was
given wait with it. A task goes to whoever is free. The worker is kept in the process between tasks.
"""

import logging
import os
import socket
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from adaface import errors
from adaface.data.executors.local import C, Tell, check_workers, cores, one_thread
from adaface.errors import AdaFaceError, ConfigError, WorkerError
from adaface.optional import require

STORE_BYTES = 200_000_000  # of a cluster that is started here: only names and settings go through it
TRIES = 4  # at a chunk whose process or machine died; one that always kills its process would never end
ANSWER_S = 10.0  # how long a cluster may take to answer
_USAGE = "RAY_USAGE_STATS_ENABLED"
# of the job that this process works for
_workers: dict[str, tuple[Sequence[Any], Callable[[Any], None]]] = {}


def run_chunks_on_ray(
    chunks: Sequence[C],
    make_worker: Callable[[], Callable[[C], None]],
    *,
    address: str | None = None,
    workers: int | None = None,
    tell: Tell | None = None,
) -> None:
    """Work on every chunk by tasks of Ray Data, each on one core.

    The work must bear that a chunk is worked on twice, even at once: a machine that seems lost may still
    finish. What it writes must lie where all machines see it. address: of a cluster ("auto": the one that
    this machine belongs to); None: the one that this process has joined already, else this machine's cores,
    as a cluster for this call. workers: at most so many at once; None: as many as there are cores. tell: is
    told after each chunk.
    Raises what the work raises. MissingExtra: Ray is not installed. ConfigError: workers below 1, or no
    cluster at that address. WorkerError: a chunk's process died again and again; names the chunk.
    """
    check_workers(workers)
    ray, data = require("ray", extra="ray"), require("ray.data", extra="ray")
    left = {k: chunk.name for k, chunk in enumerate(chunks)}
    if not left:
        return
    with _cluster(ray, address, workers), _quiet(data):
        tries = ray.remote(_Tries).options(num_cpus=0, max_restarts=-1, max_task_retries=-1).remote()
        task = _task(ray.put((list(chunks), make_worker)), tries)
        rows = data.from_items(list(left), override_num_blocks=len(left))
        done = rows.map(task, compute=data.TaskPoolStrategy(size=workers), num_cpus=1)
        try:
            for row in done.iter_rows():
                _raise_again(row)
                del left[row["item"]]
                if tell:
                    tell(len(chunks) - len(left), len(chunks))
        except ray.exceptions.RayError as error:
            raise _given_up(error, len(left)) from error


def check_cluster(address: str | None) -> None:
    """See that a cluster can be joined, before anything is begun; address: as of `run_chunks_on_ray`.

    Raises MissingExtra: Ray is not installed. ConfigError: no cluster at that address.
    """
    ray = require("ray", extra="ray")
    if address is not None:
        with _cluster(ray, address, None):
            pass


class _Tries:
    """An actor that counts how often each chunk was begun."""

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()

    def begin(self, item: int) -> int:
        self._counts[item] += 1
        return self._counts[item]


def _task(job: Any, tries: Any) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """A task over {"item": number of a chunk}; an error of the work is a result: its class is kept."""
    box = (job,)  # inside of a tuple, so that the reference travels and not what it refers to

    def work(row: Mapping[str, Any]) -> dict[str, Any]:
        kind = text = ""
        try:
            chunks, worker = _worker(box[0])
            _begin(tries, int(row["item"]), chunks[row["item"]].name)
            with one_thread():
                worker(chunks[row["item"]])
        except Exception as error:  # noqa: BLE001 - whatever it is, it is raised where the work was ordered
            kind, text = type(error).__name__, str(error)
        return {"item": int(row["item"]), "kind": kind, "text": text}

    return work


def _worker(job: Any) -> tuple[Sequence[Any], Callable[[Any], None]]:
    """The chunks, and the worker of this process: made at its first task, kept for those that follow."""
    import ray

    key = job.hex()
    if key not in _workers:
        chunks, make_worker = ray.get(job)
        _workers.clear()  # another job's models would stay in memory
        _workers[key] = chunks, make_worker()
    return _workers[key]


def _begin(tries: Any, item: int, name: str) -> None:
    import ray

    if ray.get(tries.begin.remote(item)) > TRIES:
        raise WorkerError(
            f"chunk {name}: the process that worked on it died {TRIES} times. What was finished stays: run"
            " again to go on; with fewer workers if memory was short"
        )


def _raise_again(row: Mapping[str, Any]) -> None:
    kind, text = str(row["kind"]), str(row["text"])
    known = getattr(errors, kind, None)
    if isinstance(known, type) and issubclass(known, AdaFaceError):
        raise known(text)
    if kind:
        raise WorkerError(f"{kind}: {text}")


def _given_up(error: Exception, left: int) -> WorkerError:
    lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return WorkerError(
        f"Ray gave up with {left} chunks left: {lines[0]} What was finished stays: run again to go on"
    )


def _check_answers(address: str) -> None:
    """Ray waits for minutes for a cluster that is not there."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():  # "auto", or ray://, which say so by themselves
        return
    try:
        socket.create_connection((host, int(port)), timeout=ANSWER_S).close()
    except (OSError, OverflowError) as error:
        raise ConnectionError(str(error)) from error


@contextmanager
def _cluster(ray: Any, address: str | None, workers: int | None) -> Iterator[None]:
    """Joined to a cluster; one that is started here ends with the block."""
    if ray.is_initialized():
        yield
        return
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address is None:
        options |= {
            "num_cpus": workers or cores(),
            "object_store_memory": STORE_BYTES,
            "include_dashboard": False,
        }
    before = os.environ.get(_USAGE)
    os.environ[_USAGE] = "0"  # nothing is told to anybody
    try:
        try:
            _check_answers(address or "")
            ray.init(address=address or "local", **options)
        except (ConnectionError, ValueError) as error:
            line = str(error).strip().splitlines()[0]
            raise ConfigError(
                f"--ray {address}: no cluster answers there ({line}). Start one: ray start --head"
            ) from error
        yield
    finally:
        ray.shutdown()
        if before is None:
            del os.environ[_USAGE]
        else:
            os.environ[_USAGE] = before


@contextmanager
def _quiet(data: Any) -> Iterator[None]:
    """Ray Data's own bars and plans off: progress is told by `tell`."""
    context, log = data.DataContext.get_current(), logging.getLogger("ray.data")
    before, level = context.enable_progress_bars, log.level
    context.enable_progress_bars = False
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        context.enable_progress_bars = before
        log.setLevel(level)
