"""Token ids of templates and pieces."""

import copy

import pytest

from adaface.errors import ConfigError
from adaface.text.tokens import framed_ids, pad_id, piece_ids, single_token_ids


def test_a_piece_has_no_start_no_end_and_no_limit(tokenizer):
    assert piece_ids(tokenizer, "a photo") == [320, 576]
    assert len(piece_ids(tokenizer, "a " * 200)) == 200


def test_pieces_of_a_prompt_have_the_ids_of_the_whole(tokenizer):
    whole = piece_ids(tokenizer, "a man running in the park, smiling")
    assert piece_ids(tokenizer, "a man running ") + piece_ids(tokenizer, " in the park, smiling") == whole


def test_a_frame_is_start_end_and_pads(tokenizer):
    assert framed_ids(tokenizer, [320], 5) == [606, 320, 607, 607, 607]


def test_without_a_pad_token_the_end_token_pads(tokenizer):
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.pad_token = None
    assert pad_id(tokenizer) == 607


def test_template_words_are_one_token_each(tokenizer):
    assert single_token_ids(tokenizer, ["photo", "of", "a", ","]) == [576, 530, 320, 267]


@pytest.mark.parametrize("word", ["zebra", "two words", ""])
def test_a_template_word_of_several_tokens_is_refused(tokenizer, word):
    with pytest.raises(ConfigError, match=f"'{word}' is not one known token of this tokenizer"):
        single_token_ids(tokenizer, [word])


def test_a_fast_tokenizer_keeps_the_state_its_owner_left(tokenizer):
    tokenizer("a photo", truncation=True, max_length=5, padding="max_length")
    backend = getattr(tokenizer, "backend_tokenizer", None)
    before = backend.to_str() if backend is not None else repr(tokenizer)
    piece_ids(tokenizer, "a photo of a person")
    assert (backend.to_str() if backend is not None else repr(tokenizer)) == before


def test_threads_that_share_a_tokenizer_do_not_mix(tokenizer):
    from concurrent.futures import ThreadPoolExecutor

    tokenizer("a photo", truncation=True, max_length=5, padding="max_length")
    texts = ["a " * n + "photo" for n in range(1, 40)]
    with ThreadPoolExecutor(4) as pool:
        rows = list(pool.map(lambda text: piece_ids(tokenizer, text), texts * 5))
    assert rows == [[320] * n + [576] for n in range(1, 40)] * 5
