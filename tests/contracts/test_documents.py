"""What the documents promise: their Python runs, their links lead somewhere, their names exist."""

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*REPO.glob("*.md"), *(REPO / "docs").rglob("*.md")])
BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)#\s]+)")
FUNCTION = re.compile(r"`adaface\.([\w.]+)`")
STACK = REPO / "src" / "adaface" / "mini" / "weights" / "stack.json"


def name_of(path: Path) -> str:
    return path.relative_to(REPO).as_posix()


def blocks(path: Path) -> list[str]:
    return BLOCK.findall(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_every_python_block_compiles(path: Path):
    for number, code in enumerate(blocks(path), 1):
        compile(code, f"{name_of(path)}, block {number}", "exec")


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_every_link_into_the_repository_leads_somewhere(path: Path):
    targets = LINK.findall(path.read_text(encoding="utf-8"))
    assert [target for target in targets if not (path.parent / target).exists()] == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_every_function_that_a_document_names_exists(path: Path):
    missing = [name for name in set(FUNCTION.findall(path.read_text(encoding="utf-8"))) if not exists(name)]
    assert missing == []


@pytest.mark.slow
@pytest.mark.skipif(not STACK.is_file(), reason="no mini stack in the package")
def test_the_readme_runs_from_top_to_bottom(tmp_path: Path):
    """In an empty folder that holds photo.jpg and two more of the same person, in one interpreter."""
    code = "\n".join(blocks(REPO / "README.md"))
    photos(tmp_path)
    (tmp_path / "readme.py").write_text(code, encoding="utf-8")
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "readme.py"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def exists(dotted: str) -> bool:
    """Whether `adaface.<dotted>` is a module, or a name (or a name's attribute) inside one."""
    parts = dotted.split(".")
    for cut in range(len(parts), -1, -1):
        try:
            found = importlib.import_module(".".join(["adaface", *parts[:cut]]))
        except ModuleNotFoundError:
            continue
        return all((found := getattr(found, part, None)) is not None for part in parts[cut:])
    return False


def photos(folder: Path) -> None:
    """The astronaut under the names that the README's examples use."""
    from PIL import Image
    from skimage import data

    picture = Image.fromarray(data.astronaut())
    for name in (
        "photo.jpg",
        "photo.png",
        "alice.jpg",
        "alice1.jpg",
        "alice2.jpg",
        "alice3.jpg",
        "astronaut.png",
    ):
        picture.save(folder / name)
