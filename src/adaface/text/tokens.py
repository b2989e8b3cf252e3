"""Token ids of fixed templates and of pieces of a prompt, for any CLIP tokenizer."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Lock

from transformers import PreTrainedTokenizerBase

from adaface.errors import ConfigError

_LOCK = Lock()  # a fast tokenizer keeps truncation and padding of the last call as its state


def piece_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Token ids of a piece of text, without start and end tokens and without a limit."""
    with _untouched(tokenizer):
        return list(tokenizer(text, add_special_tokens=False, truncation=False, verbose=False)["input_ids"])


def framed_ids(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], length: int) -> list[int]:
    """Start token, ids, end token, then pads up to `length`; the caller has seen to it that they fit."""
    row = [tokenizer.bos_token_id, *ids, tokenizer.eos_token_id]
    return row + [pad_id(tokenizer)] * (length - len(row))


def pad_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """Id that fills the places behind the end token; the end token's own where no other is declared."""
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    return int(pad)


def single_token_ids(tokenizer: PreTrainedTokenizerBase, words: Sequence[str]) -> list[int]:
    """Ids of words that have to be one token each, as the templates of the method count on.

    Raises ConfigError: a word is several tokens, or none that the vocabulary knows.
    """
    ids = []
    for word in words:
        row = piece_ids(tokenizer, word)
        if len(row) != 1 or row[0] in (tokenizer.unk_token_id, tokenizer.eos_token_id):
            raise ConfigError(
                f"{word!r} is not one known token of this tokenizer, but {row}. The method's templates need "
                "'photo', 'of', 'a', 'id', 'person' and ',' as single tokens: use a tokenizer that has them"
            )
        ids += row
    return ids


@contextmanager
def _untouched(tokenizer: PreTrainedTokenizerBase) -> Iterator[None]:
    """Leave a fast tokenizer's truncation and padding as its owner last set them."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:  # the slow ones of transformers 4 keep no state
        yield
        return
    with _LOCK:
        truncation, padding = backend.truncation, backend.padding
        try:
            yield
        finally:
            backend.no_truncation() if truncation is None else backend.enable_truncation(**truncation)
            backend.no_padding() if padding is None else backend.enable_padding(**padding)
