"""Is a picture of the person?"""

import numpy as np
import pytest
from PIL import Image

import tiny
from adaface.errors import ShapeError
from adaface.evaluation.face_similarity import FaceMatch, percentile, similarity


@pytest.fixture(scope="module")
def analyzer(personalizer):
    return personalizer.analyzer


def test_a_photo_is_like_itself_and_a_stranger_is_not(analyzer, astronaut):
    vector = analyzer.face(astronaut).id_embedding
    (match,) = similarity([Image.fromarray(astronaut)], vector, analyzer)
    assert match.similarity == pytest.approx(1, abs=1e-5)
    (other,) = similarity([Image.fromarray(astronaut)], tiny.unit_vector(3), analyzer)
    assert abs(other.similarity) < 0.5


def test_a_small_picture_still_shows_the_face(analyzer, astronaut):
    small = Image.fromarray(astronaut).crop((150, 20, 300, 170)).resize((64, 64))
    (match,) = similarity([small], analyzer.face(astronaut).id_embedding, analyzer)
    assert match.similarity > 0.5


def test_a_picture_without_a_face_is_in_the_list_as_not_found(analyzer):
    matches = similarity([Image.new("RGB", (64, 64))] * 2, tiny.unit_vector(0), analyzer)
    assert [match.found for match in matches] == [False, False]
    assert [match.similarity for match in matches] == [None, None]


def test_an_embedding_of_another_recogniser_is_told(analyzer):
    with pytest.raises(ShapeError, match=r"ID embedding \(512,\): the recogniser sface makes \(128,\)"):
        similarity([], np.zeros(512, np.float32), analyzer)


def test_the_percentile_is_the_share_of_strangers_that_are_less_like():
    face = np.array([1, 0], np.float32)
    strangers = np.array([[1, 0], [0.6, 0.8], [0, 1], [-1, 0]], np.float32)
    assert percentile(FaceMatch(0.7, face), strangers) == 75
    assert percentile(FaceMatch(0.0, face), strangers) == 25
    assert percentile(FaceMatch(), strangers) is None
