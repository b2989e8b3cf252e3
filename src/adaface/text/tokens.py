"""Token ids of fixed templates and of pieces of a prompt, for any CLIP tokenizer. Shapes: T text positions."""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from adaface.errors import ConfigError


def piece_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Token ids of a piece of text, without start and end tokens and without a limit."""
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
                f"{word!r} is {len(row)} tokens {row} of this tokenizer, not one known token. The method's templates "
                "need 'photo', 'of', 'a', 'id', 'person' and ',' as single tokens: use a tokenizer that has them"
            )
        ids += row
    return ids
