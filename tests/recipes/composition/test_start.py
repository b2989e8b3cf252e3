"""Where a compositional step begins: drawings that are cut short, and photos on noise."""

import pytest
import torch
from torch.testing import assert_close

from adaface.recipes.base.predictions import clean_of
from adaface.recipes.composition.start import guided, on_noise, primed

ALPHAS = torch.linspace(0.999, 0.001, 100)


class Oracle:
    """A denoiser that knows what the picture is to be: the context says it."""

    prediction_type, alphas, steps = "epsilon", ALPHAS, 100

    def __init__(self):
        self.asked = []

    def predict(self, noisy, timesteps, context):
        self.asked.append((int(timesteps[0]), len(noisy), torch.is_grad_enabled()))
        alpha = ALPHAS[timesteps][:, None, None, None]
        return (noisy - alpha.sqrt() * context.reshape(noisy.shape)) / (1 - alpha).sqrt()

    def clean(self, noisy, prediction, timesteps):
        return clean_of("epsilon", noisy, prediction, ALPHAS[timesteps])


def contexts(count=2):
    return torch.randn(2, count, 1, 16, generator=torch.Generator().manual_seed(0))


def start(oracle, shares=(0.0, 1.0), guidance=1.0):
    noise = torch.randn(2, 4, 2, 2, generator=torch.Generator().manual_seed(1))
    return primed(oracle, contexts(), shares, torch.zeros(1, 1, 16), noise, steps=3, guidance=guidance)


def test_a_drawing_goes_towards_what_its_context_says():
    assert_close(start(Oracle()), contexts()[1].view(2, 4, 2, 2), atol=1e-3, rtol=0)


def test_two_contexts_are_mixed_by_their_shares():
    one, other = contexts().view(2, 2, 4, 2, 2)
    assert_close(start(Oracle(), (0.25, 0.75)), 0.25 * one + 0.75 * other, atol=1e-3, rtol=0)


def test_a_context_of_no_share_is_not_asked_for_and_nothing_has_gradients():
    oracle = Oracle()
    start(oracle)
    assert oracle.asked == [(99, 4, False), (66, 4, False), (33, 4, False)]
    start(oracle, (0.5, 0.5))
    assert oracle.asked[-1][1] == 6


def test_guidance_goes_away_from_the_empty_context():
    oracle, context = Oracle(), contexts()[1]
    noisy, timesteps = torch.zeros(2, 4, 2, 2), torch.tensor([50, 50])
    said = [
        guided(oracle, noisy, timesteps, [context], torch.zeros(1, 1, 16), scale)[0]
        for scale in (0.0, 1.0, 3.0)
    ]
    assert_close(said[2], 3 * said[1] - 2 * said[0])


def test_several_contexts_are_asked_in_one_pass_and_answered_each():
    oracle, both = Oracle(), contexts()
    noisy, timesteps, empty = torch.ones(2, 4, 2, 2), torch.tensor([50, 20]), torch.zeros(1, 1, 16)
    together = guided(oracle, noisy, timesteps, list(both), empty, 2.0)
    assert [count for _, count, _ in oracle.asked] == [6]
    for said, context in zip(together, both, strict=True):
        assert_close(said, guided(oracle, noisy, timesteps, [context], empty, 2.0)[0])


def photo(share):
    """Latents of ones with a face of that share of the places, in the middle rows."""
    face = torch.zeros(1, 1, 10, 10)
    face[:, :, : round(10 * share)] = 1
    return torch.ones(1, 2, 10, 10), face


def test_beside_the_person_there_is_noise():
    latents, face = photo(0.1)
    noise = torch.full_like(latents, -3.0)
    made = on_noise(latents, face, noise, torch.ones(1), torch.zeros(1))
    assert made[0, 0, 0].tolist() == [1.0] * 10  # a small face stays as large as it is
    assert made[0, 0, 1:].eq(-3).all()


def test_a_large_face_is_made_smaller():
    latents, face = photo(1.0)
    noise = torch.zeros_like(latents)
    made = on_noise(latents, face, noise, torch.ones(1), torch.zeros(1))
    seen = float(made.mean())
    assert seen == pytest.approx((0.1**0.35) ** 2, abs=0.1)  # 0.45 of a side
    whole = on_noise(latents, face, noise, torch.zeros(1), torch.zeros(1))
    assert_close(whole, latents)


def test_noise_all_over_keeps_the_variance():
    latents, noise = torch.randn(2, 4, 8, 32, 32, generator=torch.Generator().manual_seed(0))
    face = torch.ones(4, 1, 32, 32)
    made = on_noise(latents, face, noise, torch.zeros(4), torch.full((4,), 0.4))
    assert float(made.var()) == pytest.approx(1, abs=0.03)
    assert float((made * noise).mean()) == pytest.approx(0.4**0.5, abs=0.03)


def test_each_sample_is_its_own():
    latents, noise = torch.randn(2, 3, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    face = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    shrink, share = torch.tensor([0.0, 0.5, 1.0]), torch.tensor([0.1, 0.2, 0.3])
    together = on_noise(latents, face, noise, shrink, share)
    alone = [
        on_noise(*(value[k : k + 1] for value in (latents, face, noise, shrink, share))) for k in range(3)
    ]
    assert_close(together, torch.cat(alone))
