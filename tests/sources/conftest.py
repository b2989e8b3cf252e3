"""A look-alike hub with one repository, asked by this process; an empty folder of models."""

import pytest

from look_alike import LookAlike, ask

REPO = "owner/name"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A running hub that huggingface_hub of this process asks, with its cache below tmp_path."""
    root = tmp_path / "served" / "owner" / "name"
    (root / "unet").mkdir(parents=True)
    (root / "config.json").write_text('{"a": 1}')
    (root / "unet" / "model.safetensors").write_bytes(bytes(range(256)) * 4000)  # 1 MB
    with LookAlike(tmp_path / "served", {REPO: "mit"}) as running:
        ask(monkeypatch, running, tmp_path / "cache")
        yield running


@pytest.fixture(autouse=True)
def models(tmp_path, monkeypatch):
    """The folder of models, empty."""
    monkeypatch.setenv("ADAFACE_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"
