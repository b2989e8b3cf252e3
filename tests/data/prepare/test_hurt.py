"""Killed, or out of room, anywhere between the first file and the last latent: the same command goes on."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("hurt.py")


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """Way, place, code of the first and of the second, whether the bytes are the same; see hurt.py."""
    place = tmp_path_factory.mktemp("hurt")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, SCRIPT, place, "12"], check=True, env=environment, timeout=300)
    return json.loads((place / "told.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize(("way", "code"), [("kill", -9), ("full", 3), ("small", 3)])
def test_after_a_kill_or_a_full_disk_the_same_command_gives_the_same_bytes(told, way, code):
    """Killed at a change of the disk; refused at one; or no file may have more than so many bytes."""
    ends = [(place, first, second, same) for name, place, first, second, same in told if name == way]
    assert len(ends) > 5
    assert all(second == 0 and same for _, _, second, same in ends), ends
    firsts = {first for _, first, _, _ in ends}
    assert firsts - {0} == {code}, ends  # 0: what it was refused was a removal, or nothing that must be


def test_a_first_note_that_was_half_written_is_ours(make, out):
    out.mkdir()
    left = out / ".prepare.0123456789abcdef.json"
    left.write_text('{"kind": "ada')
    assert make().fresh
    assert not left.exists()
