"""A tiny CLIP text model and its tokenizer (random weights, 77 positions, width 40), fresh for each test."""

from pathlib import Path

import pytest

from adaface.text.folder import load_text_encoder, load_tokenizer


@pytest.fixture
def golden(repo) -> Path:
    """Folder of recorded numbers and tiny models."""
    return repo / "tests" / "golden"


@pytest.fixture
def model(golden):
    """A CLIPTextModel; a test may change it."""
    return load_text_encoder(golden / "text-encoder" / "text_encoder")


@pytest.fixture
def tokenizer(golden):
    """A CLIPTokenizer; a test may change it."""
    return load_tokenizer(golden / "text-encoder" / "tokenizer")
