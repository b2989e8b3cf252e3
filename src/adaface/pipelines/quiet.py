"""Loading models without the libraries' own progress bars and hints on the user's console."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_lock = threading.Lock()
_inside = 0
_old: list[tuple[Any, int, bool]] = []


@contextmanager
def quiet() -> Iterator[None]:
    """Inside, transformers and diffusers report errors only; afterwards their settings are the old ones.

    Enter it before the first import of their heavy classes, which is when some of the hints are printed.
    Threads may overlap: the last one out restores.
    """
    _enter()
    try:
        yield
    finally:
        _leave()


def _enter() -> None:
    global _inside
    from diffusers.utils import logging as diffusers_log
    from transformers.utils import logging as transformers_log

    with _lock:
        _inside += 1
        if _inside > 1:
            return
        for log in (transformers_log, diffusers_log):
            _old.append((log, log.get_verbosity(), log.is_progress_bar_enabled()))
            log.set_verbosity_error()
            log.disable_progress_bar()


def _leave() -> None:
    global _inside
    with _lock:
        _inside -= 1
        while not _inside and _old:
            log, verbosity, bar = _old.pop()
            log.set_verbosity(verbosity)
            if bar:
                log.enable_progress_bar()
