"""Is a picture of the person?"""

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

import tiny
from adaface.errors import FormatError, MissingFileError, ShapeError
from adaface.evaluation.face_similarity import FaceMatch, load_strangers, percentile, similarity


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


def test_strangers_are_read_as_unit_vectors(tmp_path):
    save_file({"id_embeddings": np.full((3, 4), 2, np.float32)}, tmp_path / "s.safetensors")
    assert np.allclose(np.linalg.norm(load_strangers(tmp_path / "s.safetensors", 4), axis=1), 1)


def test_strangers_of_another_recogniser_are_refused(tmp_path):
    save_file({"id_embeddings": np.ones((3, 4), np.float32)}, tmp_path / "s.safetensors")
    with pytest.raises(FormatError, match=r"\(3, 4\), the recogniser makes \(S, 128\)"):
        load_strangers(tmp_path / "s.safetensors", 128)


def test_a_file_without_strangers_is_refused(tmp_path):
    save_file({"x": np.ones(3, np.float32)}, tmp_path / "s.safetensors")
    with pytest.raises(FormatError, match='no tensor "id_embeddings"'):
        load_strangers(tmp_path / "s.safetensors", 128)
    with pytest.raises(MissingFileError, match="it should hold ID embeddings of strangers"):
        load_strangers(tmp_path / "t.safetensors", 128)
