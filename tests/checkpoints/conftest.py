"""Checkpoints beside the tiny one: the same shapes, other numbers."""

import pytest

from adaface.checkpoints.surgery.extracting import extract
from tiny_ldm import changed


@pytest.fixture
def other(ldm_file, tmp_path):
    """An LDM file with other numbers everywhere."""
    return changed(ldm_file, tmp_path / "other.safetensors", seed=1)


@pytest.fixture
def other_folder(other, base_folder, tmp_path):
    """The same models as a diffusers folder."""
    return extract(other, "pipeline", tmp_path / "other-folder", base_folder).path
