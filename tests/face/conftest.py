"""A real face (skimage's astronaut), an analyzer for all tests, and fakes that fulfil the protocols."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from skimage import data

from adaface.face.analyzer import FaceAnalyzer
from adaface.face.types import Detection, Face


@pytest.fixture(scope="session")
def astronaut() -> np.ndarray:
    """(512, 512, 3) uint8; the face is at about (178, 63) to (268, 176)."""
    picture = data.astronaut()
    picture.flags.writeable = False
    return picture


@pytest.fixture(scope="session")
def coffee() -> np.ndarray:
    """A picture without a face."""
    return data.coffee()


@pytest.fixture(scope="session")
def analyzer() -> FaceAnalyzer:
    return FaceAnalyzer()


@pytest.fixture(scope="session")
def astronaut_face(analyzer: FaceAnalyzer, astronaut: np.ndarray) -> Face:
    return analyzer.face(astronaut)


@pytest.fixture(scope="session")
def two_people(astronaut: np.ndarray) -> np.ndarray:
    """(512, 1024, 3): the cameraman small on the left, the astronaut large on the right."""
    man = np.repeat(data.camera()[:, :, None], 3, axis=2)
    return np.concatenate([man, astronaut], axis=1)


@pytest.fixture(scope="session")
def cameraman() -> np.ndarray:
    """Another person: (160, 160, 3) around the head."""
    return np.ascontiguousarray(np.repeat(data.camera()[70:230, 140:300, None], 3, axis=2))


def unit(*values: float) -> np.ndarray:
    vector = np.array(values, np.float32)
    return vector / np.linalg.norm(vector)


def make_face(
    embedding: Sequence[float], box: Sequence[float] = (0, 0, 100, 100), quality: float = 1.0
) -> Face:
    return Face(np.array(box, np.float32), np.zeros((5, 2), np.float32), 0.9, unit(*embedding), quality)


@pytest.fixture(scope="session")
def new_face() -> Callable[..., Face]:
    return make_face


@dataclass
class FakeDetector:
    """Answers each look with `answer(image)`, and remembers the shapes it was shown."""

    answer: Callable[[np.ndarray], list[Detection]]
    shapes: list[tuple[int, ...]] = field(default_factory=list)

    def __call__(self, image: np.ndarray) -> list[Detection]:
        self.shapes.append(image.shape)
        return self.answer(image)


@dataclass
class FakeRecognizer:
    """Mean colour of the crop as an embedding of 3 numbers."""

    name: str = "fake"
    dim: int = 3
    same_person: float | None = 0.5

    def __call__(self, crops: np.ndarray) -> np.ndarray:
        means = crops.reshape(len(crops), -1, 3).mean(1) + 1e-3
        return (means / np.linalg.norm(means, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="session")
def fake_detector() -> type[FakeDetector]:
    return FakeDetector


@pytest.fixture(scope="session")
def fake_recognizer() -> type[FakeRecognizer]:
    return FakeRecognizer


def save_network(
    path: Path, *, dim: int = 8, size: int = 112, batch: object = "N", weight_input: bool = False
) -> Path:
    """A tiny network of ArcFace's form: (N, 3, S, S) -> 4 x 4 average pooling -> (N, dim)."""
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(3 * 16, dim)).astype(np.float32)
    picture = helper.make_tensor_value_info("input.1", TensorProto.FLOAT, [batch, 3, size, size])
    stray = [helper.make_tensor_value_info("old_weight", TensorProto.FLOAT, [3])] if weight_input else []
    output = helper.make_tensor_value_info("683", TensorProto.FLOAT, [batch, dim])
    nodes = [
        helper.make_node(
            "AveragePool", ["input.1"], ["pooled"], kernel_shape=[size // 4] * 2, strides=[size // 4] * 2
        ),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weight"], ["683"]),
    ]
    graph = helper.make_graph(
        nodes, "arc", [picture, *stray], [output], [numpy_helper.from_array(weight, "weight")]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.save(model, str(path))
    return path


@pytest.fixture(scope="session")
def network() -> Callable[..., Path]:
    return save_network
