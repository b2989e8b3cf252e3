"""A byte-level BPE in the format of CLIP's tokenizer, in which given words are one token each."""

import json
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path

from adaface.files import write_atomic

END = "</w>"
BOS, EOS = "<|startoftext|>", "<|endoftext|>"


def byte_symbols() -> list[str]:
    """256 printable characters for the bytes: printable Latin-1 as itself, the others from 256 up."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in printable]
    return [chr(b) for b in printable] + [chr(256 + i) for i in range(len(others))]


def merges_for(words: Sequence[str]) -> list[tuple[str, str]]:
    """Merges, in rank order, under which each ASCII word is one token; shared beginnings share merges."""
    merges: dict[tuple[str, str], None] = {}
    for word in words:
        symbols = _apply([*word[:-1], word[-1] + END], list(merges))
        while len(symbols) > 1:
            merges[(symbols[0], symbols[1])] = None
            symbols = [symbols[0] + symbols[1], *symbols[2:]]
    ordered = list(merges)
    broken = [word for word in words if len(_apply([*word[:-1], word[-1] + END], ordered)) > 1]
    return ordered if not broken else _repair(ordered, broken, words)


def _repair(
    merges: list[tuple[str, str]], broken: Sequence[str], words: Sequence[str]
) -> list[tuple[str, str]]:
    """A later word's merges can tear an earlier word apart: give the torn words one more merge at the end."""
    for word in broken:
        symbols = _apply([*word[:-1], word[-1] + END], merges)
        while len(symbols) > 1:
            merges = [*merges, (symbols[0], symbols[1])]
            symbols = _apply([*word[:-1], word[-1] + END], merges)
    still = [word for word in words if len(_apply([*word[:-1], word[-1] + END], merges)) > 1]
    return merges if not still else _repair(merges, still, words)


def _apply(symbols: list[str], merges: Sequence[tuple[str, str]]) -> list[str]:
    rank = {pair: i for i, pair in enumerate(merges)}
    while True:
        pairs = [(rank[p], i) for i, p in enumerate(pairwise(symbols)) if p in rank]
        if not pairs:
            return symbols
        _, i = min(pairs)
        symbols = [*symbols[:i], symbols[i] + symbols[i + 1], *symbols[i + 2 :]]


def write_tokenizer(folder: str | Path, words: Sequence[str], max_length: int) -> None:
    """Write vocab.json, merges.txt and the two configs that CLIPTokenizer of transformers 4 and 5 reads."""
    folder, merges = Path(folder), merges_for(words)
    symbols = byte_symbols()
    tokens = [*symbols, *(s + END for s in symbols), *dict.fromkeys(a + b for a, b in merges), BOS, EOS]
    vocab = {token: i for i, token in enumerate(dict.fromkeys(tokens))}
    special = {"bos_token": BOS, "eos_token": EOS, "unk_token": EOS, "pad_token": EOS}
    config = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": max_length,
        "do_lower_case": True,
        **special,
    }
    texts = {
        "vocab.json": json.dumps(vocab, ensure_ascii=False),
        "merges.txt": "\n".join(["#version: 0.2", *(f"{a} {b}" for a, b in merges)]) + "\n",
        "tokenizer_config.json": json.dumps(config, indent=2),
        "special_tokens_map.json": json.dumps(special, indent=2),
    }
    for name, text in texts.items():
        write_atomic(folder / name, partial(Path.write_text, data=text, encoding="utf-8"))
