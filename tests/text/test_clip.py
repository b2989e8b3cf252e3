"""The text encoder from input embeddings: the stock numbers, only what is read, nothing written."""

import pytest
import torch
from torch.testing import assert_close
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from adaface.errors import ConfigError, ShapeError
from adaface.text.clip import TextEncoder

CLOSE = {"rtol": 0, "atol": 1e-5}


def tiny(kind=CLIPTextModel, **changes):
    torch.manual_seed(0)
    sizes = {"hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 3, "intermediate_size": 40}
    ids = {"bos_token_id": 48, "eos_token_id": 49, "pad_token_id": 49}
    settings = {
        "vocab_size": 50,
        "max_position_embeddings": 9,
        "projection_dim": 8,
        **sizes,
        **ids,
        **changes,
    }
    model = kind(CLIPTextConfig(**settings))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


def ids_for(model, length):
    return torch.randint(0, model.config.vocab_size, (2, length), generator=torch.Generator().manual_seed(1))


def encode(model, ids, **options):
    encoder = TextEncoder(model)
    return encoder(encoder.embed_tokens(ids), **options)


@pytest.mark.parametrize("kind", [CLIPTextModel, CLIPTextModelWithProjection])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"num_hidden_layers": 1},
        {"num_attention_heads": 8, "hidden_size": 8},
        {"hidden_act": "gelu", "max_position_embeddings": 33},
        {"intermediate_size": 5, "vocab_size": 700},
    ],
)
def test_token_ids_give_the_stock_output_at_any_size_and_layout(kind, changes):
    model = tiny(kind, **changes)
    ids = ids_for(model, model.config.max_position_embeddings)
    assert_close(encode(model, ids), model(ids).last_hidden_state, **CLOSE)


def test_both_layouts_of_transformers_are_covered(monkeypatch):
    nested = tiny(CLIPTextModelWithProjection)
    assert hasattr(nested, "text_model")  # the layout of all text models before transformers 5.6
    flat = nested.text_model
    assert not hasattr(flat, "text_model")
    ids = ids_for(nested, 9)
    assert_close(encode(flat, ids), encode(nested, ids), rtol=0, atol=0)


def test_a_prompt_shorter_than_the_text_length_is_allowed():
    model = tiny()
    ids = ids_for(model, 4)
    assert_close(encode(model, ids), model(ids).last_hidden_state, **CLOSE)


@pytest.mark.parametrize("weights", [(1, 1), (1, 2, 2), (0.2, 0, 0.8), (0, 1, 3), (2, 0), (1, 0, 0)])
def test_layer_weights_mix_the_stock_hidden_states_before_the_final_norm(weights):
    model = tiny()
    ids = ids_for(model, 9)
    states = model(ids, output_hidden_states=True).hidden_states[-len(weights) :]
    mean = sum(w * s for w, s in zip(weights, states, strict=True)) / sum(weights)
    norm = getattr(model, "text_model", model).final_layer_norm
    assert_close(encode(model, ids, layer_weights=weights), norm(mean), **CLOSE)


@pytest.mark.parametrize("read", [slice(0, 9), slice(2, 5), slice(0, 1), slice(8, 9), slice(3, None)])
@pytest.mark.parametrize("weights", [(1,), (1, 2, 4)])
def test_reading_some_positions_equals_cutting_them_out(read, weights):
    model = tiny()
    ids = ids_for(model, 9)
    whole = encode(model, ids, layer_weights=weights)
    assert_close(encode(model, ids, layer_weights=weights, positions=read), whole[:, read], **CLOSE)


def test_nothing_is_computed_that_no_read_position_sees(monkeypatch):
    model = tiny()
    seen = []
    for layer in getattr(model, "text_model", model).encoder.layers:
        layer.mlp.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[1]))
    encode(model, ids_for(model, 9), positions=slice(2, 5))
    assert seen == [5, 5, 3]  # rows 0..4, and in the top layer the three that are read


def test_a_layer_of_no_weight_at_the_top_is_not_computed():
    model = tiny()
    layers = getattr(model, "text_model", model).encoder.layers
    layers[-1].mlp.register_forward_pre_hook(lambda *_: pytest.fail("the top layer ran"))
    encode(model, ids_for(model, 9), layer_weights=(1, 0))


def test_gradients_reach_the_input_rows_and_equal_the_stock_ones():
    model = tiny()
    ids = ids_for(model, 9)
    table = getattr(model, "text_model", model).embeddings.token_embedding.weight
    (stock,) = torch.autograd.grad(model(ids).last_hidden_state.square().sum(), table)
    (ours,) = torch.autograd.grad(encode(model, ids).square().sum(), table)
    assert_close(ours, stock, rtol=1e-4, atol=1e-4)


def test_bfloat16_with_gradients_takes_the_same_values_as_without():
    model = tiny().to(torch.bfloat16)
    ids = ids_for(model, 9)
    with torch.no_grad():
        plain = encode(model, ids)
    assert_close(encode(model, ids), plain, rtol=0, atol=0.1)


def test_a_masked_position_gets_no_gradient():
    encoder = TextEncoder(tiny())
    rows = encoder.embed_tokens(ids_for(encoder.model, 9)).detach().requires_grad_()
    encoder(rows)[:, :4].sum().backward()
    assert rows.grad[:, 4:].abs().max() == 0
    assert rows.grad[:, :4].abs().min() > 0


def test_the_model_stays_bit_for_bit_as_it_was():
    model = tiny()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modules = dict(model.named_modules())
    encode(model, ids_for(model, 9), layer_weights=(1, 1)).sum().backward()
    assert {name: id(module) for name, module in model.named_modules()} == {
        n: id(m) for n, m in modules.items()
    }
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_rows_that_do_not_fit_are_refused_with_both_sizes():
    encoder = TextEncoder(tiny())
    with pytest.raises(ShapeError, match=r"\(1, 10, 24\): this text encoder takes \(B, 1 to 9, 24\)"):
        encoder(torch.zeros(1, 10, 24))
    with pytest.raises(ShapeError, match=r"\(1, 4, 20\)"):
        encoder(torch.zeros(1, 4, 20))


@pytest.mark.parametrize("read", [slice(3, 3), slice(0, 10), slice(-2, 9), slice(0, 9, 2)])
def test_positions_that_do_not_fit_are_refused(read):
    encoder = TextEncoder(tiny())
    with pytest.raises(ShapeError, match="give start < stop within them"):
        encoder(torch.zeros(1, 9, 24), positions=read)


@pytest.mark.parametrize("weights", [(), (0,), (1, -1), (float("nan"),), (float("inf"), 1)])
def test_layer_weights_without_a_mean_are_refused(weights):
    encoder = TextEncoder(tiny())
    with pytest.raises(ConfigError, match=r"layer_weights=.*give one number >= 0"):
        encoder(torch.zeros(1, 9, 24), layer_weights=weights)


def test_more_layer_weights_than_layers_are_refused():
    encoder = TextEncoder(tiny())
    with pytest.raises(ShapeError, match="last 4 layers of an encoder with 3"):
        encoder(torch.zeros(1, 9, 24), layer_weights=(1, 1, 1, 1))
