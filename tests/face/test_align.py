"""Five landmarks go to the template, with the pixels of OpenCV's own face alignment."""

import cv2
import numpy as np
import pytest

from adaface.errors import ShapeError
from adaface.face.align import TEMPLATE, align, similarity_transform
from adaface.face.recognize import wheel_model


def moved(points: np.ndarray, angle: float, scale: float, shift: tuple[float, float]) -> np.ndarray:
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return points @ turn.T + shift


@pytest.mark.parametrize(("angle", "scale"), [(0.0, 1.0), (0.3, 2.5), (-2.8, 0.4), (np.pi / 2, 7.0)])
def test_a_turned_scaled_and_shifted_template_is_brought_back(angle, scale):
    landmarks = moved(TEMPLATE, angle, scale, (31.0, -7.0))
    matrix = similarity_transform(landmarks)
    np.testing.assert_allclose(landmarks @ matrix[:, :2].T + matrix[:, 2], TEMPLATE, atol=1e-4)


def test_a_mirrored_face_is_not_mirrored_back():
    matrix = similarity_transform(TEMPLATE * [-1, 1])
    assert np.linalg.det(matrix[:, :2]) > 0


def test_the_fit_is_the_best_one():
    rng = np.random.default_rng(0)
    landmarks = moved(TEMPLATE, 0.2, 1.7, (3, 4)) + rng.normal(0, 3, TEMPLATE.shape)
    matrix = similarity_transform(landmarks)

    def loss(m: np.ndarray) -> float:
        return float(((landmarks @ m[:, :2].T + m[:, 2] - TEMPLATE) ** 2).sum())

    for k in range(2):
        other = matrix.copy()
        other[k, 2] += 0.01
        assert loss(other) > loss(matrix)
    for wrong in (matrix * 1.001, matrix * 0.999):
        wrong = np.hstack([wrong[:, :2], (TEMPLATE.mean(0) - wrong[:, :2] @ landmarks.mean(0))[:, None]])
        assert loss(wrong) > loss(matrix)


@pytest.mark.parametrize("landmarks", [np.zeros((5, 2)), np.ones((4, 2)), np.full((5, 2), np.nan)])
def test_landmarks_that_fix_no_transform_are_an_error(landmarks):
    with pytest.raises(ShapeError, match="landmarks"):
        similarity_transform(landmarks)


def test_the_crop_has_the_pixels_of_opencv(astronaut, astronaut_face):
    box = astronaut_face.box
    row = np.concatenate([box[:2], box[2:] - box[:2], astronaut_face.landmarks.ravel(), [0.9]]).astype(
        np.float32
    )
    recognizer = cv2.FaceRecognizerSF.create(
        str(wheel_model("face_recognition_sface_2021dec_int8bq.onnx")), ""
    )
    theirs = recognizer.alignCrop(np.ascontiguousarray(astronaut[:, :, ::-1]), row)[:, :, ::-1]
    ours = align(astronaut, astronaut_face.landmarks)
    assert np.abs(ours.astype(int) - theirs).mean() < 0.5


@pytest.mark.parametrize("factor", [3, 6])
def test_a_large_face_gives_the_crop_of_its_small_copy(astronaut, astronaut_face, factor):
    large = cv2.resize(astronaut, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
    rng = np.random.default_rng(0)
    noisy = np.clip(large + rng.normal(0, 20, large.shape), 0, 255).astype(np.uint8)
    crop = align(noisy, (astronaut_face.landmarks + 0.5) * factor - 0.5)
    assert np.abs(crop.astype(int) - align(astronaut, astronaut_face.landmarks)).mean() < 4


def test_a_large_face_at_the_border_is_cut_with_black(astronaut):
    large = cv2.resize(astronaut, (2048, 2048))
    landmarks = moved(TEMPLATE, 0.1, 8.0, (-400.0, 1500.0)).astype(np.float32)
    crop = align(large, landmarks)
    assert crop.shape == (112, 112, 3)
    assert (crop[-1] == 0).all()
    assert crop[40, 100].any()
