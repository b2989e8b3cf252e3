"""An empty folder to work in for each test of the commands, and a photo in it."""

import pytest
from PIL import Image


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch, tiny_stack):
    """An empty folder to work in, and the tiny stack as the default."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ADAFACE_STACK", str(tiny_stack))
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    return tmp_path


@pytest.fixture
def photo(here, astronaut):
    Image.fromarray(astronaut).save(here / "me.png")
    return "me.png"


@pytest.fixture
def no_models(monkeypatch):
    """Opening a model ends the test."""
    from adaface.pipelines.personalizer import Personalizer

    monkeypatch.setattr(Personalizer, "from_pretrained", lambda *_, **__: pytest.fail("models were opened"))
