"""Runs of the tiny stack: identity files, one score without a model, requests."""

from types import SimpleNamespace

import pytest

from adaface.evaluation.run import run as module
from adaface.evaluation.run.protocols import PROTOCOLS
from adaface.evaluation.run.request import Request
from adaface.identity.files import Identity
from adaface.pipelines.personalizer import Personalizer
from adaface.pipelines.stack import Stack
from tiny_run import LINES, Brightness


@pytest.fixture
def people(tmp_path, person):
    """Identity files of alice and bob."""
    folder = tmp_path / "people"
    folder.mkdir()
    for shift, name in enumerate(("alice", "bob")):
        Identity(name, person.subject_embeds + shift, person.id_embedding).save(
            folder / f"{name}.safetensors"
        )
    return folder


@pytest.fixture
def scorer(monkeypatch, personalizer):
    """Brightness alone; the tiny stack is opened once for all tests; the report is another room's."""
    one = Brightness()
    monkeypatch.setattr(module, "scorers", lambda *_, **__: [one])
    monkeypatch.setattr(module, "stack_analyzer", lambda *_: personalizer.analyzer)
    monkeypatch.setattr(module, "report", SimpleNamespace(write=lambda folder: folder / "report.html"))
    monkeypatch.setattr(Personalizer, "from_pretrained", lambda *_, **__: personalizer)
    return one


@pytest.fixture
def request_for(tmp_path, tiny_stack, people):
    def make(**more):
        given = {
            "folder": tmp_path / "run", "stack": Stack.load(tiny_stack), "protocol": PROTOCOLS["short"],
            "subjects": [people], "prompts": LINES,
        }  # fmt: skip
        drawn = {} if "images" in more else {"settings": {"steps": 1}, "num_images": 2}
        return Request(**{**given, **drawn, **more})

    return make
