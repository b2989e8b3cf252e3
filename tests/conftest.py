"""What the tests of all rooms share: no network, one torch thread, and the shared material if it is there."""

import os
import signal
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell's background job starts with Ctrl-C ignored, and so would every program that a test starts and stops
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

import pytest

pytest_plugins = ["tiny", "tiny_text", "tiny_ldm", "tiny_pickles"]  # random tiny models

REPO = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session", autouse=True)
def one_torch_thread():
    """One thread makes sums repeatable: with more, their order depends on the machine."""
    import torch

    torch.set_num_threads(int(os.environ.get("ADAFACE_TEST_THREADS", "1")))


@pytest.fixture(scope="session")
def repo() -> Path:
    """The checkout that these tests belong to."""
    return REPO


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of shared material: $ADAFACE_SHARED, else `shared` beside the repository; skips without it."""
    folder = Path(os.environ.get("ADAFACE_SHARED", REPO.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"{folder}: no shared material here; set ADAFACE_SHARED to run this test")
    return folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that need a device or an extra say so when it is not here."""
    import importlib.util

    import torch

    lacks = {}
    if not torch.cuda.is_available():
        lacks["gpu"] = "no CUDA device here"
    if importlib.util.find_spec("ray") is None:
        lacks["ray"] = "ray is not installed: pip install 'adaface[ray]'"
    for item in items:
        for mark in lacks.keys() & {marker.name for marker in item.iter_markers()}:
            item.add_marker(pytest.mark.skip(reason=lacks[mark]))
