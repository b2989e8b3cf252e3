"""Which words come: is a picture nearer to its caption than to the same caption without one word? N cells."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image

from adaface.evaluation.statistics import Row
from adaface.evaluation.text_match import ClipScorer
from adaface.mini.evidence.design import Cells
from adaface.mini.world.captions import plain_caption
from adaface.mini.world.facts import ACCESSORIES, BACKGROUNDS, STYLES

KINDS = {"accessory": ACCESSORIES, "background": BACKGROUNDS, "style": STYLES}  # of words, and the words


@dataclass(frozen=True)
class Said:
    """A word of a cell's caption. kind: of KINDS. without: the caption as it is when the word is left out."""

    cell: int
    kind: str
    word: str
    caption: str
    without: str


def said_words(cells: Cells) -> list[Said]:
    """Every accessory, background and style that the scenes' captions name, in the order of the cells."""
    found = []
    for scene, facts in cells.scenes.items():
        for row, cell in enumerate(cells.of(scene)):
            for kind, words in KINDS.items():
                which = int(getattr(facts, kind)[row])
                if which:
                    bare = replace(facts, **{kind: torch.zeros_like(getattr(facts, kind))})
                    texts = plain_caption(facts, row), plain_caption(bare, row)
                    found.append(Said(cell, kind, words[which], *texts))
    return sorted(found, key=lambda said: said.cell)


def coming(clip: ClipScorer, pictures: Sequence[Image.Image | None], said: Sequence[Said]) -> Row:
    """Whether each word came, (len(said),): 1 or 0, nan where there is no picture.

    pictures: (N,), by cell. By chance it is 1 in half of the cases.
    """
    result = np.full(len(said), np.nan)
    there = [k for k, one in enumerate(said) if pictures[one.cell] is not None]
    if not there:
        return result
    images = {said[k].cell: picture for k in there if (picture := pictures[said[k].cell]) is not None}
    texts = list(dict.fromkeys(text for k in there for text in (said[k].caption, said[k].without)))
    scores = clip(list(images.values()), texts)
    row, column = ({key: k for k, key in enumerate(keys)} for keys in (images, texts))
    for k in there:
        own = scores[row[said[k].cell]]
        result[k] = own[column[said[k].caption]] > own[column[said[k].without]]
    return result
