"""What cross-attention sees, recorded from outside, and a UNet that is left as it was."""

import pytest
import torch
from torch.testing import assert_close

from adaface.errors import ConfigError
from adaface.pipelines.base import load_base
from adaface.recipes.composition.capture import Capture


@pytest.fixture(scope="module")
def unet(tiny_stack):
    """The tiny stack's UNet."""
    from adaface.pipelines.base import base_parts
    from adaface.pipelines.stack import Stack

    parts = base_parts(Stack.load(tiny_stack), safety_checker=False)
    return load_base(parts, torch.device("cpu"), torch.float32).unet.requires_grad_(False)


def given(count=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    latents = torch.randn(count, 16, 8, 8, generator=generator)
    return latents, torch.tensor([500] * count), torch.randn(count, 64, 128, generator=generator)


def hooks(unet):
    return sum(len(module._forward_hooks) for module in unet.modules())


def test_what_the_unet_says_is_the_same_with_a_capture(unet):
    plain = unet(*given()).sample
    with Capture(unet, {"up_blocks": 1.0}):
        watched = unet(*given()).sample
    assert torch.equal(watched, plain)


@pytest.mark.parametrize("breaks", [False, True])
def test_the_unet_is_left_as_it_was_also_after_an_exception(unet, breaks):
    before = dict(unet.attn_processors)
    try:
        with Capture(unet, {"mid_block": 1.0, "up_blocks": 1.0}):
            assert hooks(unet) > 0
            unet(*given())
            if breaks:
                raise RuntimeError
    except RuntimeError:
        pass
    assert hooks(unet) == 0
    after = unet.attn_processors
    assert all(after[name] is before[name] for name in before)


def test_scores_and_queries_give_what_the_attention_gave(unet):
    """Softmax of the recorded scores times the values, through the output: the block's own attention."""
    block = unet.mid_block.attentions[0].transformer_blocks[0].attn2
    made = []
    hook = block.register_forward_hook(lambda module, args, out: made.append(out))
    latents, timesteps, context = given()
    with Capture(unet, {"mid_block": 1.0}) as capture:
        unet(latents, timesteps, context)
        (layer,) = capture.take().values()
    hook.remove()
    values = block.to_v(context).unflatten(-1, (block.heads, -1)).transpose(1, 2)
    again = block.to_out[0]((layer.scores.softmax(-1) @ values).transpose(1, 2).flatten(2))
    assert_close(again, made[0], atol=1e-5, rtol=1e-4)
    assert layer.rows.shape == (2, 16, block.inner_dim)
    assert layer.features.shape[-2:] == (4, 4)


def test_each_pass_is_taken_by_itself(unet):
    with Capture(unet, {"mid_block": 1.0}) as capture:
        unet(*given(seed=0))
        (first,) = capture.take().values()
        unet(*given(count=3, seed=1))
        (second,) = capture.take().values()
    assert len(first.queries) == 2 and len(second.queries) == 3


def test_gradients_reach_the_context_through_what_was_captured(unet):
    latents, timesteps, context = given()
    context.requires_grad_()
    with Capture(unet, {"up_blocks.1": 1.0}) as capture:
        unet(latents, timesteps, context)
        layers = capture.take()
    sum(layer.features.square().mean() + layer.scores.square().mean() for layer in layers.values()).backward()
    assert context.grad.abs().sum() > 0


def test_gradients_are_the_same_with_a_unet_that_is_computed_twice(tiny_stack, unet):
    def gradient():
        latents, timesteps, context = given()
        context.requires_grad_()
        with Capture(unet, {"mid_block": 1.0, "up_blocks": 1.0}) as capture:
            guess = unet(latents, timesteps, context).sample
            layers = capture.take()
        loss = guess.square().mean() + sum(layer.features.square().mean() for layer in layers.values())
        loss.backward()
        return context.grad

    plain = gradient()
    unet.train()
    unet.enable_gradient_checkpointing()
    try:
        assert_close(gradient(), plain, atol=1e-6, rtol=1e-4)
    finally:
        unet.disable_gradient_checkpointing()
        unet.eval()


def test_weights_are_those_of_the_longest_name_and_sum_to_one(unet):
    capture = Capture(unet, {"up_blocks": 1.0, "up_blocks.0.attentions.0": 2.0, "down_blocks": 0.0})
    weights = capture.weights
    assert sum(weights.values()) == pytest.approx(1)
    assert weights["up_blocks.0.attentions.0"] == pytest.approx(2 * weights["up_blocks.1.attentions.0"])
    assert not any(name.startswith("down") for name in weights)


def test_a_name_of_no_block_is_told_with_those_that_there_are(unet):
    with pytest.raises(ConfigError, match=r"layers: up_block: no cross-attention.*down_blocks.0.*mid_block"):
        Capture(unet, {"up_block": 1.0})


def test_weights_of_nothing_are_told(unet):
    with pytest.raises(ConfigError, match="a weight above 0"):
        Capture(unet, {"up_blocks": 0.0})
