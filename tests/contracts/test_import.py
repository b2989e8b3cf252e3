"""`import adaface` is quick, quiet and light; its names are all there."""

import ast
import importlib
import subprocess
import sys
import time

import pytest

import adaface

HEAVY = (
    "torch",
    "diffusers",
    "transformers",
    "cv2",
    "onnx",
    "onnxruntime",
    "skimage",
    "gradio",
    "ray",
    "numpy",
)


def run(code: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.strip()


def test_importing_loads_no_heavy_package():
    loaded = run(f"import sys, adaface; print([m for m in {HEAVY!r} if m in sys.modules])")
    assert loaded == "[]"


def test_importing_takes_less_than_three_tenths_of_a_second():
    code = "import time; s = time.perf_counter(); import adaface; print(time.perf_counter() - s)"
    assert min(float(run(code)) for _ in range(3)) < 0.3


def test_importing_prints_and_sets_nothing():
    code = "import os; before = dict(os.environ); import adaface; print(before == dict(os.environ))"
    assert run(code) == "True"


def test_an_error_class_can_be_had_without_torch():
    assert run("import sys, adaface; adaface.NoFaceError; print('torch' in sys.modules)") == "False"


def test_the_public_names_are_sorted_and_unique():
    assert adaface.__all__ == sorted(set(adaface.__all__))


@pytest.mark.parametrize("name", adaface.__all__)
def test_a_public_name_can_be_imported(name: str):
    assert getattr(adaface, name) is not None
    assert name in dir(adaface)


@pytest.mark.parametrize("room", ["", "face"])
def test_type_checkers_see_the_same_names_as_the_interpreter(repo, room):
    """`as` re-exports a name even where checkers are strict; the table at run time says the same."""
    tree = ast.parse((repo / "src" / "adaface" / room / "__init__.py").read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    imported = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    typed = {alias.asname: f"{node.module}.{alias.name}" for node in imported for alias in node.names}
    package = importlib.import_module(f"adaface.{room}".rstrip("."))
    assert typed.keys() == set(package.__all__) - {"__version__"}
    for name, home in typed.items():
        thing = getattr(package, name)
        assert f"{getattr(thing, '__module__', '')}.{name}" == home


def test_an_unknown_name_is_an_attribute_error_that_says_it():
    with pytest.raises(AttributeError, match="'adaface' has no attribute 'Personaliser'"):
        adaface.Personaliser  # noqa: B018 - the look-up is the test


def test_the_version_is_the_installed_one():
    assert adaface.__version__ == importlib.metadata.version("adaface")


def test_help_comes_without_torch():
    code = (
        "import sys\n"
        "from adaface.cli.main import app\n"
        "try:\n    app(['--help'])\nexcept SystemExit:\n    pass\n"
        "print('heavy:', [m for m in ('torch', 'diffusers', 'transformers') if m in sys.modules])"
    )
    started = time.perf_counter()
    assert run(code).endswith("heavy: []")
    assert time.perf_counter() - started < 10
