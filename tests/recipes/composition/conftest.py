"""A recipe of stage 2 over the tiny stack and drawn faces."""

import pytest

from adaface.recipes.registry import read_config
from adaface.training.config import Layer

GRAMMAR = """
single: ["a photo of {subject}"]
phrasings: ["{a_style} of {subject}{wear}{scene}", "{subject}{wear}{scene}, {style}"]
parts:
  style: {share: 0.5, plain: photo, words: [pencil sketch, sepia photo]}
  wear: {share: 0.5, words: [wearing a red cap, wearing sunglasses]}
  scene: {share: 0.7, words: [in the meadow, on the beach]}
never: [[pencil sketch, on the beach]]
"""


@pytest.fixture(scope="session")
def grammar_file(tmp_path_factory):
    """A grammar of words that the tiny stack knows."""
    path = tmp_path_factory.mktemp("grammar") / "tiny.yaml"
    path.write_text(GRAMMAR, encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def settings(tiny_stack, faces, grammar_file):
    """`settings(compose={...}, batch=2, ...)`: stage 2, small, over the tiny stack."""

    def make(compose=None, **values):
        loop = {"steps": 4, "save_steps": 2, "log_steps": 1, "precision": "fp32"}
        loop |= {"schedule": {"warmup_steps": 1}} | values.pop("loop", {})
        own = {"grammar": str(grammar_file), "prime_steps": 2, "level": -3.0, "margin": -3.0}
        given = {
            "stack": str(tiny_stack), "data": str(faces), "batch": 3, "validation": 3, "device": "cpu",
            "samples": {"people": 0}, "workers": 0, "compose_every": 1, "frozen": "fp32", "loop": loop,
            "likeness_weight": 0.0, "compose": own | (compose or {}),
        }  # fmt: skip
        return read_config("distill-composition", Layer("test", given | values))

    return make
