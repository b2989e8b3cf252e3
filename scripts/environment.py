"""Make the folder .venv what constraints.txt says; quick when it already is. Needs Python's own library only.

`python scripts/environment.py [--folder .venv] [--constraints constraints.txt] [--extras demo,dev]
[--torch-index URL]`

A stamp in the folder records what was asked for and what was installed. If both still hold, nothing is done
(0.5 s). A folder that is half-installed, or from which packages went, is repaired; one whose Python is gone
is made anew. Another index of torch wheels than the last time replaces torch; none leaves it as it is.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]
NEWEST, OLDEST = (3, 12), (3, 11)
TORCH_NOTE = "adaface-torch-index"  # file in the environment that keeps where its torch is from
LISTING = "import json, os, sysconfig; print(json.dumps(sorted(os.listdir(sysconfig.get_path('purelib')))))"


def main(arguments: Sequence[str] | None = None) -> int:
    """Make or mend the environment; 0 if it is ready."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", default=".venv")
    parser.add_argument("--constraints", default="constraints.txt")
    parser.add_argument("--extras", default="demo,dev")
    parser.add_argument(
        "--torch-index", default="", help="an index of wheels, such as .../whl/cpu, for torch"
    )
    given = parser.parse_args(arguments)
    folder, constraints = REPO / given.folder, REPO / given.constraints
    if not OLDEST <= sys.version_info[:2] <= NEWEST:
        return fail(
            f"Python {sys.version.split()[0]} runs this; adaface needs 3.11 or 3.12. "
            "Say which: make PYTHON=/path/to/python3.11 ..."
        )
    asked = fingerprint(constraints, given.extras)
    stamp = folder / "adaface-stamp.json"
    if is_ready(folder, stamp, asked) and given.torch_index in ("", torch_index_of(folder)):
        return 0
    started = time.monotonic()
    print(
        f"[environment] installing into {given.folder} by {given.constraints} (a few minutes the first time)"
    )
    try:
        make(folder)
        install(folder, constraints, given.extras, given.torch_index)
    except subprocess.CalledProcessError as error:
        return fail(f"{' '.join(map(str, error.cmd[:4]))} ... ended with {error.returncode}. {advice(error)}")
    stamp.write_text(json.dumps({"asked": asked, "installed": installed(folder)}), encoding="utf-8")
    print(f"[environment] ready in {time.monotonic() - started:.0f} s")
    return 0


def fingerprint(constraints: Path, extras: str) -> str:
    """What the environment is made from: the project file, the pins, the extras, the Python, the place."""
    digest = hashlib.sha256()
    for part in (REPO / "pyproject.toml", constraints):
        digest.update(part.read_bytes())
    digest.update(f"{extras} {sys.version_info[:2]} {REPO}".encode())
    return digest.hexdigest()


def python_of(folder: Path) -> Path:
    """The interpreter inside an environment."""
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def installed(folder: Path) -> list[str] | None:
    """What lies in the environment's site-packages, versions included; None if its Python does not run."""
    try:
        found = subprocess.run([python_of(folder), "-c", LISTING], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return list(json.loads(found.stdout))


def is_ready(folder: Path, stamp: Path, asked: str) -> bool:
    """Whether the stamp fits what is asked for now and what is installed now."""
    try:
        record = json.loads(stamp.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return record.get("asked") == asked and record.get("installed") == installed(folder)


def torch_index_of(folder: Path) -> str:
    """The index of wheels that the environment's torch was asked from; "" if pip chose."""
    note = folder / TORCH_NOTE
    return note.read_text(encoding="utf-8") if note.is_file() else ""


def make(folder: Path) -> None:
    """An environment with a Python of our version and a pip that runs; an unusable one is replaced."""
    (folder / "adaface-stamp.json").unlink(missing_ok=True)
    check = f"import sys, pip; sys.exit(sys.version_info[:2] != {sys.version_info[:2]})"
    try:
        usable = (
            subprocess.run([python_of(folder), "-c", check], capture_output=True, check=False).returncode == 0
        )
    except OSError:
        usable = False
    if not usable:
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)


def install(folder: Path, constraints: Path, extras: str, torch_index: str = "") -> None:
    """torch first, by its pin, so that nothing else brings a build of its own; then the rest; then this."""
    pip = [
        python_of(folder),
        "-m",
        "pip",
        "--disable-pip-version-check",
        "install",
        "--quiet",
        "-c",
        constraints,
    ]
    install_torch(folder, pip, torch_index)
    subprocess.run([*pip, "hatchling", "editables"], check=True)
    ours = [f"{REPO}[{extras}]" if extras else str(REPO)]
    subprocess.run([*pip, "--no-build-isolation", "--editable", *ours], check=True)
    repair(folder, pip)


def install_torch(folder: Path, pip: Sequence[Path | str], index: str) -> None:
    """torch and what it needs, from `index` if there is one; pip itself would keep a build from elsewhere."""
    if index and index != torch_index_of(folder):
        remove = ["-m", "pip", "--disable-pip-version-check", "uninstall", "--quiet", "--yes", "torch"]
        subprocess.run([python_of(folder), *remove], check=True)
    subprocess.run([*pip, *(["--index-url", index] if index else []), "torch"], check=True)
    if index:
        (folder / TORCH_NOTE).write_text(index, encoding="utf-8")


def repair(folder: Path, pip: Sequence[Path | str]) -> None:
    """pip trusts its records: a package whose files were deleted is installed again."""
    code = (
        "import importlib.metadata as m\n"
        "for d in m.distributions():\n"
        "    if any(not f.locate().exists() for f in (d.files or []) if f.suffix == '.py'): print(d.name)"
    )
    found = subprocess.run([python_of(folder), "-c", code], capture_output=True, text=True, check=True)
    if broken := [name for name in found.stdout.split() if name not in ("adaface", "pip")]:
        print(f"[environment] files are missing, installing again: {', '.join(broken)}")
        subprocess.run([*pip, "--force-reinstall", "--no-deps", *broken], check=True)


def advice(error: subprocess.CalledProcessError) -> str:
    """What a person can do about a step that failed."""
    if "venv" in map(str, error.cmd):
        return "Is Python's venv module installed (Debian: apt install python3-venv)?"
    return (
        "Check the network and the free disk space (about 2 GB), then run the same command again: it goes on."
    )


def fail(message: str) -> int:
    """Say what is wrong; 1."""
    print(f"[environment] {message}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
