"""A whole build from drawn pictures: each step runs, resumes, and ends in a stack that stock readers open."""

import json

import numpy as np
import pytest
import torch
from tests.mini.drawn import ID_WIDTH

from adaface.errors import ConfigError, MissingFileError, StackError
from adaface.mini import build as steps
from adaface.mini.config import PRESETS, preset
from adaface.pipelines.personalizer import Personalizer
from adaface.pipelines.stack import Stack

PERSON = np.eye(ID_WIDTH, dtype=np.float32)[0]


def test_every_step_leaves_its_mark(smoke_build):
    assert all(smoke_build.done(step) for step in steps.STEPS)
    figures = json.loads((smoke_build.folder("faces") / "done.json").read_text())
    assert 0 <= figures["segmenter_iou"]["person"] <= 1


def test_a_stock_pipeline_opens_the_base(smoke_build):
    from diffusers import StableDiffusionPipeline

    pipe = StableDiffusionPipeline.from_pretrained(smoke_build.out / "stack" / "base")
    pipe.set_progress_bar_config(disable=True)
    picture = pipe("a photo of a person", num_inference_steps=2, guidance_scale=2.0).images[0]
    assert picture.size == (64, 64)


def test_the_stack_draws_a_person(smoke_build):
    personalizer = Personalizer.from_pretrained(smoke_build.out / "stack", device="cpu")
    rows = personalizer.encoder(personalizer.id_prompter(torch.from_numpy(PERSON)[None]))
    assert rows.shape == (1, 16, 32)
    assert Stack.load(smoke_build.out / "stack").check_files()


def test_the_stack_is_whole_and_small(smoke_build):
    stack = Stack.load(smoke_build.out / "stack")
    stack.verify()
    assert {"base", "encoder", "id_prompter", "recognizer", "teacher", "clip", "strangers"} <= set(
        stack.roles
    )


def test_the_encoder_names_the_shipped_text_encoder(smoke_build):
    personalizer = Personalizer.from_pretrained(smoke_build.out / "stack", device="cpu")
    assert personalizer.encoder.config.base_text_encoder == personalizer.fingerprints["base_text_encoder"]


def test_no_path_of_the_machine_is_shipped(smoke_build):
    texts = [
        path.read_text() for path in (smoke_build.out / "stack").rglob("*") if path.suffix in (".json", ".md")
    ]
    assert not [text for text in texts if str(smoke_build.out) in text or str(smoke_build.data) in text]


def test_what_is_done_is_not_done_again(smoke_build, caplog):
    caplog.set_level("INFO")
    steps.run(smoke_build)
    assert "step " not in caplog.text


def test_a_step_that_was_deleted_is_done_again(smoke_build, caplog):
    caplog.set_level("INFO")
    (smoke_build.folder("stack") / "done.json").unlink()
    steps.run(smoke_build)
    assert "step stack" in caplog.text and "step encoder" not in caplog.text


def test_missing_data_is_named(tmp_path):
    empty = steps.Build(tmp_path, tmp_path / "out", preset("smoke"), torch.device("cpu"))
    with pytest.raises(MissingFileError, match="portraits_masks.zip: no such archive. Give --data"):
        steps.run(empty)


def test_unknown_steps_and_presets_list_the_known_ones(smoke_build):
    with pytest.raises(ConfigError, match="there are faces, vae"):
        steps.run(smoke_build, until="nothing")
    with pytest.raises(ConfigError, match=", ".join(PRESETS)):
        preset("huge")


def test_a_build_goes_on_from_a_stack(smoke_build, tmp_path):
    start = smoke_build.out / "stack"
    longer = steps.Build(smoke_build.data, tmp_path, preset("smoke"), torch.device("cpu"), start=start)
    steps.run(longer, until="faces")
    steps.run(longer, until="vae")
    before = torch.nn.utils.parameters_to_vector(
        Personalizer.from_pretrained(start, device="cpu").pipe.unet.parameters()
    )
    steps.run(longer, until="latents")
    begun = torch.nn.utils.parameters_to_vector(longer.base_recipe().unet.parameters())
    assert torch.equal(before, begun)
    steps.run(longer)
    Stack.load(tmp_path / "stack").verify()


def test_a_stack_of_other_sizes_cannot_be_gone_on_from(smoke_build, tmp_path):
    other = preset("cpu")
    made = steps.Build(
        smoke_build.data, tmp_path, other, torch.device("cpu"), start=smoke_build.out / "stack"
    )
    made.__dict__.update(tokenizer=smoke_build.tokenizer, latents=smoke_build.latents, vae=smoke_build.vae)
    with pytest.raises(StackError, match="other sizes"):
        made.base_recipe()
