"""Who may import whom: the contracts of pyproject.toml hold."""

import os
import subprocess
import sys
from pathlib import Path


def test_no_room_imports_from_a_floor_above(repo: Path, tmp_path: Path):
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [lint, "--cache-dir", str(tmp_path)],
        cwd=repo,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "200"},
    )
    assert done.returncode == 0, done.stdout
    assert "2 kept, 0 broken" in done.stdout
