"""A tiny CLIP text model and its tokenizer (random weights, 77 positions, width 40), fresh for each test."""

from pathlib import Path

import pytest

GOLDEN = Path(__file__).parent / "golden"
TEXT_ENCODER = GOLDEN / "text-encoder"


@pytest.fixture(scope="session")
def golden() -> Path:
    """Folder of recorded numbers and tiny models."""
    return GOLDEN


@pytest.fixture
def model():
    """A CLIPTextModel; a test may change it."""
    from adaface.text.folder import load_text_encoder

    return load_text_encoder(TEXT_ENCODER / "text_encoder")


@pytest.fixture
def tokenizer():
    """A CLIPTokenizer; a test may change it."""
    from adaface.text.folder import load_tokenizer

    return load_tokenizer(TEXT_ENCODER / "tokenizer")
