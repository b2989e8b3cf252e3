"""Prompts and subjects -> prompt embeddings."""

import copy

import pytest
import torch
from hypothesis import given, strategies as st
from torch.testing import assert_close

from adaface.errors import PromptError, ShapeError
from adaface.prompt.embedding import embed_prompt
from adaface.text.clip import TextEncoder
from adaface.text.folder import load_text_encoder, load_tokenizer

CLOSE = {"rtol": 0, "atol": 1e-5}


@pytest.fixture
def text_encoder(model):
    return TextEncoder(model)


def rows(seed, k=16, width=40):
    return torch.randn(k, width, generator=torch.Generator().manual_seed(seed))


def tokens_of(tokenizer, prompt, length=77):
    options = {"padding": "max_length", "max_length": length, "truncation": True, "return_tensors": "pt"}
    return tokenizer(prompt, **options)["input_ids"]


def with_new_tokens(model, tokenizer, prompt, subjects):
    """The textual-inversion way: tokens added, table resized, stock forward."""
    model, tokenizer = copy.deepcopy(model), copy.deepcopy(tokenizer)
    for name, subject in subjects.items():
        new = [f"qq{name}qq{k}" for k in range(len(subject))]
        tokenizer.add_tokens(new)
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        with torch.no_grad():
            model.get_input_embeddings().weight[tokenizer.convert_tokens_to_ids(new)] = subject
        prompt = prompt.replace(f"<{name}>", " ".join(new))
    model.config.eos_token_id = 607
    return model(tokens_of(tokenizer, prompt)).last_hidden_state


@pytest.mark.parametrize(
    "prompt",
    [
        "a photo of <alice>, smiling",
        "<alice>",
        "<alice> and <bob> in the park",
        "<bob><alice>, a man with <bob>",
    ],
)
def test_rows_in_place_equal_added_tokens_and_a_resized_table(model, tokenizer, text_encoder, prompt):
    subjects = {"alice": rows(1, k=5), "bob": rows(2, k=3)}
    result = embed_prompt(text_encoder, tokenizer, prompt, subjects)
    assert_close(result.prompt_embeds, with_new_tokens(model, tokenizer, prompt, subjects), **CLOSE)


@pytest.mark.parametrize(
    "prompt", ["", "a man running in the park", "zebra, (quick) [b] \\ 50% é 李 😀 !?", "x" * 60]
)
def test_without_subjects_it_is_the_stock_encoding(model, tokenizer, text_encoder, prompt):
    stock = model(tokens_of(tokenizer, prompt)).last_hidden_state
    result = embed_prompt(text_encoder, tokenizer, prompt, {})
    assert_close(result.prompt_embeds, stock, **CLOSE)
    assert (result.prompt, result.places) == (prompt, {})


@pytest.mark.parametrize("name", ["man", "photo", "person", "zoë", "李雷", "x.y"])
def test_a_name_means_its_rows_even_if_it_is_a_word(tokenizer, text_encoder, name):
    named = embed_prompt(text_encoder, tokenizer, f"a photo of <{name}>, a man", {name: rows(1)})
    other = embed_prompt(text_encoder, tokenizer, "a photo of <alice>, a man", {"alice": rows(1)})
    assert torch.equal(named.prompt_embeds, other.prompt_embeds)


def test_the_prompt_used_and_the_note_are_returned(tokenizer, text_encoder):
    result = embed_prompt(text_encoder, tokenizer, "a man in the park", {"person": rows(1)})
    assert result.prompt == "a man <person> in the park"
    assert result.note == "<person> put behind 'man'"
    assert result.places == {"person": (slice(3, 19),)}


def test_the_prompt_used_gives_the_same_again(tokenizer, text_encoder):
    first = embed_prompt(text_encoder, tokenizer, "running in the park", {"alice": rows(1)})
    again = embed_prompt(text_encoder, tokenizer, first.prompt, {"alice": rows(1)})
    assert torch.equal(first.prompt_embeds, again.prompt_embeds)
    assert again.note is None


def test_an_empty_prompt_is_a_photo_of_the_subject(tokenizer, text_encoder):
    empty = embed_prompt(text_encoder, tokenizer, "", {"person": rows(1)})
    assert empty.prompt == "a photo of <person>"


def test_layer_weights_are_those_of_the_text_encoder(model, tokenizer, text_encoder):
    states = model(tokens_of(tokenizer, "a man"), output_hidden_states=True).hidden_states
    norm = getattr(model, "text_model", model).final_layer_norm
    result = embed_prompt(text_encoder, tokenizer, "a man", {}, layer_weights=(1, 1))
    assert_close(result.prompt_embeds, norm((states[-1] + states[-2]) / 2), **CLOSE)


@pytest.mark.parametrize("length", [20, 40, 77])
def test_the_length_asked_for_is_the_length_given(tokenizer, text_encoder, length):
    result = embed_prompt(text_encoder, tokenizer, "<alice>", {"alice": rows(1)}, max_length=length)
    assert result.prompt_embeds.shape == (1, length, 40)


@pytest.mark.parametrize("length", [2, 78])
def test_a_length_that_the_text_encoder_has_not_is_refused(tokenizer, text_encoder, length):
    with pytest.raises(ShapeError, match=f"max_length={length}: this text encoder has 3 to 77 positions"):
        embed_prompt(text_encoder, tokenizer, "a man", {}, max_length=length)


def test_words_over_the_limit_are_cut_as_stock_cuts_them_and_reported(model, tokenizer, text_encoder):
    prompt = "a man " * 37 + "running in the park"
    result = embed_prompt(text_encoder, tokenizer, prompt, {})
    assert_close(result.prompt_embeds, model(tokens_of(tokenizer, prompt)).last_hidden_state, **CLOSE)
    assert result.truncated == "in the park"
    assert result.note == "cut at 77 positions, left out: 'in the park'"


def test_a_prompt_that_just_fits_is_not_cut(tokenizer, text_encoder):
    subject = {"alice": rows(1)}
    fits = embed_prompt(text_encoder, tokenizer, "a " * 59 + "<alice>", subject)
    assert (fits.truncated, fits.note) == ("", None)
    assert fits.places == {"alice": (slice(60, 76),)}


@pytest.mark.parametrize(("words", "over"), [(60, 1), (75, 16), (200, 141)])
def test_subject_rows_are_never_cut(tokenizer, text_encoder, words, over):
    with pytest.raises(
        PromptError, match=rf"no room for the 16 rows of <alice> .* cut {over} tokens before it"
    ):
        embed_prompt(text_encoder, tokenizer, "a " * words + "<alice>", {"alice": rows(1)})


def test_five_subjects_have_no_room(tokenizer, text_encoder):
    people = {name: rows(k) for k, name in enumerate("abcde")}
    with pytest.raises(PromptError, match=r"no room for the 16 rows of <e> within 77 positions"):
        embed_prompt(text_encoder, tokenizer, "".join(f"<{name}>" for name in people), people)


def test_words_behind_a_subject_are_cut_and_the_subject_is_not(tokenizer, text_encoder):
    result = embed_prompt(text_encoder, tokenizer, "<alice> " + "a " * 70, {"alice": rows(1)})
    assert result.truncated == " ".join("a" * 11)
    assert result.places == {"alice": (slice(1, 17),)}


def test_tokenizer_and_text_encoder_stay_bit_for_bit(model, tokenizer, text_encoder):
    tokenizer("a man", padding="max_length", max_length=30, truncation=True)  # the owner's last call
    backend = getattr(tokenizer, "backend_tokenizer", None)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    vocabulary, added = dict(tokenizer.get_vocab()), dict(tokenizer.get_added_vocab())
    state = backend.to_str() if backend is not None else None
    table = model.get_input_embeddings()
    embed_prompt(text_encoder, tokenizer, "<alice> and a man", {"alice": rows(1)}, layer_weights=(1, 1))
    assert model.get_input_embeddings() is table
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.state_dict().keys() == before.keys()
    assert (tokenizer.get_vocab(), tokenizer.get_added_vocab()) == (vocabulary, added)
    assert (backend.to_str() if backend is not None else None) == state
    assert len(tokenizer) == 608


def test_the_subjects_rows_stay_as_they_were(tokenizer, text_encoder):
    subject = rows(1)
    embed_prompt(text_encoder, tokenizer, "<alice>", {"alice": subject})
    assert torch.equal(subject, rows(1))


def test_gradients_reach_the_subject(tokenizer, text_encoder):
    subject = rows(1).requires_grad_()
    embed_prompt(
        text_encoder, tokenizer, "<alice> and <alice>", {"alice": subject}
    ).prompt_embeds.sum().backward()
    assert subject.grad.abs().min() > 0


def test_rows_take_the_type_of_the_text_encoder(model, tokenizer):
    half = TextEncoder(model.to(torch.bfloat16))
    result = embed_prompt(half, tokenizer, "<alice>", {"alice": rows(1)})
    assert result.prompt_embeds.dtype == torch.bfloat16


@pytest.mark.parametrize("shape", [(16, 39), (1, 16, 40), (40,), (0, 40)])
def test_rows_made_for_another_text_encoder_are_refused(tokenizer, text_encoder, shape):
    with pytest.raises(ShapeError, match=r"<alice> is .*, this text encoder takes \(K, 40\)"):
        embed_prompt(text_encoder, tokenizer, "<alice>", {"alice": torch.zeros(shape)})


def test_a_token_that_the_user_added_is_his(model, tokenizer):
    tokenizer.add_tokens(["<ink>"])
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    subject = {"alice": rows(1)}
    result = embed_prompt(TextEncoder(model), tokenizer, "<alice> in <ink>", subject)
    assert result.prompt == "<alice> in <ink>"


def test_an_unknown_subject_is_an_error(tokenizer, text_encoder):
    with pytest.raises(PromptError, match=r"no subject <bob>. Known here: <alice>"):
        embed_prompt(text_encoder, tokenizer, "<bob> in the park", {"alice": rows(1)})


@pytest.fixture(scope="module")
def stack():
    """One for all examples of a property; none of them may change it."""
    from pathlib import Path

    folder = Path(__file__).parents[1] / "golden" / "text-encoder"
    return TextEncoder(load_text_encoder(folder / "text_encoder")), load_tokenizer(folder / "tokenizer")


WORDS = ["a", "photo", "of", "man", "woman", "in", "the", ",", "<alice>", "<bob>", "zebra", "é"]
words = st.lists(st.sampled_from(WORDS), max_size=12)


@given(prompt=words.map(" ".join), k=st.integers(1, 4))
def test_every_named_subject_has_its_rows_at_its_places(stack, prompt, k):
    text_encoder, tokenizer = stack
    subjects = {"alice": rows(1, k), "bob": rows(2, k)}
    if "<" not in prompt:
        subjects = {"alice": subjects["alice"]}
    result = embed_prompt(text_encoder, tokenizer, prompt, subjects)
    assert result.prompt_embeds.isfinite().all()
    for name in ("alice", "bob"):
        spans = result.places.get(name, ())
        assert len(spans) == result.prompt.count(f"<{name}>")
        assert all(span.stop - span.start == k for span in spans)
