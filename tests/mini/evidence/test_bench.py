"""What a bench says of pictures by the words that they were drawn for."""

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from adaface.mini.evidence.bench import Bench
from adaface.mini.evidence.design import PLAIN, SEEN, UNSEEN, Cell, Cells

# of two people: a scene's pictures and captions, a picture's own caption on the diagonal
SCORES = {
    "seen": np.array([[0.9, 0.1], [0.4, 0.2]], dtype=np.float32),
    "unseen": np.array([[0.3, 0.2], [0.5, 0.6]], dtype=np.float32),
}


@pytest.fixture
def bench():
    """Two people, one picture of each kind; a CLIP whose scores are known."""
    cells = [
        Cell(person, kind, "", f"{kind} {person}", 0) for person in (0, 1) for kind in (PLAIN, SEEN, UNSEEN)
    ]

    def clip(images, captions):
        assert len(images) == 2 and [caption[-1] for caption in captions] == ["0", "1"]
        return SCORES[captions[0][:-2]]

    pictures = [Image.new("RGB", (8, 8))] * len(cells)
    people = SimpleNamespace(given=range(2))
    return Bench(
        Cells(tuple(cells), {}), people, analyzer=None, judges={}, clips={"": clip}, photos=pictures, back=[]
    )


def test_nearness_is_the_cosine_to_the_own_caption_above_the_others_over_both_sorts_of_scenes(bench):
    """By person: (0.8 + 0.1) / 2 and (-0.2 + 0.1) / 2."""
    assert bench.possible()["text_nearness"] == pytest.approx([0.45, -0.05], abs=1e-6)


def test_text_is_the_share_of_pictures_that_choose_their_own_caption(bench):
    found = bench.possible()
    assert found["text_seen"].tolist() == [1, 0]
    assert found["text_unseen"].tolist() == [1, 1]
    assert found["text"].tolist() == [1, 0.5]
