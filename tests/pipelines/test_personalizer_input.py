"""What Personalizer refuses, and how it says so; opening stacks; identities made elsewhere."""

import dataclasses
import logging
import shutil

import pytest
import torch

import tiny
from adaface.errors import ConfigError, DifferentPeopleError, FormatError, PromptError, StackError
from adaface.face.photos import PhotoSet
from adaface.identity.files import Identity
from adaface.pipelines.personalizer import Personalizer
from adaface.pipelines.settings import Settings
from compare import pixels
from tiny import PROMPT


@pytest.mark.parametrize("arguments", [{}, {"photos": "a.jpg", "id_embedding": [1.0]}])
def test_an_identity_needs_photos_or_an_embedding(personalizer, arguments):
    with pytest.raises(ConfigError, match="give either photos or an id_embedding"):
        personalizer.identity(**arguments)


def test_a_bad_name_is_told_before_the_photos_are_read(personalizer):
    with pytest.raises(PromptError, match="name 'two words'"):
        personalizer.identity("no-such-photo.jpg", name="two words")


def test_an_identity_of_another_width_says_what_to_do(personalizer):
    with pytest.raises(
        FormatError, match="rows are 768 wide, the text encoder of this stack takes 128. Make it again"
    ):
        personalizer.generate(PROMPT, Identity("person", torch.zeros(16, 768)))


@pytest.mark.parametrize(
    ("key", "words"),
    [("base_text_encoder", "text encoder of another base model"), ("encoder", "by another AdaFace encoder")],
)
def test_an_identity_from_elsewhere_is_drawn_with_a_note(personalizer, person, key, words):
    strange = Identity("person", person.subject_embeds, None, {**person.provenance, key: "sha256:0"})
    notes = personalizer.generate(PROMPT, strange, num_images=1, steps=1).notes
    assert any(words in note and "adaface embed" in note for note in notes)


def test_rows_of_another_number_are_drawn_but_not_scaled(personalizer):
    few = Identity("person", torch.randn(4, 128, generator=torch.Generator().manual_seed(0)))
    assert len(personalizer.generate(PROMPT, few, num_images=1, steps=1)) == 1
    with pytest.raises(
        ConfigError, match="4 rows made with id_scale 1 by another encoder cannot be brought to 2"
    ):
        personalizer.generate(PROMPT, few, num_images=1, id_scale=2)


def test_two_people_need_two_names(personalizer, person):
    with pytest.raises(ConfigError, match="2 identities, but <person> twice"):
        personalizer.generate(PROMPT, [person, person])


def test_nobody_cannot_be_drawn(personalizer):
    with pytest.raises(ConfigError, match="no identity given"):
        personalizer.generate(PROMPT, [])


@pytest.mark.parametrize("prompts", [[], [3], None])
def test_prompts_must_be_texts(personalizer, person, prompts):
    with pytest.raises(ConfigError, match="prompts: give a text"):
        personalizer.generate(prompts, person)


def test_a_prompt_that_names_somebody_else_is_told(personalizer, person):
    with pytest.raises(PromptError, match="no subject <bob>"):
        personalizer.generate("<person> and <bob>", person)


def test_words_that_had_no_room_are_told(personalizer, person):
    made = personalizer.generate("<person> " + "in the meadow " * 40, person, num_images=1, steps=1)
    assert any("cut at 64 positions" in note for note in made.notes)


def test_more_steps_than_the_base_was_trained_with_are_told(personalizer, person, monkeypatch):
    monkeypatch.setitem(personalizer.pipe.scheduler.config, "num_train_timesteps", 10)
    with pytest.raises(ConfigError, match="steps=11: the base model was trained with 10"):
        personalizer.generate(PROMPT, person, steps=11)


# --- opening a stack


def test_a_damaged_stack_is_not_opened(tiny_stack, tmp_path):
    copy = shutil.copytree(tiny_stack, tmp_path / "copy")
    (copy / "base" / "unet" / "config.json").write_text("{}")
    with pytest.raises(StackError, match=r"unet/config\.json: 2 bytes, expected"):
        Personalizer.from_pretrained(copy)


def test_a_base_that_diffusers_cannot_open_says_what_it_should_hold(tiny_stack, tmp_path):
    copy = shutil.copytree(tiny_stack, tmp_path / "copy")
    (copy / "base" / "unet" / "config.json").write_text("{}")
    with pytest.raises(StackError, match="not a Stable Diffusion folder that diffusers can open"):
        Personalizer.from_pretrained(copy, verify=False)


@pytest.mark.parametrize("device", ["cuda:99", "nonsense", "meta:x"])
def test_a_device_that_is_not_there_is_told(tiny_stack, device):
    with pytest.raises(ConfigError, match=f'device "{device}": not usable here'):
        Personalizer.from_pretrained(tiny_stack, device=device, verify=False)


def test_an_unknown_dtype_is_told(tiny_stack):
    with pytest.raises(ConfigError, match="dtype=int8: give one of float32"):
        Personalizer.from_pretrained(tiny_stack, dtype="int8", verify=False)


def test_a_half_precision_folder_is_float32_on_the_cpu(tiny_stack, tmp_path, person):
    from safetensors.torch import load_file, save_file

    copy = shutil.copytree(tiny_stack, tmp_path / "copy")
    for path in copy.glob("*/**/*.safetensors"):
        save_file({k: v.half() for k, v in load_file(path).items()}, path, metadata={"format": "pt"})
    half = Personalizer.from_pretrained(copy, device="cpu", verify=False)
    parts = (half.pipe.unet, half.pipe.vae, half.pipe.text_encoder, half.encoder, half.id_prompter)
    assert {p.dtype for part in parts for p in part.parameters()} == {torch.float32}
    assert pixels(half.generate(PROMPT, person, num_images=1)).std() > 0


def test_opening_prints_nothing(tiny_stack, capfd):
    Personalizer.from_pretrained(tiny_stack, device="cpu")
    assert capfd.readouterr() == ("", "")


def test_a_safety_checker_stays_in_force(tiny_stack, personalizer, person):
    from diffusers import StableDiffusionPipeline
    from transformers import BatchFeature

    class Features:
        def __call__(self, images, return_tensors):
            return BatchFeature({"pixel_values": torch.zeros(len(images), 1)})

    class Checker(torch.nn.Module):
        device, dtype = torch.device("cpu"), torch.float32

        def forward(self, images, clip_input):
            return torch.zeros_like(images), [True] * len(images)

    parts = {**personalizer.pipe.components, "safety_checker": Checker(), "feature_extractor": Features()}
    guarded = Personalizer(StableDiffusionPipeline(**parts), personalizer.encoder, personalizer.id_prompter)
    made = guarded.generate(PROMPT, person, num_images=2, steps=1)
    assert pixels(made).max() == 0
    assert "picture 2 was blacked out by the base model's safety checker" in made.notes


def test_the_quiet_console_gives_the_libraries_their_settings_back():
    from diffusers.utils import logging as diffusers_log
    from transformers.utils import logging as transformers_log

    from adaface.pipelines.quiet import quiet

    before = [
        (log.get_verbosity(), log.is_progress_bar_enabled()) for log in (diffusers_log, transformers_log)
    ]
    with quiet(), quiet():
        assert diffusers_log.get_verbosity() == logging.ERROR
    after = [
        (log.get_verbosity(), log.is_progress_bar_enabled()) for log in (diffusers_log, transformers_log)
    ]
    assert after == before


def test_a_recogniser_that_the_encoder_was_not_trained_with_is_refused(personalizer, person, monkeypatch):
    config = dataclasses.replace(personalizer.encoder.config, recognizer="arcface")
    monkeypatch.setattr(personalizer.encoder, "config", config)
    with pytest.raises(ConfigError, match='of the recogniser "arcface", but these are of "sface"'):
        personalizer.identity(id_embedding=person.id_embedding)


def test_an_identity_needs_no_diffusion_model(tiny_stack, person):
    from adaface.pipelines.embedder import Embedder

    made = Embedder.from_pretrained(tiny_stack, device="cpu").identity(id_embedding=person.id_embedding)
    assert torch.equal(made.subject_embeds, person.subject_embeds)
    assert made.provenance == person.provenance


def test_the_encoders_own_scale_counts_where_the_stack_names_none(tiny_stack, tmp_path):
    copy = shutil.copytree(tiny_stack, tmp_path / "copy")
    path = copy / "encoder" / "config.json"
    path.write_text(path.read_text().replace('"id_scale": 1.0', '"id_scale": 1.5'))
    assert Personalizer.from_pretrained(copy, device="cpu", verify=False).settings.id_scale == 1.5


def test_photos_measured_by_another_recogniser_are_refused(personalizer, person):
    vector = person.id_embedding.numpy()
    strange = PhotoSet(vector, (), ("a.jpg",), recognizer="glintr100-12345678")
    with pytest.raises(ConfigError, match='these are of "glintr100-12345678".*a JSON file beside'):
        personalizer.identity(strange)


def test_joined_by_hand_the_encoders_own_scale_counts(personalizer, person, monkeypatch):
    config = dataclasses.replace(personalizer.encoder.config, id_scale=1.5)
    monkeypatch.setattr(personalizer.encoder, "config", config)
    joined = Personalizer(personalizer.pipe, personalizer.encoder, personalizer.id_prompter)
    assert joined.settings == Settings(id_scale=1.5)
    assert joined.identity(id_embedding=person.id_embedding).provenance["id_scale"] == "1.5"


def test_an_id_embedding_may_be_a_tensor_with_gradient_in_half_precision(personalizer, person):
    vector = person.id_embedding.to(torch.float16).requires_grad_()
    rows = personalizer.identity(id_embedding=vector).subject_embeds
    assert torch.allclose(rows, person.subject_embeds, atol=0.02)


def test_photos_of_different_people_can_all_be_kept(personalizer):
    vectors = [tiny.unit_vector(k) for k in (1, 2)]
    with pytest.raises(DifferentPeopleError, match="keep_all"):
        personalizer.identity(vectors)
    assert personalizer.identity(vectors, keep_all=True).provenance["photos"] == "2"


def test_each_batch_is_handed_out_as_soon_as_it_is_drawn(personalizer, person):
    told = []
    made = personalizer.generate(
        [PROMPT, "a pencil sketch of <person>"], person, num_images=2, seed=5, steps=2, batch_size=3,
        on_step=lambda done, _: told.append(done), on_batch=told.append,
    )  # fmt: skip
    batches = [item for item in told if not isinstance(item, int)]
    assert [type(item) is int for item in told] == [True, True, False, True, True, False]
    assert [batch.seeds for batch in batches] == [(5, 6, 5), (6,)]
    assert sum((batch.images for batch in batches), ()) == made.images
    assert sum((batch.prompts for batch in batches), ()) == made.prompts
    assert list(batches[1].records()) == list(made.records())[3:]


def test_a_stack_that_names_another_number_of_id_vectors_is_refused(tiny_stack, tmp_path):
    copy = shutil.copytree(tiny_stack, tmp_path / "copy")
    path = copy / "stack.json"
    path.write_text(path.read_text().replace('"num_id_vectors": 16', '"num_id_vectors": 4'))
    with pytest.raises(StackError, match="num_id_vectors is 4, but its encoder has 16. Correct"):
        Personalizer.from_pretrained(copy, device="cpu")
