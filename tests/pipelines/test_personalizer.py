"""From a person to pictures, on a stack of random tiny models."""

import dataclasses
import logging
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

import tiny
from adaface.encoder.fingerprint import text_encoder_fingerprint
from adaface.face.photos import LeftOut, PhotoSet
from adaface.identity.files import Identity
from adaface.pipelines.personalizer import Personalizer
from adaface.pipelines.settings import Settings
from adaface.prompt.embedding import embed_prompt
from compare import farthest, pixels
from tiny import PROMPT


def own_loop(personalizer, prompt, person, settings, seed):
    """The method written out: DDIM with linear guidance, from one CPU generator. (64, 64, 3) int16."""
    from adaface.pipelines.base import ddim

    weights = settings.layer_weights
    pipe, scheduler = personalizer.pipe, ddim(personalizer.pipe.scheduler)
    subjects = {person.name: person.subject_embeds}
    embed = [
        embed_prompt(personalizer.text, pipe.tokenizer, text, names, layer_weights=weights).prompt_embeds
        for text, names in ((settings.negative_prompt or "", {}), (prompt, subjects))
    ]
    scheduler.set_timesteps(settings.steps)
    latents = torch.randn(1, 16, 8, 8, generator=torch.Generator().manual_seed(seed))
    first, last = settings.guidance_scale
    for i, t in enumerate(scheduler.timesteps):
        plain, worded = (pipe.unet(latents, t, encoder_hidden_states=rows).sample for rows in embed)
        scale = first + (last - first) * i / (settings.steps - 1)
        latents = scheduler.step(plain + scale * (worded - plain), t, latents).prev_sample
    image = (pipe.vae.decode(latents / pipe.vae.config.scaling_factor).sample / 2 + 0.5).clamp(0, 1)
    return (image[0].permute(1, 2, 0) * 255).round().to(torch.int16).numpy()


def test_a_picture_is_that_of_the_method_written_out(personalizer, person):
    settings = Settings(
        steps=5, guidance_scale=(4.0, 1.0), layer_weights=(1.0, 1.0), negative_prompt="blue cap"
    )
    options = dataclasses.asdict(settings)
    drawn = personalizer.generate(PROMPT, person, num_images=1, seed=3, **options)
    with torch.inference_mode():
        expected = own_loop(personalizer, PROMPT, person, settings, 3)
    assert np.abs(pixels(drawn)[0] - expected).max() <= 1


def test_the_batch_size_changes_no_picture_by_more_than_one_grey_level(personalizer, person):
    prompts = [PROMPT, "a pencil sketch of <person>"]
    alone, together = (
        personalizer.generate(prompts, person, num_images=3, steps=6, batch_size=size) for size in (1, 6)
    )
    odd = personalizer.generate(prompts, person, num_images=3, steps=6, batch_size=4)
    assert farthest(alone, together) <= 1
    assert farthest(alone, odd) <= 1


def test_picture_k_has_the_seed_plus_k(personalizer, person):
    many = personalizer.generate(PROMPT, person, num_images=3, seed=5)
    single = personalizer.generate(PROMPT, person, num_images=1, seed=7)
    assert many.seeds == (5, 6, 7)
    assert np.abs(pixels(many)[2] - pixels(single)[0]).max() <= 1


def test_the_same_call_gives_the_same_pictures(personalizer, person):
    assert farthest(*(personalizer.generate(PROMPT, person, num_images=2) for _ in range(2))) == 0


def test_pictures_come_prompt_by_prompt_with_what_made_them(personalizer, person):
    made = personalizer.generate(["a man", "<person>"], person, num_images=2, seed=1, steps=2)
    assert made.prompts == ("a man <person>", "a man <person>", "<person>", "<person>")
    assert made.seeds == (1, 2, 1, 2)
    assert [image.size for image in made.images] == [(64, 64)] * 4
    assert made.notes == ("prompt 'a man': <person> put behind 'man'",)
    assert next(made.records()) == {
        "prompt": "a man <person>",
        "seed": 1,
        "settings": made.settings.to_json(),
    }
    assert len(made) == 4


def test_two_threads_with_two_identities_never_mix(personalizer):
    people = [personalizer.identity(id_embedding=tiny.unit_vector(k)) for k in (1, 2)]
    scales = [(4.0, 1.0), (1.0, 3.0)]

    def draw(k):
        return personalizer.generate(
            PROMPT, people[k % 2], num_images=2, steps=8, seed=k, guidance_scale=scales[k % 2]
        )

    alone = [draw(k) for k in range(6)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(draw, range(6)))
    assert [farthest(a, b) for a, b in zip(alone, together, strict=True)] == [0] * 6
    assert farthest(alone[0], alone[1]) > 1


def test_drawing_changes_nothing_in_the_base_model(personalizer, person):
    pipe = personalizer.pipe
    parts = dict(pipe.components)
    weights = {k: v.clone() for k, v in pipe.text_encoder.state_dict().items()}
    vocabulary, config = pipe.tokenizer.get_vocab(), dict(pipe.scheduler.config)
    kept = {
        key: value for key, value in vars(pipe).items() if key.startswith("_") and key != "_internal_dict"
    }
    personalizer.generate(PROMPT, person, num_images=1)
    assert pipe.components == parts
    assert all(torch.equal(v, weights[k]) for k, v in pipe.text_encoder.state_dict().items())
    assert pipe.tokenizer.get_vocab() == vocabulary
    assert dict(pipe.scheduler.config) == config
    assert pipe.scheduler.num_inference_steps is None
    assert {k: v for k, v in vars(pipe).items() if k.startswith("_") and k != "_internal_dict"} == kept


def test_the_stacks_settings_win_over_the_defaults_and_arguments_over_both(personalizer, person):
    from_stack = personalizer.generate(PROMPT, person, num_images=1).settings
    assert (from_stack.steps, from_stack.guidance_scale, from_stack.layer_weights) == (4, (3.0, 1.0), (1.0,))
    assert from_stack.negative_prompt == "sepia"
    given = personalizer.generate(
        PROMPT, person, num_images=1, steps=2, guidance_scale=2, layer_weights=[0, 1], negative_prompt="blue"
    ).settings
    assert (given.steps, given.guidance_scale, given.layer_weights) == (2, (2, 2), (0, 1))
    assert given.negative_prompt == "blue"


def test_without_settings_of_a_stack_the_defaults_count(personalizer, person):
    bare = Personalizer(personalizer.pipe, personalizer.encoder, personalizer.id_prompter)
    assert bare.generate(PROMPT, person, num_images=1, steps=1).settings == Settings(steps=1)


def test_the_negative_prompt_can_be_switched_off(personalizer, person):
    off, empty, on = (
        personalizer.generate(PROMPT, person, num_images=1, negative_prompt=text)
        for text in (None, "", "blue cap")
    )
    assert farthest(off, empty) == 0
    assert farthest(off, on) > 0


def test_guidance_of_one_at_all_steps_draws_without_the_negative_prompt(personalizer, person):
    plain, other = (
        personalizer.generate(PROMPT, person, num_images=1, guidance_scale=(1, 1), negative_prompt=text)
        for text in ("blue", "red")
    )
    nearly = personalizer.generate(PROMPT, person, num_images=1, guidance_scale=(1, 1.000001))
    assert farthest(plain, other) == 0
    assert farthest(plain, nearly) <= 1


@pytest.mark.parametrize("change", [{"id_scale": 2.0}, {"layer_weights": (1.0, 1.0)}, {"steps": 3}])
def test_each_setting_changes_the_picture(personalizer, person, change):
    plain, changed = (personalizer.generate(PROMPT, person, num_images=1, **c) for c in ({}, change))
    assert farthest(plain, changed) > 0


def test_the_id_scale_of_generate_is_that_of_the_encoder(personalizer):
    vector = tiny.unit_vector(4)
    with torch.inference_mode():
        id_prompt = personalizer.id_prompter(torch.from_numpy(vector)[None])
        rows = personalizer.encoder(id_prompt, id_scale=1.7)[0]
    plain, ready = personalizer.identity(id_embedding=vector), Identity("person", rows)
    assert farthest(
        personalizer.generate(PROMPT, plain, num_images=1, id_scale=1.7),
        personalizer.generate(PROMPT, ready, num_images=1, id_scale=1.0),
    ) <= 1  # fmt: skip


def test_an_identity_made_at_another_scale_is_brought_to_the_wanted_one(tiny_stack, personalizer, person):
    double = Personalizer.from_pretrained(tiny_stack, device="cpu", verify=False)
    double.settings = Settings(id_scale=2.0)
    strong = double.identity(id_embedding=person.id_embedding)
    assert strong.provenance["id_scale"] == "2.0"
    assert not torch.equal(strong.subject_embeds, person.subject_embeds)
    assert farthest(
        personalizer.generate(PROMPT, strong, num_images=1, id_scale=1.0),
        personalizer.generate(PROMPT, person, num_images=1),
    ) <= 1  # fmt: skip


def test_an_id_scale_of_zero_is_nobody(personalizer):
    a, b = (personalizer.identity(id_embedding=tiny.unit_vector(k)) for k in (1, 2))
    drawn = [personalizer.generate(PROMPT, one, num_images=1, id_scale=0) for one in (a, b)]
    assert farthest(*drawn) == 0


def test_another_size_can_be_asked_for(personalizer, person):
    assert personalizer.generate(PROMPT, person, num_images=1, width=96).images[0].size == (96, 64)


def test_several_people_stand_in_one_prompt(personalizer):
    alice, bob = (
        personalizer.identity(id_embedding=tiny.unit_vector(k), name=n) for k, n in ((1, "alice"), (2, "bob"))
    )
    both, swapped = (
        personalizer.generate(text, [alice, bob], num_images=1)
        for text in ("<alice> and <bob> in the meadow", "<bob> and <alice> in the meadow")
    )
    assert both.prompts == ("<alice> and <bob> in the meadow",)
    assert farthest(both, swapped) > 0


def test_progress_is_told_step_by_step_over_all_batches(personalizer, person):
    told = []
    personalizer.generate(
        PROMPT, person, num_images=3, batch_size=2, steps=3, on_step=lambda *a: told.append(a)
    )
    assert told == [(k, 6) for k in range(1, 7)]


# --- identities


def test_a_photo_becomes_an_identity_with_its_origin(personalizer, astronaut):
    one = personalizer.identity(astronaut, name="eileen")
    config = personalizer.encoder.config
    assert one.name == "eileen"
    assert one.subject_embeds.shape == (16, 128)
    assert one.id_embedding.shape == (128,)
    assert one.provenance["photos"] == "1"
    assert one.provenance["recognizer"] == "sface"
    assert one.provenance["encoder"] == personalizer.encoder.fingerprint()
    assert one.provenance["base_text_encoder"] == config.base_text_encoder
    assert one.provenance["base_text_encoder"] == text_encoder_fingerprint(personalizer.pipe.text_encoder)
    assert one.provenance["licence"] == f"{config.licence}; {personalizer.analyzer.recognizer.spec.licence}"
    assert {"version", "stack", "id_scale"} <= one.provenance.keys()


def test_a_saved_identity_draws_the_same_pictures(personalizer, person, tmp_path):
    loaded = Identity.load(person.save(tmp_path / "person.safetensors"))
    drawn = [personalizer.generate(PROMPT, one, num_images=1) for one in (person, loaded)]
    assert farthest(*drawn) == 0
    assert drawn[1].notes == ()


def test_photos_left_out_are_told_to_the_log(personalizer, astronaut, caplog, monkeypatch):
    face = personalizer.analyzer.face(astronaut)
    found = PhotoSet(face.id_embedding, (face,), ("a.jpg",), (LeftOut("b.jpg", "no face"),))
    monkeypatch.setattr(personalizer.analyzer, "identity", lambda *_, **__: found)
    with caplog.at_level(logging.WARNING):
        personalizer.identity(["a.jpg", "b.jpg"])
    assert "b.jpg left out: no face" in caplog.text
