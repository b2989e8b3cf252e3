"""Chunks over local processes: all of them once, models once a process, and whoever dies has a name."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from adaface.data.executors import run_chunks
from adaface.errors import ConfigError, ImageError, WorkerError
from tiny_chunks import Squares, expected, log_lines, pieces, results


def opened(out: Path) -> list[str]:
    return [process for process, _, what in log_lines(out) if what == "opened"]


@pytest.mark.parametrize("workers", [1, 2])
def test_every_chunk_is_worked_on_once(tmp_path, workers):
    run_chunks(pieces(7), Squares(tmp_path), workers=workers)
    assert results(tmp_path) == expected(7)
    assert sorted(what for *_, what in log_lines(tmp_path) if what != "opened") == sorted(expected(7))


def test_each_process_makes_its_worker_once(tmp_path):
    run_chunks(pieces(9), Squares(tmp_path, wait_s=0.05), workers=2)
    assert len(opened(tmp_path)) == 2
    assert len(set(opened(tmp_path))) == 2 and str(os.getpid()) not in opened(tmp_path)


def test_one_worker_works_in_this_process(tmp_path):
    run_chunks(pieces(3), Squares(tmp_path), workers=1)
    assert opened(tmp_path) == [str(os.getpid())]


def test_processes_keep_to_one_thread_and_the_environment_stays(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    run_chunks(pieces(4), Squares(tmp_path), workers=2)
    assert {threads for _, threads, _ in log_lines(tmp_path)} == {"1"}
    assert os.environ["OMP_NUM_THREADS"] == "7"


def test_one_worker_keeps_to_one_thread_and_gives_the_others_back(tmp_path):
    import cv2

    before, seen = cv2.getNumThreads(), []
    cv2.setNumThreads(2)
    try:
        run_chunks(pieces(2), lambda: lambda piece: seen.append(cv2.getNumThreads()))
        assert (seen, cv2.getNumThreads()) == ([1, 1], 2)
    finally:
        cv2.setNumThreads(before)


@pytest.mark.parametrize("workers", [1, 2])
def test_progress_is_told_after_each_chunk(tmp_path, workers):
    told = []
    run_chunks(pieces(5), Squares(tmp_path), workers=workers, tell=lambda *counts: told.append(counts))
    assert told == [(k, 5) for k in range(1, 6)]


def test_nothing_to_do_opens_nothing(tmp_path):
    run_chunks([], Squares(tmp_path), workers=2)
    assert list(tmp_path.iterdir()) == []


def test_a_worker_that_is_killed_is_named_with_its_chunk(tmp_path):
    with pytest.raises(WorkerError) as caught:
        run_chunks(pieces(8), Squares(tmp_path, die="piece03"), workers=2)
    message = str(caught.value)
    assert re.match(
        r"worker [12] \(process \d+\) was killed by SIGKILL while it worked on chunk piece03\.", message
    )
    assert "run again to go on" in message


def test_what_was_finished_before_a_death_stays_and_the_rest_can_follow(tmp_path):
    with pytest.raises(WorkerError):
        run_chunks(pieces(8), Squares(tmp_path, die="piece03"), workers=2)
    left = [piece for piece in pieces(8) if piece.name not in results(tmp_path)]
    assert "piece03" in [piece.name for piece in left] and len(left) < 8
    run_chunks(left, Squares(tmp_path), workers=2)
    assert results(tmp_path) == expected(8)


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_of_the_work_comes_out_as_it_is(tmp_path, workers):
    with pytest.raises(ImageError, match=r"piece01: broken\. Leave it out"):
        run_chunks(pieces(4), Squares(tmp_path, fail="piece01"), workers=workers)


def test_an_error_that_cannot_travel_comes_as_its_words(tmp_path):
    with pytest.raises(WorkerError, match="Stubborn: 1 and 2"):
        run_chunks(pieces(4), Squares(tmp_path, choke="piece01"), workers=2)


def test_no_process_is_left_after_an_error(tmp_path):
    with pytest.raises(ImageError):
        run_chunks(pieces(6), Squares(tmp_path, fail="piece01", wait_s=0.05), workers=2)
    for process in opened(tmp_path):
        with pytest.raises(ProcessLookupError):
            os.kill(int(process), 0)


def test_fewer_than_one_worker_is_told():
    with pytest.raises(ConfigError, match="workers=0: give 1 or more"):
        run_chunks(pieces(2), Squares(Path()), workers=0)


def test_a_script_without_a_guard_is_told_what_it_lacks(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from pathlib import Path\n"
        "from tiny_chunks import Squares, pieces\n"
        "from adaface.data.executors import run_chunks\n"
        f"run_chunks(pieces(2), Squares(Path({str(tmp_path)!r})), workers=2)\n"
    )
    tests = Path(__file__).resolve().parents[1]
    environment = {**os.environ, "PYTHONPATH": str(tests)}
    done = subprocess.run(
        [sys.executable, script], env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 1
    assert "before its first chunk. In a script, call this below `if __name__ == '__main__':`" in done.stderr


def test_ctrl_c_ends_all_processes(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from pathlib import Path\n"
        "from tiny_chunks import Squares, pieces\n"
        "from adaface.data.executors import run_chunks\n"
        "if __name__ == '__main__':\n"
        f"    run_chunks(pieces(99), Squares(Path({str(tmp_path)!r}), wait_s=0.2), workers=2)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    running = subprocess.Popen([sys.executable, script], env=environment, stderr=subprocess.PIPE, text=True)
    try:
        until(lambda: len(results(tmp_path)) >= 2)
        running.send_signal(signal.SIGINT)
        _, told = running.communicate(timeout=60)
    finally:
        running.kill()
    assert told.strip().endswith("KeyboardInterrupt")
    for process in opened(tmp_path):
        with pytest.raises(ProcessLookupError):
            os.kill(int(process), 0)


def until(true, seconds: float = 120.0) -> None:
    """Wait for it."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)
