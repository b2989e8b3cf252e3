"""The likeness of what is drawn while a model trains: only the context can say who is drawn."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import normalize
from torch.testing import assert_close

from adaface.face.differentiable.network import SFace, embed
from adaface.mini import models
from adaface.recipes.base.drawn import APART, _timesteps, changed, draw_latents, landmarks_in, likeness
from adaface.recipes.base.predictions import ddim_step

ALPHAS = models.new_scheduler().alphas_cumprod
SHAPE = (4, 2, 2)


class Oracle:
    """A UNet that knows what the picture is to be: the context says it, number by number."""

    config = SimpleNamespace(sample_size=2, in_channels=4)

    def __init__(self):
        self.asked = []

    def __call__(self, latents, timestep, context):
        self.asked.append((timestep, torch.is_grad_enabled()))
        alpha = ALPHAS[timestep]
        clean = context.reshape(latents.shape)
        noise = (latents - alpha.sqrt() * clean) / (1 - alpha).sqrt()
        return SimpleNamespace(sample=alpha.sqrt() * noise - (1 - alpha).sqrt() * clean)


def contexts(count=3):
    return torch.randn(count, 1, 16, generator=torch.Generator().manual_seed(0))


def test_what_the_context_says_is_drawn():
    context = contexts()
    drawn = draw_latents(Oracle(), ALPHAS, context, torch.zeros(1, 1, 16), torch.Generator(), guidance=1.0)
    assert_close(drawn, context.view(3, *SHAPE), atol=1e-4, rtol=0)


def test_guidance_goes_beyond_it_away_from_the_empty_context():
    context, empty = contexts(), torch.ones(1, 1, 16)
    drawn = draw_latents(Oracle(), ALPHAS, context, empty, torch.Generator().manual_seed(1), guidance=2.0)
    plain = draw_latents(Oracle(), ALPHAS, context, empty, torch.Generator().manual_seed(1), guidance=1.0)
    beyond = ((drawn - plain) * (context - empty).view(3, *SHAPE)).flatten(1).sum(1)
    assert (beyond > 0).all()


def test_without_the_layout_gradients_flow_through_the_last_prediction_alone():
    empty = torch.zeros(1, 1, 16)

    def gradients(**given):
        context = contexts().requires_grad_()
        drawn = draw_latents(Oracle(), ALPHAS, context, empty, torch.Generator().manual_seed(2), **given)
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
    draw_latents(unet, ALPHAS, context, empty, torch.Generator().manual_seed(2)).sum().backward()
    assert context.grad.abs().min() > 0
    assert empty.grad is None
    with_gradients = [timestep for timestep, enabled in unet.asked if enabled]
    assert len(with_gradients) == 2
    assert with_gradients == sorted({t for t, _ in unet.asked})[1::-1]
    assert unet.asked[0] == (len(ALPHAS) - 1, False)


def test_the_two_timesteps_are_drawn_apart():
    generator = torch.Generator().manual_seed(0)
    pairs = [_timesteps(generator) for _ in range(500)]
    assert all(120 <= low <= high - APART + 1 and 450 <= high <= 950 for high, low in pairs)
    assert len({high for high, _ in pairs}) > 250


def test_a_ddim_step_is_diffusers_own():
    from diffusers import DDIMScheduler

    scheduler = DDIMScheduler.from_config(models.new_scheduler().config, timestep_spacing="leading")
    scheduler.set_timesteps(50)
    latents, velocity = torch.randn(2, 4, 2, 2), torch.randn(2, 4, 2, 2)
    now = int(scheduler.timesteps[10])
    then = now - len(ALPHAS) // 50
    theirs = scheduler.step(velocity, now, latents, eta=0.0).prev_sample
    ours = ddim_step("v_prediction", latents, velocity, ALPHAS[now], ALPHAS[then])
    assert_close(ours, theirs, atol=1e-5, rtol=0)


# --- likeness


@pytest.fixture(scope="module")
def picture():
    """The astronaut's face as a training picture: (1, 3, 64, 64) in -1..1."""
    from skimage import data

    face = Image.fromarray(data.astronaut()).crop((130, 10, 320, 200)).resize((64, 64))
    return torch.from_numpy(np.array(face)).permute(2, 0, 1)[None].float() / 127.5 - 1


def somebody():
    """An ID embedding (1, 128) of nobody in particular."""
    return normalize(torch.randn(1, 128, generator=torch.Generator().manual_seed(0)))


def test_a_picture_is_most_like_its_own_person_and_gains_by_what_sets_them_apart(picture):
    recognizer = SFace()
    landmarks, rows = landmarks_in(picture)
    assert rows.tolist() == [0]
    own = embed(recognizer, picture, landmarks)
    nobody = torch.zeros(128)
    assert float(likeness(recognizer, picture, own, nobody)) == pytest.approx(1, abs=1e-4)
    assert float(likeness(recognizer, picture, somebody(), nobody)) < 0.5
    assert float(likeness(recognizer, picture, own, own[0])) == pytest.approx(0, abs=1e-4)


def test_likeness_gives_gradients_to_the_picture(picture):
    recognizer, leaf = SFace(), picture.clone().requires_grad_()
    likeness(recognizer, leaf, somebody(), torch.zeros(128)).sum().backward()
    assert leaf.grad.abs().max() > 0


def test_a_face_that_is_a_little_changed_stays_the_same_persons(picture):
    recognizer, landmarks = SFace(), landmarks_in(picture)[0]
    own, generator = embed(recognizer, picture, landmarks), torch.Generator().manual_seed(0)
    seen = [changed(picture, landmarks, generator) for _ in range(12)]
    likenesses = [float((embed(recognizer, *one) * own).sum()) for one in seen]
    assert min(likenesses) > 0.5
    assert len({round(value, 4) for value in likenesses}) == 12


def test_half_of_the_changed_pictures_are_mirrored_with_their_landmarks():
    pictures = torch.zeros(40, 3, 64, 64)
    pictures[..., :32] = 1  # left half white
    landmarks = torch.tensor([[8.0, 20], [24, 20], [16, 30], [10, 40], [22, 40]]).expand(40, -1, -1)
    seen, marks = changed(pictures, landmarks, torch.Generator().manual_seed(0))
    white_on_the_right = seen[..., 32:].mean((1, 2, 3)) > seen[..., :32].mean((1, 2, 3))
    assert 10 < int(white_on_the_right.sum()) < 30
    assert torch.equal(marks[..., 0].mean(1) > 32, white_on_the_right)
    assert (marks[:, 0, 0] < marks[:, 1, 0]).all()  # the first eye stays the left one in the picture
    assert float((pictures[..., :32] - 1).abs().max()) == 0  # the given ones stay


def test_a_picture_without_a_face_has_no_likeness(picture):
    recognizer, blank = SFace(), torch.zeros(1, 3, 64, 64)
    landmarks, _ = landmarks_in(picture)
    own = embed(recognizer, picture, landmarks)
    assert likeness(recognizer, blank, own, torch.zeros(128)).tolist() == [0]
    both = likeness(recognizer, torch.cat([blank, picture]), own.expand(2, -1), torch.zeros(128))
    assert both.tolist() == pytest.approx([0, 1], abs=1e-4)
