"""The inverse encoder (numbers of the original: tests/golden)."""

import copy

import pytest
import torch
from torch.testing import assert_close
from transformers import CLIPTextConfig, CLIPTextModel

from adaface.encoder.inverse import AdaFaceEncoder
from adaface.errors import ConfigError, ShapeError
from adaface.text.clip import TextEncoder
from adaface.text.layers import last_hidden_states, mix

CLOSE = {"rtol": 0, "atol": 1e-5}


@pytest.fixture
def encoder(model, tokenizer):
    return AdaFaceEncoder.from_text_encoder(model, tokenizer)


@pytest.fixture
def id_prompt():
    return torch.randn(3, 16, 40, generator=torch.Generator().manual_seed(0))


def the_long_way(model, tokenizer, id_prompt):
    """The original's order of things: all positions of "photo of a , , ,", then 16 of them."""
    text = TextEncoder(model)
    prompt = "photo of a " + ", " * 16
    ids = tokenizer(prompt, padding="max_length", truncation=True, return_tensors="pt")["input_ids"]
    rows = text.embed_tokens(ids).repeat(len(id_prompt), 1, 1)
    rows[:, 4:20] = id_prompt
    parts = getattr(model, "text_model", model)
    states = last_hidden_states(list(parts.encoder.layers), text.add_positions(rows), slice(0, 77), 4, 3)
    return parts.final_layer_norm(mix(states, [1, 2, 4]))[:, 4:20]


def test_twenty_positions_equal_the_whole_template(model, tokenizer, encoder, id_prompt):
    assert_close(encoder(id_prompt), the_long_way(model, tokenizer, id_prompt), **CLOSE)


def test_only_the_positions_that_matter_are_computed(encoder, id_prompt):
    seen = []
    for layer in encoder.layers:
        layer.mlp.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[1]))
    encoder(id_prompt)
    assert seen == [20, 20, 16]


def test_a_start_from_the_text_encoder_copies_and_does_not_share(model, encoder):
    assert not {p.data_ptr() for p in encoder.parameters()} & {p.data_ptr() for p in model.parameters()}


def test_the_text_encoder_stays_as_it_was_while_the_encoder_learns(model, encoder, id_prompt):
    before = copy.deepcopy(model.state_dict())
    optimizer = torch.optim.SGD(encoder.parameters(), lr=0.1)
    encoder(id_prompt).square().sum().backward()
    optimizer.step()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_every_parameter_learns(encoder, id_prompt):
    encoder(id_prompt).pow(3).sum().backward()
    still = [name for name, p in encoder.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    # A bias of the keys moves all scores of a query alike: softmax does not see it.
    assert [name for name in still if not name.endswith("k_proj.bias")] == []


def test_layer_weights_start_as_one_two_four_and_only_their_shares_count(encoder, id_prompt):
    assert encoder.hidden_layer_weights.tolist() == [1, 2, 4]
    before = encoder(id_prompt)
    with torch.no_grad():
        encoder.hidden_layer_weights.mul_(3)
    assert_close(encoder(id_prompt), before, **CLOSE)


def test_pads_are_the_pad_token_at_the_places_of_the_id_vectors(model, tokenizer, encoder):
    text = TextEncoder(model)
    ids = torch.full((1, 77), tokenizer.pad_token_id)
    assert_close(encoder.pad_embeddings, text.add_positions(text.embed_tokens(ids))[0, 4:20], rtol=0, atol=0)


def test_pads_do_not_learn(encoder):
    assert "pad_embeddings" not in dict(encoder.named_parameters())
    assert "pad_embeddings" in encoder.state_dict()


def test_scale_nought_gives_the_pads(encoder, id_prompt):
    assert_close(encoder(id_prompt, 0.0), encoder.pad_embeddings.expand(3, -1, -1), **CLOSE)


@pytest.mark.parametrize("scale", [0.3, 1.0, 1.5, 6.0])
def test_the_scale_goes_along_the_line_from_pads_to_subject(encoder, id_prompt, scale):
    line = encoder.pad_embeddings + scale * (encoder(id_prompt, 1.0) - encoder.pad_embeddings)
    assert_close(encoder(id_prompt, scale), line, **CLOSE)


def test_the_config_gives_the_scale_where_the_caller_does_not(encoder, id_prompt):
    import dataclasses

    encoder.config = dataclasses.replace(encoder.config, id_scale=1.5)
    assert_close(encoder(id_prompt), encoder(id_prompt, 1.5), rtol=0, atol=0)


@pytest.mark.parametrize("multipliers", [2, 4, (1, 2, 3), [4, 4, 2]])
def test_expanding_without_noise_keeps_the_function(encoder, id_prompt, multipliers):
    double, x = encoder.double(), id_prompt.double()
    wide = double.expand_attention(multipliers, noise=0.0)
    assert_close(wide(x), double(x), rtol=0, atol=1e-6)


def test_expanding_multiplies_what_an_encoder_has(encoder):
    twice = encoder.expand_attention((4, 4, 2), 0.1).expand_attention((2, 1, 1), 0.1)
    assert twice.config.multipliers == (8, 4, 2)
    assert twice.layers[0].self_attn.k_proj.weight.shape == (8 * 40, 40)


def test_noise_moves_the_function_and_a_generator_repeats_it(encoder, id_prompt):
    first, second = (encoder.expand_attention(2, 0.1, torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(first(id_prompt), second(id_prompt))
    assert (first(id_prompt) - encoder(id_prompt)).abs().max() > 1e-4


def test_expanding_leaves_the_encoder_itself(encoder):
    before = encoder.fingerprint()
    wide = encoder.expand_attention(2, 0.1)
    with torch.no_grad():
        wide.prefix.add_(1)
    assert encoder.fingerprint() == before
    assert encoder.config.multipliers == (1, 1, 1)


def test_an_expanded_encoder_keeps_mode_and_type(encoder):
    wide = encoder.half().train().expand_attention(2, 0.0)
    assert wide.training
    assert wide.prefix.dtype == torch.float16


@pytest.mark.parametrize("d_k", [(8, 2, 1, 11, 3), (24, 4, 5, 30, 6), (16, 2, 2, 9, 1)])
def test_any_size_from_the_config(tokenizer, d_k):
    width, heads, layers, length, k = d_k
    sizes = {"hidden_size": width, "num_attention_heads": heads, "num_hidden_layers": layers}
    ids = {"vocab_size": 608, "bos_token_id": 606, "eos_token_id": 607, "pad_token_id": 607}
    model = CLIPTextModel(
        CLIPTextConfig(intermediate_size=3 * width, max_position_embeddings=length, **sizes, **ids)
    )
    encoder = AdaFaceEncoder.from_text_encoder(model, tokenizer, k)
    assert encoder(torch.zeros(2, k, width)).shape == (2, k, width)
    assert len(encoder.hidden_layer_weights) == min(3, layers)


def test_the_batch_does_not_matter(encoder, id_prompt):
    assert_close(encoder(id_prompt)[1:2], encoder(id_prompt[1:2]), **CLOSE)


def test_bfloat16_autocast_trains(encoder, id_prompt):
    with torch.autocast("cpu", torch.bfloat16):
        out = encoder(id_prompt)
    out.float().square().sum().backward()
    assert encoder.layers[0].self_attn.q_proj.weight.grad.isfinite().all()
    assert_close(out.float(), encoder(id_prompt), rtol=0, atol=0.2)


def test_the_config_says_where_the_encoder_comes_from(model, tokenizer):
    encoder = AdaFaceEncoder.from_text_encoder(model, tokenizer, recognizer="sface", licence="MIT")
    assert encoder.config.tokens == {"photo": 576, "of": 530, "a": 320, ",": 267}
    assert encoder.config.base_text_encoder.startswith("sha256:")
    assert (encoder.config.recognizer, encoder.config.licence) == ("sface", "MIT")


@pytest.mark.parametrize("shape", [(3, 15, 40), (3, 16, 39), (16, 40)])
def test_id_prompts_of_another_shape_are_refused(encoder, shape):
    with pytest.raises(ShapeError, match=r"this encoder takes \(B, 16, 40\)"):
        encoder(torch.zeros(shape))


@pytest.mark.parametrize("multipliers", [0, (1, 2), (1, 0, 1)])
def test_multipliers_that_do_not_fit_are_refused(encoder, multipliers):
    with pytest.raises(ConfigError, match="give one number >= 1, or one for each of 3 layers"):
        encoder.expand_attention(multipliers, 0.1)


def test_more_id_vectors_than_places_are_refused(model, tokenizer):
    with pytest.raises(ConfigError, match="num_id_vectors=74: this text model has places for 1 to 73"):
        AdaFaceEncoder.from_text_encoder(model, tokenizer, 74)
