"""Drawn data and one smoke-built stack for all tests of this room."""

from pathlib import Path

import pytest
import torch
from tests.mini.drawn import write_packs


@pytest.fixture(scope="session")
def drawn_data(tmp_path_factory) -> Path:
    """A data folder of drawn faces."""
    return write_packs(tmp_path_factory.mktemp("faces"))


@pytest.fixture(scope="session")
def smoke_build(drawn_data, tmp_path_factory):
    """A whole build with the smoke preset."""
    from adaface.mini import build
    from adaface.mini.config import preset

    made = build.Build(drawn_data, tmp_path_factory.mktemp("build"), preset("smoke"), torch.device("cpu"))
    build.run(made)
    return made
