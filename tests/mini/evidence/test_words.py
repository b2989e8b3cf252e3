"""Which words of a scene come: counted with scores that are known."""

import numpy as np
import pytest
from PIL import Image

from adaface.mini.evidence.design import SEEN, UNSEEN, some_cells
from adaface.mini.evidence.words import KINDS, coming, said_words

CELLS = some_cells(6, 1, 2, 2, 0)


class Scores:
    """A CLIP to which a picture fits a caption by its words: one more for each that it shows, else less."""

    def __call__(self, images, texts):
        return np.array([[fit(image.info["words"], text.split()) for text in texts] for image in images])


def fit(shown, said):
    return sum(1 if word in shown else -1 for word in said)


def picture(words):
    image = Image.new("RGB", (1, 1))
    image.info["words"] = words.split()
    return image


def drawn(left_out=""):
    """Pictures that show all of their captions but the words that are left out."""
    return [picture(cell.caption.replace(left_out, "") if left_out else cell.caption) for cell in CELLS.cells]


def test_every_word_of_a_scene_is_asked_for_and_plain_pictures_have_none():
    said = said_words(CELLS)
    assert {CELLS.cells[one.cell].kind for one in said} == {SEEN, UNSEEN}
    for one in said:
        assert one.caption == CELLS.cells[one.cell].caption
        assert one.word in KINDS[one.kind] and one.word in one.caption and one.word not in one.without
    assert len({(one.cell, one.kind) for one in said}) == len(said)
    assert {one.kind for one in said} == set(KINDS)


def test_a_word_comes_if_the_picture_fits_better_with_it():
    said = said_words(CELLS)
    adds = [
        len(one.caption.split()) > len(one.without.split()) for one in said
    ]  # a style takes a style's place
    assert any(adds)
    assert coming(Scores(), drawn(), said)[adds].tolist() == [1] * sum(adds)
    word = next(one.word for one in said if one.kind == "accessory")
    came = coming(Scores(), drawn(word), said)
    named = [one.word == word for one in said]
    assert any(named) and came[named].max() == 0


def test_where_there_is_no_picture_nothing_is_known():
    said, pictures = said_words(CELLS), drawn()
    pictures[said[0].cell] = None
    came = coming(Scores(), pictures, said)
    assert np.isnan(came[0]) and not np.isnan(came[-1])
    assert np.isnan(coming(Scores(), [None] * len(pictures), said)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_word_is_left_out_of_keeps_the_other_words(kind):
    for one in said_words(CELLS):
        if one.kind == kind:
            others = [other for other in said_words(CELLS) if other.cell == one.cell and other.kind != kind]
            assert all(other.word in one.without for other in others)
