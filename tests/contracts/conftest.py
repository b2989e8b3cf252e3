"""What the contract tests look at: the repository's own files."""

import subprocess
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tracked(repo: Path) -> list[Path]:
    """Every file that git tracks and that is there, relative to the repository."""
    if not (repo / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=repo, capture_output=True, check=True, text=True)
    return [Path(name) for name in listed.stdout.split("\0") if name and (repo / name).is_file()]
