"""A look-alike hub with one repository, asked by this process; an empty folder of models."""

import pytest

from look_alike import LookAlike

REPO = "owner/name"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A running hub that huggingface_hub of this process asks, with its cache below tmp_path."""
    from huggingface_hub import constants, file_download

    root = tmp_path / "served" / "owner" / "name"
    (root / "unet").mkdir(parents=True)
    (root / "config.json").write_text('{"a": 1}')
    (root / "unet" / "model.safetensors").write_bytes(bytes(range(256)) * 4000)  # 1 MB
    with LookAlike(tmp_path / "served", {REPO: "mit"}) as running:
        monkeypatch.setattr(constants, "ENDPOINT", running.url)
        template = running.url + "/{repo_id}/resolve/{revision}/{filename}"
        for module in (constants, file_download):  # the second is where 0.36 reads it
            monkeypatch.setattr(module, "HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 100_000)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
        yield running


@pytest.fixture(autouse=True)
def models(tmp_path, monkeypatch):
    """The folder of models, empty."""
    monkeypatch.setenv("ADAFACE_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"
