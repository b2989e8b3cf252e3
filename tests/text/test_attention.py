"""Attention with several keys and values a token."""

import pytest
import torch
from torch.testing import assert_close

from adaface.errors import ConfigError
from adaface.text.attention import ExtendedKVAttention, attend, causal_mask, extend_kv
from adaface.text.layers import MLP, TransformerLayer


@pytest.fixture
def attention():
    torch.manual_seed(0)
    return ExtendedKVAttention(width=12, heads=3).double()


@pytest.fixture
def x():
    return torch.randn(2, 5, 12, generator=torch.Generator().manual_seed(1)).double()


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_extending_without_noise_keeps_the_output(attention, x, factor):
    assert_close(extend_kv(attention, factor, 0.0)(x), attention(x))


def test_extending_twice_multiplies(attention, x):
    wide = extend_kv(extend_kv(attention, 2, 0.0), 3, 0.0)
    assert wide.m == 6
    assert wide.k_proj.weight.shape == (72, 12)
    assert_close(wide(x), attention(x))


def test_noise_moves_the_copies_only(attention, x):
    wide = extend_kv(attention, 2, 0.1, torch.Generator().manual_seed(0))
    assert torch.equal(wide.k_proj.weight[:12], attention.k_proj.weight)
    assert torch.equal(wide.k_proj.bias[12:], attention.k_proj.bias)
    moved = (wide.v_proj.weight[12:] - attention.v_proj.weight).std() / attention.v_proj.weight.std(-1).mean()
    assert 0.07 < moved < 0.13
    assert (wide(x) - attention(x)).abs().max() > 1e-4


def test_a_generator_repeats_the_noise(attention):
    first, second = (extend_kv(attention, 2, 0.1, torch.Generator().manual_seed(7)) for _ in range(2))
    assert torch.equal(first.k_proj.weight, second.k_proj.weight)


def test_the_copies_of_a_token_are_neighbours_along_the_keys(attention, x):
    wide = extend_kv(attention, 2, 0.5, torch.Generator().manual_seed(0))
    k = wide.k_proj(x).view(2, 10, 3, 4)  # (B, T*M, H, D/H): token 0 twice, token 1 twice, ...
    once = attention.k_proj(x).view(2, 5, 3, 4)
    assert_close(k[:, ::2], once)


def test_the_mask_shows_a_token_all_copies_of_those_before_it():
    mask = causal_mask(3, slice(1, 3), 2, torch.device("cpu"))
    assert mask.int().tolist() == [[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1]]


def test_a_position_does_not_see_later_ones(attention, x):
    changed = x.clone()
    changed[:, 3:] += 1
    assert torch.equal(attention(changed)[:, :3], attention(x)[:, :3])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_way_for_gradients_on_a_cpu_equals_the_fused_one(dtype):
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, 3, n, 8, generator=generator).to(dtype) for n in (4, 12, 12))
    mask = causal_mask(4, slice(0, 4), 3, torch.device("cpu"))
    assert_close(attend(q.requires_grad_(), k, v, mask), attend(q.detach(), k, v, mask), rtol=0, atol=0.03)


def test_a_layer_with_extended_attention_keeps_shapes():
    layer = TransformerLayer(12, 3, 20, "quick_gelu", 1e-5, m=4)
    assert layer(torch.zeros(2, 5, 12)).shape == (2, 5, 12)


def test_an_unknown_activation_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match=r"hidden_act=.swish.: known are gelu, .*quick_gelu"):
        MLP(4, 8, "swish")
