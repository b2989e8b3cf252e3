"""The stack that comes with the package fits together; skipped where a checkout has no weights."""

import numpy as np
import pytest

from adaface.encoder.fingerprint import text_encoder_fingerprint
from adaface.errors import MissingFileError
from adaface.pipelines.personalizer import Personalizer
from adaface.pipelines.stack import Stack

PROMPT = "a photo of <person> in a meadow"


@pytest.fixture(scope="module")
def stack():
    try:
        return Stack.load("mini")
    except MissingFileError:
        pytest.skip("no mini stack in this checkout")


@pytest.fixture(scope="module")
def mini(stack):
    return Personalizer.from_pretrained(stack, device="cpu")


def test_every_file_is_what_the_manifest_says(stack):
    stack.verify()


def test_all_weights_together_are_small(stack):
    assert sum(path.stat().st_size for path in stack.folder.rglob("*") if path.is_file()) <= 60e6


def test_the_encoder_was_made_for_this_base_and_recogniser(mini):
    config = mini.encoder.config
    assert config.base_text_encoder == text_encoder_fingerprint(mini.pipe.text_encoder)
    assert config.recognizer == mini.analyzer.recognizer.name


def test_a_photo_becomes_a_picture_without_complaint(mini, astronaut):
    made = mini.generate(PROMPT, mini.identity(astronaut), num_images=1)
    assert made.notes == ()
    assert np.asarray(made.images[0]).std() > 10


def test_a_stock_pipeline_opens_the_base(stack):
    from diffusers import StableDiffusionPipeline

    from adaface.pipelines.quiet import quiet

    with quiet():
        pipe = StableDiffusionPipeline.from_pretrained(stack.path("base"), local_files_only=True)
    pipe.set_progress_bar_config(disable=True)
    assert pipe("a photo of a man", num_inference_steps=2).images[0].size == (64, 64)
