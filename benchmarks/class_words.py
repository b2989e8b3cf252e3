"""How a class word is best put where a person's K rows stand: compositions, judged by the stack's CLIP.

python benchmarks/class_words.py [--stack mini] [--pictures 60] [--seed 3]
"""

import argparse

import torch
from torch import Tensor

from adaface.evaluation.text_match import ClipScorer, first_choice
from adaface.pipelines.drawing import Drawing, draw
from adaface.pipelines.stack import Stack
from adaface.recipes.base.denoising import Denoiser, Prompts
from adaface.recipes.base.opening import open_base
from adaface.recipes.composition.grammar import Composition, read_grammar, with_article
from adaface.recipes.composition.prompts import spread_words, with_words
from adaface.text.tokens import pad_id, piece_ids
from adaface.training.plan import sample_generator

WORDS = ("woman", "man", "young woman", "old man", "person")
COUNT, STEPS, FIRST_SEED = 16, 12, 7
WAYS = (
    "plain words",
    "spread, 1 / sqrt(K)",
    "spread, whole",
    "word, commas",
    "word, pads",
    "word, zeros",
    "word K times",
)


def rows_of(prompts: Prompts, word: str, way: str) -> Tensor:
    """The class word as K rows (K, D), in one of WAYS."""

    def embedded(ids: list[int]) -> Tensor:
        return prompts.text.embed_tokens(torch.tensor([ids]))[0]

    tokenizer, named = prompts.tokenizer, piece_ids(prompts.tokenizer, with_article(word))
    left = COUNT - len(named)
    if way.startswith("spread"):
        spread = spread_words(prompts, [word], COUNT)[0]
        return spread if "sqrt" in way else spread * COUNT**0.5
    if way == "word K times":
        return embedded((piece_ids(tokenizer, "a") + piece_ids(tokenizer, word) * COUNT)[:COUNT])
    if way == "word, zeros":
        return torch.cat([embedded(named), torch.zeros(left, prompts.text.width)])
    fill = piece_ids(tokenizer, ",") if way == "word, commas" else [pad_id(tokenizer)]
    return embedded(named + fill * left)


def compositions(stack: Stack, count: int, seed: int) -> list[Composition]:
    """So many different ones of the stack's grammar."""
    grammar, generator = read_grammar("stack", stack), sample_generator(seed)
    made: dict[str, Composition] = {}
    while len(made) < count:
        one = grammar.draw(generator)
        made.setdefault(one.composed, one)
    return list(made.values())


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stack", default="mini")
    parser.add_argument("--pictures", type=int, default=60)
    parser.add_argument("--seed", type=int, default=3)
    given = parser.parse_args()
    stack = Stack.load(given.stack)
    pipe, clip = open_base(stack), ClipScorer.from_pretrained(stack.path("clip"))
    prompts = Denoiser(pipe, stack.recommended().layer_weights).prompts
    said = compositions(stack, given.pictures, given.seed)
    captions = [one.composed.replace("{subject}", "a person") for one in said]
    settings = stack.recommended().override({"steps": STEPS})
    for way in WAYS:
        contexts = []
        for number, one in enumerate(said):
            word = WORDS[number % len(WORDS)]
            if way == "plain words":
                contexts.append(with_words(prompts, [one.composed], [word]).context)
            else:
                contexts.append(prompts([one.composed], rows_of(prompts, word, way)[None]))
        seeds = [FIRST_SEED + number for number in range(len(said))]
        pictures, _ = draw(pipe, Drawing(contexts, prompts.no_words(), seeds, settings))
        scores = clip(pictures, captions)
        hits = first_choice(scores, range(len(said)))
        print(
            f"{way:20s} own caption first {sum(hits) / len(hits):.3f}, cosine {scores.diagonal().mean():.3f}"
        )


if __name__ == "__main__":
    main()
