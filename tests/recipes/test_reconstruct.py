"""The recipe by itself: its plans, its loss, what it trains and what it leaves alone."""

import dataclasses

import pytest
import torch
from torch.testing import assert_close

from adaface.encoder.inverse import AdaFaceEncoder
from adaface.errors import ConfigError, MissingFileError, WrongModelError, WrongRecognizerError
from adaface.prompt.embedding import embed_prompt
from adaface.recipes.base.photos import noisy_id
from adaface.recipes.base.recipe import PhotoRecipe
from adaface.recipes.reconstruct import Reconstruct
from adaface.recipes.registry import open_recipe
from adaface.training.plan import Part, StepPlan, step_generator
from tiny_recipe import small


@pytest.fixture(scope="module")
def recipe(tiny_stack, faces):
    """A recipe for tests that change nothing of it."""
    opened = open_recipe(small(tiny_stack, faces, batch=6), torch.device("cpu"))
    yield opened
    opened.close()


def plan_of(recipe, step=1):
    return recipe.draw(step, step_generator(0, step), 0.0)


def whole(recipe, plan, part=None):
    return recipe.loss(plan, part or Part())["reconstruct"]


def test_a_plan_is_the_same_each_time_and_another_in_each_step(recipe):
    assert plan_of(recipe, 1) == plan_of(recipe, 1)
    assert plan_of(recipe, 1).rows != plan_of(recipe, 2).rows


def test_a_plan_read_back_from_json_gives_the_same_loss(recipe):
    plan = plan_of(recipe)
    again = StepPlan.from_json(plan.to_json())
    assert_close(whole(recipe, again), whole(recipe, plan), rtol=0, atol=0)


def test_the_parts_mean_is_the_whole_batch(recipe):
    plan = plan_of(recipe)
    parts = [whole(recipe, plan, Part(index, 3)) for index in range(3)]
    assert_close(sum(parts) / 3, whole(recipe, plan))


@pytest.mark.parametrize("count", [2, 3, 6])
def test_gradients_of_parts_are_those_of_the_whole_batch(opened, count):
    """To 1e-5, though the masks' areas differ: a mean over a part's places would weigh them otherwise."""
    recipe = opened(batch=6)
    plan = plan_of(recipe)
    areas = [
        float(recipe.photos.read(row, seed).weight.sum())
        for row, seed in zip(plan.rows, plan.seeds, strict=True)
    ]
    assert max(areas) > 1.2 * min(areas)

    def gradients(parts):
        recipe.models.encoder.zero_grad()
        for index in range(parts):
            (whole(recipe, plan, Part(index, parts)) / parts).backward()
        return torch.cat([p.grad.flatten() for p in recipe.models.encoder.parameters() if p.grad is not None])

    one, many = gradients(1), gradients(count)
    assert one.norm() > 0
    assert (many - one).norm() < 1e-5 * one.norm()


def test_reading_ahead_changes_nothing(recipe):
    plan = plan_of(recipe)
    late = whole(recipe, plan)
    recipe.prepare(plan, Part())
    assert_close(whole(recipe, plan), late, rtol=0, atol=0)


def test_only_the_encoder_gets_gradients(opened):
    recipe = opened()
    whole(recipe, plan_of(recipe)).backward()
    assert all(p.grad is not None for p in recipe.models.encoder.layers.parameters())
    assert [p for part in recipe.frozen.values() for p in part.parameters() if p.grad is not None] == []


def test_a_step_s_own_models_are_among_those_that_are_not_trained(opened, settings):
    class Taught(Reconstruct):
        frozen = property(lambda self: {"teacher": torch.nn.Linear(2, 2)})

    plain = opened()
    taught = PhotoRecipe(settings(), Taught, plain.models, plain.dataset)
    assert taught.frozen.keys() - plain.frozen.keys() == {"teacher"}
    assert taught.modules.keys() == {"encoder"}
    taught.close()


def test_a_step_knows_the_seed_of_each_sample(recipe):
    plan = plan_of(recipe)
    drawn = [recipe.photos.read(row, seed) for row, seed in zip(plan.rows, plan.seeds, strict=True)]
    batch = recipe.photos.batch(drawn)
    assert (batch.seeds, len(batch)) == (plan.seeds, len(plan.rows))


def test_some_steps_bring_the_loss_of_the_same_draw_down(opened):
    recipe = opened(init_from="none")
    before = recipe.validate()
    optimizer = torch.optim.AdamW(recipe.models.encoder.parameters(), 1e-3)
    for step in range(1, 9):
        optimizer.zero_grad()
        whole(recipe, plan_of(recipe, step)).backward()
        optimizer.step()
    assert recipe.validate() < before


def test_pictures_become_latents_when_they_are_asked_for_and_once(recipe, monkeypatch):
    plan, asked = plan_of(recipe), []
    denoiser = recipe.models.denoiser
    encode = denoiser.encode
    monkeypatch.setattr(denoiser, "encode", lambda *given: asked.append(1) or encode(*given))
    pairs = zip(plan.rows, plan.seeds, strict=True)
    batch = recipe.photos.batch([recipe.photos.read(row, seed) for row, seed in pairs])
    assert not asked
    assert batch.latents is batch.latents
    assert len(asked) == 1


def test_the_foreground_is_the_person_alone(recipe):
    plan = plan_of(recipe)
    batch = recipe.photos.batch([recipe.photos.read(plan.rows[0], plan.seeds[0])])
    background = recipe.config.background_weight
    assert_close(batch.weight, batch.foreground + background * (batch.valid - batch.foreground))
    assert 0 < batch.foreground.sum() < batch.valid.sum()


def test_validating_twice_gives_the_same_number(recipe):
    assert recipe.validate() == recipe.validate()


def test_without_validation_nothing_is_known(opened):
    assert opened(validation=0).validate() is None


def test_the_names_of_a_plan_are_the_keys_of_its_photos(recipe):
    plan = plan_of(recipe)
    assert recipe.names(plan) == [recipe.dataset.key(row) for row in plan.rows]


def test_a_filled_prompt_is_what_the_command_line_would_make_of_it(recipe):
    rows = torch.randn(2, 16, 128, generator=torch.Generator().manual_seed(0))
    prompts = recipe.models.denoiser.prompts
    made = prompts(["a photo of {subject}, a woman", "{subject} in a meadow"], rows)
    texts = ["a photo of <person>, a woman", "<person> in a meadow"]
    for feature, text, subject in zip(made, texts, rows, strict=True):
        stock = embed_prompt(prompts.text, prompts.tokenizer, text, {"person": subject})
        assert_close(feature[None], stock.prompt_embeds)


def test_a_prompt_is_read_with_layer_weights_of_its_own_or_the_stack_s(recipe):
    prompts, rows = recipe.models.denoiser.prompts, torch.zeros(1, 16, 128)
    usual, other = (prompts(["a {subject}"], rows, weights) for weights in (None, (1.0, 3.0)))
    assert_close(prompts(["a {subject}"], rows, prompts.layer_weights), usual)
    assert (other - usual).abs().max() > 0.01
    stock = embed_prompt(
        prompts.text, prompts.tokenizer, "a <person>", {"person": rows[0]}, layer_weights=(1.0, 3.0)
    )
    assert_close(other, stock.prompt_embeds)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
def test_the_target_is_what_leads_back_to_the_clean_latents(opened, kind):
    denoiser = opened().models.denoiser
    denoiser.scheduler.register_to_config(prediction_type=kind)
    clean, noise = torch.randn(2, 1, 16, 8, 8, generator=torch.Generator().manual_seed(0))
    level = torch.tensor([400])
    noisy, target = denoiser.noisy(clean, noise, level), denoiser.target(clean, noise, level)
    denoiser.scheduler.set_timesteps(1000)
    back = denoiser.scheduler.step(target, 400, noisy).pred_original_sample
    assert_close(back, clean, rtol=1e-3, atol=1e-3)
    assert_close(denoiser.clean(noisy, target, level), clean, rtol=1e-3, atol=1e-3)


def test_photos_of_another_size_are_brought_to_the_base_s(opened, tmp_path):
    from tiny_data import write_tiny_data

    recipe = opened(data=str(write_tiny_data(tmp_path / "large", size=96)))
    assert recipe.photos.read(0, 1).picture.shape == (3, 64, 64)
    assert whole(recipe, plan_of(recipe)).isfinite()


def test_a_photo_without_a_mask_counts_as_a_whole(opened, tmp_path):
    from tiny_data import write_tiny_data

    data = str(write_tiny_data(tmp_path / "bare", masks=False))
    recipe = opened(data=data, scale=[1.0, 1.0])
    assert recipe.photos.read(0, 1).weight.min() == 1


def test_id_noise_keeps_the_length_and_moves_by_its_strength():
    face = torch.nn.functional.normalize(torch.randn(512, generator=torch.Generator().manual_seed(0)), dim=0)
    moved = noisy_id(face, (0.05, 0.05), 1.0, torch.Generator().manual_seed(1))
    assert_close(moved.norm(), face.norm())
    assert 0.02 < (moved - face).norm() < 0.08


def test_id_noise_spares_the_others():
    face = torch.ones(4) / 2
    assert noisy_id(face, (0.5, 0.5), 0.0, torch.Generator().manual_seed(1)) is face


def test_the_grid_shows_the_same_people_the_same_way_each_time(recipe):
    first, second = recipe.sample(), recipe.sample()
    assert first.tobytes() == second.tobytes()
    assert first.width > 2 * 128 and first.height > 2 * 128


def test_the_grid_shows_different_people_where_there_are_enough(opened):
    recipe = opened(samples={"people": 3})
    assert len({int(recipe.dataset.person_of[row]) for row in recipe.photos.shown(3)}) == 3


def test_a_folder_of_many_people_fills_the_grid_with_its_photos(opened, tmp_path):
    from tiny_data import write_tiny_data

    data = str(write_tiny_data(tmp_path / "mixed", people=1, photos=5, mixed=1))
    assert len(set(opened(data=data, samples={"people": 4}).photos.shown(4))) == 4


def test_no_people_means_no_grid(opened):
    assert opened(samples={"people": 0}).sample() is None


# where the encoder starts


def test_without_init_from_the_encoder_is_a_copy_of_the_text_encoder(opened):
    recipe = opened(init_from="none")
    stock = AdaFaceEncoder.from_text_encoder(recipe.models.pipe.text_encoder, recipe.models.pipe.tokenizer)
    assert recipe.models.encoder.fingerprint() == stock.fingerprint()


def test_keys_and_values_are_expanded_without_changing_what_is_said(opened, recipe):
    wide = opened(batch=6, kv_multipliers=[4], kv_noise=0.0)
    assert wide.models.encoder.config.multipliers == (4, 4)
    assert_close(whole(wide, plan_of(recipe)), whole(recipe, plan_of(recipe)))


def test_expanding_nobody_is_a_mistake(opened):
    with pytest.raises(ConfigError, match=r"kv_multipliers=\[4\].*init_from"):
        opened(init_from="none", kv_multipliers=[4])


def test_an_encoder_folder_that_is_none_is_named(opened, tmp_path):
    with pytest.raises(MissingFileError, match="init_from=.*no encoder in it"):
        opened(init_from=str(tmp_path))


def test_an_encoder_of_another_width_is_refused(opened, tmp_path):
    from adaface.encoder.config import AdaFaceEncoderConfig

    config = AdaFaceEncoderConfig(width=32, layers=3, heads=2, mlp_width=32)
    AdaFaceEncoder(config).save_pretrained(tmp_path / "narrow")
    with pytest.raises(WrongModelError, match="32 wide.*reads 128"):
        opened(init_from=str(tmp_path / "narrow"))


def test_what_is_exported_says_what_it_was_trained_for(recipe, tmp_path):
    recipe.export(tmp_path)
    config = AdaFaceEncoder.from_pretrained(tmp_path / "encoder").config
    assert (config.recognizer, config.licence) == ("sface", "MIT")
    assert config.base_text_encoder.startswith("sha256:")


# what does not fit


def test_no_data_names_the_command_that_makes_some(opened):
    with pytest.raises(ConfigError, match="adaface prepare"):
        opened(data="none")


def test_embeddings_of_another_recogniser_are_refused(opened, faces, monkeypatch):
    from adaface.recipes.base import opening

    class Foreign(opening.FaceDataset):
        def __init__(self, folder):
            super().__init__(folder)
            self.recognizer = "another"

    monkeypatch.setattr(opening, "FaceDataset", Foreign)
    with pytest.raises(WrongRecognizerError, match='"another"'):
        opened()


def test_a_template_that_is_too_long_is_told_before_the_first_step(opened):
    with pytest.raises(ConfigError, match="text positions of 64"):
        opened(templates=["a " * 60 + "{subject}"])


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"templates": ["a photo"]}, "each with one {subject}"),
        ({"balance": 2}, "balance=2"),
        ({"scale": [0.0, 1.0]}, "a scale above 0"),
        ({"id_noise": [0.2, 0.1]}, "the least and the most"),
        ({"kv_multipliers": [0]}, "whole numbers from 1"),
        ({"batch": 0}, "batch of 1 or more"),
        ({"workers": -1}, "workers=-1"),
        ({"samples": {"people": -1}}, "people=-1"),
        ({"likeness_weight": -1}, "likeness_weight=-1"),
        ({"likeness_share": 1.5}, "likeness_share=1.5"),
    ],
)
def test_a_setting_out_of_range_says_what_would_do(settings, wrong, told):
    with pytest.raises(ConfigError) as caught:
        settings(**wrong)
    assert told in str(caught.value)


def test_the_settings_are_frozen(settings):
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings().batch = 3


def test_gradient_checkpointing_changes_no_gradient(opened, recipe):
    thrifty = opened(batch=6, gradient_checkpointing=True)
    for one in (recipe, thrifty):
        one.models.encoder.zero_grad()
        whole(one, plan_of(recipe)).backward()
    pairs = zip(recipe.models.encoder.parameters(), thrifty.models.encoder.parameters(), strict=True)
    assert all(torch.allclose(a.grad, b.grad, rtol=1e-4, atol=1e-7) for a, b in pairs if a.grad is not None)


def test_frozen_models_in_half_precision_still_give_the_encoder_full_gradients(opened):
    recipe = opened(frozen="bf16")
    assert recipe.models.denoiser.unet.dtype == torch.bfloat16
    whole(recipe, plan_of(recipe)).backward()
    grads = [p.grad for p in recipe.models.encoder.layers.parameters()]
    assert all(grad.dtype == torch.float32 and grad.isfinite().all() for grad in grads)
    assert recipe.sample() is not None


def test_arithmetic_in_bfloat16_says_almost_the_same(recipe):
    plan = plan_of(recipe)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = whole(recipe, plan)
    assert rounded.dtype == torch.float32
    assert_close(rounded, whole(recipe, plan), rtol=0.03, atol=0.0)


@pytest.mark.gpu
def test_a_gpu_says_what_the_cpu_says(recipe, tiny_stack, faces):
    other = open_recipe(small(tiny_stack, faces, batch=6, frozen="fp32"), torch.device("cuda"))
    loss = whole(other, plan_of(recipe))
    loss.backward()
    assert_close(loss.cpu(), whole(recipe, plan_of(recipe)), rtol=1e-2, atol=0.0)
    assert other.sample() is not None
    other.close()
