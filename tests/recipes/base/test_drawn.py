"""The likeness of what is drawn while a model trains: only the context can say who is drawn."""

import pytest
import torch
from torch.testing import assert_close

from adaface.errors import ConfigError
from adaface.mini import models
from adaface.recipes.base.drawn import APART, draw_latents, two_levels
from adaface.recipes.base.predictions import noise_of
from adaface.training.plan import Part, step_generator

ALPHAS = models.new_scheduler().alphas_cumprod
SHAPE = (4, 2, 2)


class Oracle:
    """A UNet that knows what the picture is to be: the context says it, number by number."""

    def __init__(self):
        self.asked = []

    def __call__(self, latents, timesteps, context):
        self.asked.append((int(timesteps[0]), torch.is_grad_enabled()))
        alpha = ALPHAS[timesteps][:, None, None, None]
        clean = context.reshape(latents.shape)
        noise = (latents - alpha.sqrt() * clean) / (1 - alpha).sqrt()
        return alpha.sqrt() * noise - (1 - alpha).sqrt() * clean


def contexts(count=3):
    return torch.randn(count, 1, 16, generator=torch.Generator().manual_seed(0))


def draw(context, say=None, empty=None, levels=(0.7, 0.3), **options):
    noise = torch.randn(len(context), *SHAPE, generator=torch.Generator().manual_seed(1))
    empty = torch.zeros(1, 1, 16) if empty is None else empty
    return draw_latents(say or Oracle(), "v_prediction", ALPHAS, context, empty, noise, levels, **options)


def test_what_the_context_says_is_drawn():
    context = contexts()
    assert_close(draw(context, guidance=1.0), context.view(3, *SHAPE), atol=1e-4, rtol=0)


def test_guidance_goes_beyond_it_away_from_the_empty_context():
    context, empty = contexts(), torch.ones(1, 1, 16)
    drawn, plain = (draw(context, empty=empty, guidance=guidance) for guidance in (2.0, 1.0))
    beyond = ((drawn - plain) * (context - empty).view(3, *SHAPE)).flatten(1).sum(1)
    assert (beyond > 0).all()


def test_a_unet_that_says_the_noise_draws_the_same():
    oracle = Oracle()

    def noise(latents, timesteps, context):
        return noise_of("v_prediction", latents, oracle(latents, timesteps, context), ALPHAS[timesteps])

    context, gaussian = contexts(), torch.randn(3, *SHAPE, generator=torch.Generator().manual_seed(1))
    alphas = ALPHAS.clamp_min(1e-3)  # at no signal at all, noise says nothing
    drawn = draw_latents(
        noise, "epsilon", alphas, context, torch.zeros(1, 1, 16), gaussian, (0.7, 0.3), guidance=1.0
    )
    assert_close(drawn, context.view(3, *SHAPE), atol=1e-3, rtol=0)


def test_without_the_layout_gradients_flow_through_the_last_prediction_alone():
    def gradients(**given):
        context = contexts().requires_grad_()
        drawn = draw(context, **given)
        drawn.sum().backward()
        return drawn, context.grad

    (drawn, full), (some, part) = gradients(), gradients(layout=torch.tensor([True, False, True]))
    assert_close(some, drawn)  # the pictures are the same
    assert_close(part[[0, 2]], full[[0, 2]])
    last = gradients(layout=torch.zeros(3, dtype=torch.bool))[1]
    assert_close(part[1], last[1])
    assert (full[1] - part[1]).abs().min() > 1e-3


def test_gradients_flow_through_the_last_two_predictions_and_into_the_context_alone():
    unet, empty = Oracle(), torch.zeros(1, 1, 16, requires_grad=True)
    context = contexts().requires_grad_()
    draw(context, unet, empty).sum().backward()
    assert context.grad.abs().min() > 0
    assert empty.grad is None
    assert [timestep for timestep, enabled in unet.asked if enabled] == [700, 300]
    assert unet.asked[0] == (len(ALPHAS) - 1, False)


def test_the_two_levels_are_drawn_apart():
    generator = torch.Generator().manual_seed(0)
    pairs = [two_levels(generator) for _ in range(500)]
    assert all(0.12 <= low <= high - APART + 1e-6 and 0.45 <= high <= 0.95 for high, low in pairs)
    assert len({high for high, _ in pairs}) > 450


# --- as a term of a recipe

KINDS = {
    "reconstruct": {},
    "distill_identity": {"random_share": 1.0, "rollout_steps": [1], "rollout_shares": [1]},
}


@pytest.fixture
def asked(monkeypatch):
    """Who was asked for, and in what pictures; likeness is the pictures' mean."""
    found = []

    def mean_of(recognizer, pictures, ids, mean, seeds):
        found.append((pictures, ids))
        return pictures.mean((1, 2, 3))

    monkeypatch.setattr("adaface.recipes.base.drawn.likeness", mean_of)
    return found


def plan_of(recipe, step=1):
    return recipe.draw(step, step_generator(0, step), 0.0)


@pytest.mark.parametrize("name", KINDS)
def test_what_a_step_draws_is_to_be_like_its_people(opened, asked, name):
    recipe = opened(recipe=name, batch=3, likeness_weight=0.5, likeness_share=1.0, **KINDS[name])
    plan = plan_of(recipe)
    assert recipe.kind(plan).endswith(", likeness of a drawing")
    term = recipe.loss(plan, Part())["likeness"]
    [(pictures, ids)] = asked
    assert_close(term, 0.5 * (1 - pictures.mean()))
    batch = recipe.photos.batch(
        [recipe.photos.read(*pair) for pair in zip(plan.rows, plan.seeds, strict=True)]
    )
    whose = batch.faces if name == "reconstruct" else recipe.step.faces(plan.coins, batch)[0]
    assert_close(ids, whose)
    term.backward()
    assert any(weight.grad.abs().max() > 0 for weight in recipe.models.encoder.parameters())
    assert all(weight.grad is None for part in recipe.frozen.values() for weight in part.parameters())


def test_the_likeness_of_a_batch_is_the_mean_of_its_parts(opened, asked):
    recipe = opened(batch=3, likeness_weight=0.5, likeness_share=1.0)
    plan = plan_of(recipe)
    whole, *parts = (
        recipe.loss(plan, part)["likeness"].detach() for part in (Part(), *(Part(k, 3) for k in range(3)))
    )
    assert_close(sum(parts) / 3, whole, atol=1e-5, rtol=0)
    assert max(parts) - min(parts) > 1e-4


def test_a_share_of_the_steps_draws_and_none_of_validation(opened):
    recipe = opened(likeness_weight=0.5, likeness_share=0.25)
    drawn = ["likeness" in plan_of(recipe, step).coins for step in range(1, 801)]
    assert sum(drawn) / 800 == pytest.approx(0.25, abs=0.05)
    assert not any("likeness" in plan_of(recipe, -step).coins for step in range(100))


def test_without_a_weight_nothing_is_drawn_and_no_coin_is_tossed(opened):
    recipe, other = opened(), opened(likeness_weight=0.5, likeness_share=0.0)
    assert plan_of(recipe).coins == plan_of(other).coins == {"template": plan_of(recipe).coins["template"]}
    assert recipe.kind(plan_of(recipe)) == "step"
    assert set(recipe.loss(plan_of(recipe), Part())) == {"reconstruct"}
    assert "recognizer" in other.frozen and "recognizer" not in recipe.frozen


def test_likeness_by_a_recogniser_without_gradients_is_told_before_the_first_step(opened, monkeypatch):
    monkeypatch.setattr("adaface.recipes.base.likeness.recognizer_name", lambda stack: "arcface")
    with pytest.raises(ConfigError, match='stack "tiny" has "arcface".*likeness_weight=0'):
        opened(likeness_weight=0.5)
