"""The self-check's verdict, and what it draws: the person against the class prompt."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from adaface.setup import selfcheck
from adaface.setup.selfcheck import class_words, judge, self_check


@pytest.mark.parametrize(
    ("person", "other", "pairs", "passed"),
    [
        ((0.5, 0.6, 0.4, 0.5), (0.1, 0.0, 0.2, 0.1), 16, True),
        ((0.5, 0.6, 0.15, 0.5), (0.1, 0.0, 0.2, 0.1), 15, True),
        ((0.5, 0.6, 0.05, 0.5), (0.1, 0.0, 0.2, 0.1), 13, False),
        ((None, 0.6, 0.4, 0.5), (0.1, 0.0, 0.2, 0.1), 12, False),
        ((0.1, 0.1, 0.1, 0.1), (None, None, None, None), 16, True),
        ((None,) * 4, (None,) * 4, 0, False),
    ],
)
def test_the_verdict_counts_pairs_and_a_picture_without_a_face_loses(person, other, pairs, passed):
    check = judge(person, other, name="sface")
    assert (check.pairs, check.passed) == (pairs, passed)
    assert check.verdict.startswith("PASS: " if passed else "FAIL: ")
    assert f"in {pairs} of 16 pairs" in check.verdict


def test_fifteen_pairs_of_sixteen_have_the_chance_that_the_verdict_names():
    """Of the 70 ways to choose which four of eight ranks are the person's."""
    from itertools import combinations

    ranks = range(8)
    counts = [
        sum(a > b for a in chosen for b in ranks if b not in chosen) for chosen in combinations(ranks, 4)
    ]
    assert len(counts) == 70
    assert sum(count >= selfcheck.NEEDED for count in counts) == 2
    assert selfcheck.CHANCE == "2 in 70"


def test_nobody_in_the_prompt_is_the_class_prompt(personalizer):
    nobody = class_words(personalizer)
    with_nobody = personalizer.prompt_embeds("a photo of <person>", {"person": nobody.subject_embeds})
    plain = personalizer.prompt_embeds("a photo of a person", {})
    assert torch.allclose(with_nobody.prompt_embeds, plain.prompt_embeds, atol=1e-5)


def test_pictures_and_a_report_with_every_assumption_are_kept(personalizer, astronaut, tmp_path):
    check = self_check(personalizer, Image.fromarray(astronaut), tmp_path, ["the moon is round"], steps=1)
    report = json.loads((tmp_path / "self-check" / "self-check.json").read_text())
    assert report["assumptions"] == ["the moon is round"] == list(check.assumptions)
    assert report["verdict"] == check.verdict
    assert "not an independent judge" in check.judge  # the tiny stack's own recogniser is SFace
    assert sorted(path.name for path in (tmp_path / "self-check").glob("*.png")) == [
        f"{name}-{k}.png" for name in ("class", "person") for k in (1, 2, 3, 4)
    ]


def test_the_example_is_the_astronaut(astronaut):
    assert np.array_equal(np.asarray(selfcheck.photo_or_none(None)), astronaut)


def test_without_a_photo_and_without_the_example_there_is_none(monkeypatch):
    from adaface.errors import MissingExtra

    def missing(*_, **__):
        raise MissingExtra("not installed")

    monkeypatch.setattr(selfcheck, "require", missing)
    assert selfcheck.photo_or_none(None) is None
