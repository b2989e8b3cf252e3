"""What may lie in the repository: no machine's paths, no strangers' pictures, no heavy files."""

import re
from pathlib import Path

import pytest

TEXT = {".py", ".md", ".toml", ".txt", ".json", ".yaml", ".yml", ".cfg", ".ini", ".sh", "", ".mk"}
PICTURES = {".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tiff", ".npy"}
PICTURE_HOMES = (
    "docs/pictures/",
    "tests/golden/",
    "src/adaface/mini/weights/",
)  # ours: astronaut or generated
MAX_WEIGHTS_MB = 60
MAX_FILE_MB = 60

# A home or work folder of some machine. Spelled in pieces, so that this file passes its own test.
MACHINE_PATH = re.compile(
    r"(?<![\w.~$}])/(?:" + "|".join(("wo" + "rk", "ho" + "me/\\w+", "ro" + "ot", "Us" + "ers/\\w+")) + r")/"
)


def test_no_text_names_a_path_of_some_machine(repo: Path, tracked: list[Path]):
    found = []
    for path in tracked:
        if path.suffix not in TEXT or "golden" in path.parts:
            continue
        for number, line in enumerate((repo / path).read_text(encoding="utf-8").splitlines(), 1):
            if MACHINE_PATH.search(line):
                found.append(f"{path}:{number}: {line.strip()[:80]}")
    assert found == []


def test_pictures_lie_only_where_ours_are(tracked: list[Path]):
    """Photos of people other than the public-domain astronaut do not belong here; ours have their folders."""
    pictures = [path.as_posix() for path in tracked if path.suffix.lower() in PICTURES]
    assert [name for name in pictures if not name.startswith(PICTURE_HOMES)] == []


@pytest.fixture
def weights(repo: Path) -> Path:
    """Folder of the shipped weights."""
    folder = repo / "src" / "adaface" / "mini" / "weights"
    if not (folder / "stack.json").is_file():
        pytest.skip("no mini stack in this checkout: nothing to check")
    return folder


def test_the_weights_are_small_enough_for_a_wheel(weights: Path):
    megabytes = sum(path.stat().st_size for path in weights.rglob("*") if path.is_file()) / 1e6
    assert megabytes <= MAX_WEIGHTS_MB


def test_the_weights_are_safetensors_and_text(weights: Path):
    assert {path.suffix for path in weights.rglob("*") if path.is_file()} <= {
        ".safetensors",
        ".json",
        ".txt",
        ".md",
        ".npz",
    }


def test_no_pickled_file_is_tracked_outside_the_golden_ones(tracked: list[Path]):
    pickled = [path for path in tracked if path.suffix in (".pt", ".pth", ".ckpt", ".bin", ".pkl", ".pickle")]
    assert [path.as_posix() for path in pickled if "golden" not in path.parts] == []


def test_no_file_is_heavy(repo: Path, tracked: list[Path]):
    heavy = {path.as_posix(): (repo / path).stat().st_size / 1e6 for path in tracked}
    assert {name: size for name, size in heavy.items() if size > MAX_FILE_MB} == {}


@pytest.mark.parametrize(
    "name", ["LICENSE", "LICENSE-WEIGHTS", "CHANGELOG.md", "CONTRIBUTING.md", "docs/method.md"]
)
def test_the_papers_are_in_order(repo: Path, name: str):
    assert (repo / name).stat().st_size > 500


def test_the_weights_notice_names_what_they_were_trained_on(repo: Path):
    notice = (repo / "LICENSE-WEIGHTS").read_text(encoding="utf-8")
    for source in ("LFW", "CelebA", "UTKFace", "CelebAMask-HQ", "non-commercial"):
        assert source in notice
