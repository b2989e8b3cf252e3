"""The teacher's filter: what CLIP says, and which candidates teach."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from adaface.errors import FormatError
from adaface.evaluation.text_match import ClipScorer
from adaface.recipes.composition.judge import Judge, verdict


def judged(teacher, plain, student, level=0.0, margin=0.01):
    rows = (torch.tensor([row]) for row in (teacher, plain, student))
    made = verdict(*rows, level=level, margin=margin)
    return int(made.best), bool(made.teaches)


def test_the_candidate_with_the_largest_lead_is_taken():
    assert judged([0.3, 0.4, 0.35], [0.1, 0.1, 0.1], [0.2, 0.2, 0.1]) == (2, True)


def test_a_teacher_that_fits_the_plain_words_better_teaches_nothing():
    assert judged([0.3], [0.35], [0.1]) == (0, False)
    assert judged([0.3], [0.25], [0.1], level=0.1) == (0, False)
    assert judged([0.3], [0.15], [0.1], level=0.1) == (0, True)


def test_a_teacher_that_is_no_better_than_the_student_teaches_nothing():
    assert judged([0.3], [0.1], [0.295]) == (0, False)
    assert judged([0.3], [0.1], [0.28]) == (0, True)


def test_one_that_teaches_goes_before_one_with_a_larger_lead():
    assert judged([0.3, 0.31], [0.4, 0.1], [0.0, 0.25]) == (1, True)


def test_samples_are_judged_apart():
    teacher, plain, student = torch.tensor([[[0.3, 0.1]], [[0.2, 0.2]], [[0.0, 0.0]]]).expand(3, 2, 2).clone()
    student[1] = 0.5
    made = verdict(teacher, plain, student, level=0.0, margin=0.0)
    assert made.teaches.tolist() == [True, False]


@pytest.fixture(scope="module")
def judge(tiny_stack):
    """The tiny stack's CLIP."""
    return Judge.open(tiny_stack / "clip", torch.device("cpu"))


@pytest.mark.parametrize("size", [32, 64])
def test_it_says_what_the_evaluation_s_clip_says(judge, tiny_stack, size):
    scorer = ClipScorer.from_pretrained(tiny_stack / "clip")
    bytes_ = np.random.default_rng(0).integers(0, 255, (2, size, size, 3), dtype=np.uint8)
    pictures = torch.from_numpy(bytes_).permute(0, 3, 1, 2).float() / 127.5 - 1
    texts = ["a photo of a woman", "a pencil sketch"]
    assert_close(judge.texts(texts), scorer.embed_texts(texts), atol=1e-5, rtol=1e-5)
    theirs = scorer.embed_images([Image.fromarray(one) for one in bytes_])
    assert_close(judge.pictures(pictures), theirs, atol=0.02, rtol=0)  # one rounds the small picture to bytes


def test_a_folder_of_no_clip_is_told(tmp_path):
    with pytest.raises(FormatError, match="no CLIP model for the teacher's filter.*compose.candidates=0"):
        Judge.open(tmp_path, torch.device("cpu"))
