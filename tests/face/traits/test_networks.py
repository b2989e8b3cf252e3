"""Parsers and guesses of age as ONNX files: tiny networks of the right form, and of wrong ones."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from adaface.errors import FormatError, MissingFileError
from adaface.face.traits.age_gender import GenderAgeOnnx
from adaface.face.traits.parse import BiSeNetParser, resized


def saved(path: Path, nodes: list, inputs: list, outputs: list, weights: dict) -> Path:
    def info(name, shape):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    tensors = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "g", [info(*i) for i in inputs], [info(*o) for o in outputs], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.save(model, str(path))
    return path


def parser_file(path: Path, classes: int = 19, side: int = 512) -> Path:
    """Class 0 where red is below the mean, else class 1 + ; a 1 x 1 convolution, as BiSeNet's head."""
    weight = np.zeros((classes, 3, 1, 1), np.float32)
    weight[1, 0] = 1
    node = helper.make_node("Conv", ["input", "weight"], ["out"])
    shape = [1, 3, side, side]
    return saved(path, [node], [("input", shape)], [("out", [1, classes, side, side])], {"weight": weight})


def age_file(path: Path, numbers: tuple[float, ...] = (0.2, 0.8, 0.31)) -> Path:
    """Always the same three numbers."""
    nodes = [
        helper.make_node("ReduceMean", ["data"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Mul", ["mean", "zero"], ["none"]),
        helper.make_node("Add", ["none", "numbers"], ["fc1"]),
    ]
    weights = {"zero": np.zeros(1, np.float32), "numbers": np.array([numbers], np.float32)}
    return saved(path, nodes, [("data", [1, 3, 96, 96])], [("fc1", [1, len(numbers)])], weights)


def test_every_class_but_the_first_is_the_person(tmp_path):
    parser = BiSeNetParser(parser_file(tmp_path / "bisenet.onnx"))
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[:, 32:] = 255
    mask, labels = parser(picture)
    assert mask.shape == (64, 64) and labels == 2
    assert not mask[:, :31].any() and (mask[:, 33:] == 255).all()


def test_a_parser_is_named_by_file_and_content(tmp_path):
    name = BiSeNetParser(parser_file(tmp_path / "bisenet.onnx")).name
    assert name.startswith("bisenet-") and len(name) == len("bisenet-") + 8


def test_a_network_with_other_classes_or_another_input_is_refused(tmp_path):
    with pytest.raises(FormatError, match=r"gives \(1, 11, 512, 512\) for one picture.*with 19 classes"):
        BiSeNetParser(parser_file(tmp_path / "eleven.onnx", classes=11))
    with pytest.raises(FormatError, match="does not take a picture of 1x3x512x512"):
        BiSeNetParser(parser_file(tmp_path / "small.onnx", side=64))
    with pytest.raises(MissingFileError, match="no such file"):
        BiSeNetParser(tmp_path / "nowhere.onnx")


def test_a_mask_is_resized_to_two_values():
    mask = np.zeros((10, 10), np.uint8)
    mask[:, 5:] = 255
    for size in (4, 10, 33):
        made = resized(mask, size)
        assert made.shape == (size, size) and set(np.unique(made)) == {0, 255}


def test_age_and_gender_are_read_in_the_networks_order(tmp_path):
    box = np.array([10, 10, 60, 70], np.float32)
    picture = np.zeros((100, 100, 3), np.uint8)
    man = GenderAgeOnnx(age_file(tmp_path / "genderage.onnx"))
    woman = GenderAgeOnnx(age_file(tmp_path / "w.onnx", (0.9, 0.1, 0.05)))
    assert man(picture, box) == (pytest.approx(31), "male")
    assert woman(picture, box) == (pytest.approx(5), "female")
    assert man.name == "genderage"


def test_another_network_than_for_age_is_refused(tmp_path):
    with pytest.raises(FormatError, match=r"gives 2 numbers for one face, not 3. Give genderage.onnx"):
        GenderAgeOnnx(age_file(tmp_path / "two.onnx", (0.1, 0.2)))
    with pytest.raises(FormatError, match="does not take a picture of 1x3x96x96"):
        GenderAgeOnnx(parser_file(tmp_path / "bisenet.onnx"))
