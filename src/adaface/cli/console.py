"""What the commands print, and how they end: 0 done, 1 a mistake that can be mended, 2 wrong usage, 130
stopped.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.text import Text

from adaface.errors import AdaFaceError

PIPED_WIDTH = 140  # columns of a table that goes to a file or another program
out = Console(width=None if sys.stdout.isatty() else PIPED_WIDTH)
err = Console(stderr=True)


def process_age() -> float:
    """Seconds since this process was started: the interpreter's own start is a part of the wait.

    Where the system does not tell (only Linux does here), the CPU seconds spent so far: the true age of a
    process that has just begun is hardly more.
    """
    spent = time.process_time()
    try:
        # field 22, counted behind the name, which may hold blanks: clock ticks from boot to the start
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, AttributeError):
        return spent
    return age if age >= 0 else spent


_STARTED = time.perf_counter() - process_age()


def since_start() -> float:
    """Seconds since the command was started, the start of the interpreter included."""
    return time.perf_counter() - _STARTED


@contextmanager
def mistakes_told(as_json: bool) -> Iterator[None]:
    """Turn an AdaFaceError into one line on stderr, a JSON object on stdout if asked, and exit code 1; 130 if
    stopped.

    A named file that the system does not let us reach is a mistake like those: any command may look whether
    something is there, in a folder that may not be read or under a name that is too long.
    """
    try:
        yield
    except AdaFaceError as error:
        _tell_mistake(error, " ".join(str(error).split()), as_json)
        raise typer.Exit(1) from None
    except OSError as error:
        if error.filename is None:
            raise
        message = f"{error.filename}: cannot be reached ({error.strerror}). Check name and permissions"
        _tell_mistake(error, message, as_json)
        raise typer.Exit(1) from None
    except KeyboardInterrupt as stopped:  # its own words say how to go on, if it has some
        message = str(stopped) or "Stopped."
        say(message)
        if as_json:
            print_json({"error": {"type": "Stopped", "message": message}})
        raise typer.Exit(130) from None


def _tell_mistake(error: Exception, message: str, as_json: bool) -> None:
    err.print(Text("Error: ", style="bold red"), Text(message), sep="", soft_wrap=True)
    if as_json:
        print_json({"error": {"type": type(error).__name__, "message": message}})


def print_json(data: dict[str, Any]) -> None:
    """One JSON object, and nothing else, on stdout."""
    print(json.dumps(data, ensure_ascii=True))


def say(text: str, *, quiet: bool = False, style: str = "") -> None:
    """A line for people, on stderr, as it is: brackets in it mean nothing."""
    if not quiet:
        err.print(Text(text, style=style), soft_wrap=True)


@contextmanager
def progress(label: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr, if a person is watching; yields what is told (steps done, steps in all)."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def working(label: str) -> Iterator[None]:
    """A spinner on stderr while something takes seconds, if a person is watching."""
    if not err.is_terminal:
        yield
        return
    with err.status(label):
        yield
