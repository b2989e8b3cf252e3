"""A whole build from drawn pictures: each step runs, resumes, and ends in a stack that stock readers open."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests.mini.drawn import ID_WIDTH

from adaface.errors import ConfigError, MissingFileError, StackError
from adaface.mini import build as steps
from adaface.mini.config import PRESETS, preset
from adaface.pipelines.personalizer import Personalizer
from adaface.pipelines.stack import Stack

PEOPLE = np.eye(ID_WIDTH, dtype=np.float32)[:2]


@pytest.fixture
def copied(smoke_build, tmp_path):
    """The smoke build once more, to be spoilt."""
    shutil.copytree(smoke_build.out, tmp_path / "copy")
    return steps.Build(smoke_build.data, tmp_path / "copy", preset("smoke"), torch.device("cpu"))


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


def test_the_stack_draws_people_from_ready_id_embeddings(smoke_build):
    personalizer = Personalizer.from_pretrained(smoke_build.out / "stack", device="cpu")
    one, two = (personalizer.identity(id_embedding=vector) for vector in PEOPLE)
    assert one.subject_embeds.shape == (16, 128)
    assert not torch.allclose(one.subject_embeds, two.subject_embeds, atol=1e-3)
    pictures = [
        np.asarray(personalizer.generate("a photo of <person>", who, num_images=1, steps=4).images[0])
        for who in (one, two)
    ]
    assert pictures[0].shape == (64, 64, 3)
    assert (pictures[0] != pictures[1]).any()
    assert all(check.ok for check in Stack.load(smoke_build.out / "stack").check_files())


@pytest.mark.parametrize("step", ["vae", "identity"])
def test_the_identity_losses_are_part_of_a_smoke_build(smoke_build, step):
    rows = [
        json.loads(line) for line in (smoke_build.folder(step) / "metrics.jsonl").read_text().splitlines()
    ]
    assert rows[-1]["identity"] > 0


@pytest.mark.parametrize("step", ["vae", "base", "identity", "encoder"])
def test_a_finished_run_leaves_a_last_sample(smoke_build, step):
    assert list((smoke_build.folder(step) / "samples").glob("step-*.png"))


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


@pytest.mark.slow
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
    card = (tmp_path / "stack" / "README.md").read_text()
    assert "--start mini`" in card and "| vae | as it was in the stack below |" in card
    assert "### The mini stack" in card.split("## The stack that it went on from")[1]


def test_a_stack_of_other_sizes_cannot_be_gone_on_from(smoke_build, tmp_path):
    other = preset("cpu")
    made = steps.Build(
        smoke_build.data, tmp_path, other, torch.device("cpu"), start=smoke_build.out / "stack"
    )
    known = ("tokenizer", "latents", "vae", "looks")
    made.__dict__.update({name: getattr(smoke_build, name) for name in known})
    with pytest.raises(StackError, match="other sizes"):
        made.base_recipe()


def test_a_middle_step_done_anew_takes_what_follows_with_it(copied, caplog):
    caplog.set_level("INFO")
    (copied.out / "build.json").unlink()  # a build by other means has none
    shutil.rmtree(copied.folder("clip"))
    steps.run(copied, until="clip")
    assert "clip is done anew: removing" in caplog.text
    assert [step for step in steps.STEPS if copied.done(step)] == list(steps.STEPS)[:6]
    assert not copied.folder("encoder").exists() and not copied.folder("stack").exists()
    assert "step identity" not in caplog.text


def test_another_setting_needs_another_folder_but_a_run_may_be_longer(copied):
    begun = copied.config
    copied.config = dataclasses.replace(begun, base_step=dataclasses.replace(begun.base_step, batch=6))
    with pytest.raises(ConfigError, match=r"base_step.batch = 4, now it is 6.*choose a new --out"):
        steps.run(copied)
    copied.config = dataclasses.replace(begun, base=dataclasses.replace(begun.base, max_grad_norm=2.0))
    with pytest.raises(ConfigError, match=r"base.max_grad_norm = 1.0, now it is 2.0"):
        steps.run(copied)
    copied.config = dataclasses.replace(begun, base=dataclasses.replace(begun.base, steps=3, seconds=60.0))
    steps.run(copied)
    assert json.loads((copied.out / "build.json").read_text())["base"]["steps"] == 3


def test_what_to_start_from_is_looked_at_before_step_one(smoke_build, tmp_path):
    def begin(**rest):
        made = steps.Build(
            smoke_build.data,
            tmp_path / "out",
            rest.pop("config", preset("smoke")),
            torch.device("cpu"),
            **rest,
        )
        steps.run(made)

    stack = smoke_build.out / "stack"
    with pytest.raises(ConfigError, match="--start and --vae-start: give one"):
        begin(start=stack, vae_start=stack / "base" / "vae")
    with pytest.raises(MissingFileError, match="config.json: no such file"):
        begin(vae_start=tmp_path)
    with pytest.raises(ConfigError, match="latents of 4 channels, this preset has 16"):
        begin(vae_start=stack / "base" / "vae", config=preset("cpu"))
    with pytest.raises(StackError, match="made with other sizes"):
        begin(start=stack, config=preset("cpu"))
    with pytest.raises(StackError, match="cannot be trained on"):
        begin(start=tmp_path)
    assert not (tmp_path / "out").exists()


def test_a_stack_written_again_keeps_no_stray_files_and_has_the_runs_tokenizer(copied):
    (copied.out / "stack" / "base" / "stray.txt").write_text("of an earlier version")
    shutil.rmtree(copied.folder("stack"))
    steps.run(copied)
    assert not list((copied.out / "stack").rglob("stray.txt"))
    ours = {p.name: p.read_bytes() for p in (copied.folder("faces") / "tokenizer").iterdir()}
    for place in ("base/tokenizer", "id_prompter/tokenizer"):
        assert {p.name: p.read_bytes() for p in (copied.out / "stack" / place).iterdir()} == ours
    assert sorted(p.name for p in copied.out.iterdir()) == ["build.json", "run", "stack"]


def test_the_card_tells_what_each_training_took(smoke_build):
    figures = json.loads((smoke_build.folder("encoder") / "done.json").read_text())
    assert figures["steps"] == 4 and figures["preset"] == "smoke" and "cpu" in figures["device"]
    card = (smoke_build.out / "stack" / "README.md").read_text()
    assert "adaface mini build --data DIR --out OUT --preset smoke`" in card
    for step in ("faces", "vae", "base", "identity", "clip", "encoder"):
        assert f"| {step} | " in card
    assert f"| {figures['device']} | smoke |" in card
    assert "segmenter iou person 0." in card and "class words gender accuracy" in card


def test_a_card_says_what_was_not_recorded(smoke_build, tmp_path):
    from adaface.mini.card import write_card

    (tmp_path / "vae").mkdir()
    (tmp_path / "vae" / "done.json").write_text('{"similarity": 0.695}')
    card = write_card(tmp_path / "README.md", tmp_path, ["vae"], {"preset": None}).read_text()
    assert "| vae | not recorded | not recorded | not recorded | not recorded | similarity 0.695 |" in card
    assert "--preset" not in card


@pytest.mark.slow
def test_a_build_repeats_by_its_seed(smoke_build, tmp_path):
    torch.manual_seed(12345)
    again = steps.Build(smoke_build.data, tmp_path, preset("smoke"), torch.device("cpu"))
    steps.run(again, until="vae")
    for file in ("faces/segmenter", "faces/class_words", "vae/model/diffusion_pytorch_model"):
        one, two = (load_file(made.out / "run" / f"{file}.safetensors") for made in (smoke_build, again))
        assert all(torch.equal(one[name], two[name]) for name in one), file


def test_new_base_weights_come_from_the_seed(smoke_build, tmp_path):
    made = steps.Build(smoke_build.data, tmp_path, preset("smoke"), torch.device("cpu"))
    made.__dict__.update(
        {name: getattr(smoke_build, name) for name in ("tokenizer", "latents", "vae", "looks")}
    )
    before = torch.get_rng_state()
    with made.seeded("base"):
        torch.rand(3)
    assert torch.equal(before, torch.get_rng_state()), "torch's own stream goes on as if unused"
    one, two = (torch.nn.utils.parameters_to_vector(made.base_recipe().unet.parameters()) for _ in "ab")
    made.config = dataclasses.replace(made.config, seed=1)
    other = torch.nn.utils.parameters_to_vector(made.base_recipe().unet.parameters())
    assert torch.equal(one, two) and not torch.equal(one, other)
