"""What a diffusion model says, in other words."""

import pytest
import torch
from torch.testing import assert_close

from adaface.mini import models
from adaface.recipes.base.predictions import KINDS, clean_of, converted, ddim_step, noise_of

ALPHAS = torch.tensor([0.9, 0.36, 0.01])


def said():
    """Noisy latents of three noise levels, and the true answer of each kind."""
    clean, noise = torch.randn(2, 3, 4, 2, 2, generator=torch.Generator().manual_seed(0))
    signal, rest = ALPHAS.sqrt()[:, None, None, None], (1 - ALPHAS).sqrt()[:, None, None, None]
    answers = {"epsilon": noise, "v_prediction": signal * noise - rest * clean, "sample": clean}
    return signal * clean + rest * noise, answers


@pytest.mark.parametrize("kind", KINDS)
def test_a_true_answer_leads_back_to_the_latents_and_to_the_noise(kind):
    noisy, answers = said()
    assert_close(clean_of(kind, noisy, answers[kind], ALPHAS), answers["sample"], rtol=1e-4, atol=1e-4)
    assert_close(noise_of(kind, noisy, answers[kind], ALPHAS), answers["epsilon"], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("given", KINDS)
@pytest.mark.parametrize("wanted", KINDS)
def test_an_answer_of_any_kind_becomes_one_of_any_other(given, wanted):
    noisy, answers = said()
    made = converted(noisy, answers[given], ALPHAS, given=given, wanted=wanted)
    assert_close(made, answers[wanted], rtol=1e-4, atol=1e-4)


def test_an_answer_of_the_wanted_kind_is_handed_on():
    noisy, _ = said()
    assert converted(noisy, noisy, ALPHAS, given="epsilon", wanted="epsilon") is noisy


@pytest.mark.parametrize("kind", KINDS)
def test_a_ddim_step_is_diffusers_own(kind):
    from diffusers import DDIMScheduler

    given = {**models.new_scheduler().config, "prediction_type": kind, "clip_sample": False}
    scheduler = DDIMScheduler.from_config(given, timestep_spacing="leading")
    scheduler.set_timesteps(50)
    alphas = scheduler.alphas_cumprod
    latents, said = torch.randn(2, 2, 4, 2, 2, generator=torch.Generator().manual_seed(0))
    now = int(scheduler.timesteps[10])
    then = now - len(alphas) // 50
    theirs = scheduler.step(said, now, latents, eta=0.0).prev_sample
    assert_close(ddim_step(kind, latents, said, alphas[now], alphas[then]), theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_ddim_step_of_true_answers_leads_to_the_same_latents_with_less_noise(kind):
    """Each sample from its own level, to one nearer to the clean latents; to these at 1."""
    noisy, answers = said()
    then = torch.tensor([0.95, 0.5, 0.2])
    signal, rest = then.sqrt()[:, None, None, None], (1 - then).sqrt()[:, None, None, None]
    wanted = signal * answers["sample"] + rest * answers["epsilon"]
    assert_close(ddim_step(kind, noisy, answers[kind], ALPHAS, then), wanted, rtol=1e-4, atol=1e-4)
    clean = ddim_step(kind, noisy, answers[kind], ALPHAS, torch.tensor(1.0))
    assert_close(clean, answers["sample"], rtol=1e-4, atol=1e-4)


def test_numbers_by_hand():
    """a = 0.36: sqrt 0.6 and 0.8. Velocity 1 at latents 2: clean 0.6 * 2 - 0.8, noise 0.8 * 2 + 0.6."""
    two, one = torch.full((1, 1, 1, 1), 2.0), torch.ones(1, 1, 1, 1)
    level = torch.tensor([0.36])
    assert_close(float(clean_of("v_prediction", two, one, level)), 0.4)
    assert_close(float(noise_of("v_prediction", two, one, level)), 2.2)
    assert_close(float(clean_of("epsilon", two, one, level)), 2.0)


def test_answers_in_half_precision_are_read_in_float32():
    noisy = torch.ones(1, 1, 1, 1, dtype=torch.bfloat16)
    assert clean_of("v_prediction", noisy, noisy, torch.tensor([0.5])).dtype == torch.float32
