"""The detector's answer, its second chances, and coordinates that come back to the picture."""

import shutil
import threading

import cv2
import numpy as np
import pytest

from adaface.errors import ConfigError, FormatError, MissingFileError
from adaface.face.detect import YuNet
from adaface.face.search import View, find_faces
from adaface.face.types import Detection


@pytest.fixture(scope="module")
def yunet() -> YuNet:
    return YuNet()


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    inner = np.maximum(0, np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])).prod()
    return float(inner / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - inner))


def test_yunet_finds_the_astronaut_with_landmarks_in_order(yunet, astronaut):
    (found,) = yunet(astronaut)
    assert overlap(found.box, np.array([178, 63, 268, 176])) > 0.9
    assert 0.9 < found.score <= 1
    right_eye, left_eye, nose, right_mouth, left_mouth = found.landmarks
    assert right_eye[0] < nose[0] < left_eye[0]
    assert right_mouth[0] < left_mouth[0]
    assert right_eye[1] < nose[1] < right_mouth[1]


def test_a_picture_without_a_face_has_none(yunet, coffee):
    assert find_faces(yunet, coffee) == []


def test_opencv_says_nothing_and_keeps_its_log_level(capfd):
    logging = getattr(cv2.utils, "logging", cv2)
    level = logging.getLogLevel()
    YuNet()
    assert logging.getLogLevel() == level
    assert capfd.readouterr().err == ""


def test_two_threads_get_their_own_answers(yunet, astronaut):
    small = cv2.resize(astronaut, (256, 320))
    expected = [yunet(astronaut)[0].box, yunet(small)[0].box]
    wrong = []

    def look(picture: np.ndarray, box: np.ndarray) -> None:
        wrong.extend(1 for _ in range(10) if not np.array_equal(yunet(picture)[0].box, box))

    threads = [threading.Thread(target=look, args=a) for a in zip((astronaut, small), expected, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_detector_file_that_is_missing_or_wrong_is_named(tmp_path):
    with pytest.raises(MissingFileError, match="none.onnx: no such file"):
        YuNet(tmp_path / "none.onnx")
    (tmp_path / "bad.onnx").write_bytes(b"nonsense")
    with pytest.raises(
        FormatError, match="bad.onnx: OpenCV .* cannot run it as YuNet.*install opencv-python-headless 4.11"
    ):
        YuNet(tmp_path / "bad.onnx")
    with pytest.raises(ConfigError, match="score=2: give a number between 0 and 1"):
        YuNet(score=2)


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
@pytest.mark.parametrize("border", [0.0, 0.5])
@pytest.mark.parametrize("side", [160, 640])
def test_a_view_carries_what_it_finds_back_to_the_picture(fake_detector, turns, border, side):
    """A white dot in a black picture; the detector reports where it sees it."""
    picture = np.zeros((240, 320, 3), np.uint8)
    picture[100:108, 30:38] = 255

    def dot(image: np.ndarray) -> list[Detection]:
        rows, columns = np.nonzero(image[:, :, 0] > 128)
        centre = np.array([columns.mean(), rows.mean()], np.float32)
        box = np.array([columns.min(), rows.min(), columns.max(), rows.max()], np.float32)
        return [Detection(box, np.tile(centre, (5, 1)), 0.9)]

    (found,) = View(side, border, turns).detect(fake_detector(dot), picture)
    pixel = 320 * (1 + 2 * border) / side  # of the view, in pixels of the picture
    np.testing.assert_allclose(found.landmarks, np.tile([33.5, 103.5], (5, 1)), atol=0.5 * pixel)
    np.testing.assert_allclose(found.box, [30, 100, 37, 107], atol=pixel + 0.5)
    assert found.box.dtype == found.landmarks.dtype == np.float32


def test_the_first_look_is_enough_when_it_is_sure(fake_detector):
    face = Detection(np.array([1, 1, 9, 9], np.float32), np.ones((5, 2), np.float32), 0.95)
    detector = fake_detector(lambda image: [face])
    find_faces(detector, np.zeros((100, 80, 3), np.uint8))
    assert detector.shapes == [(100, 80, 3)]


def test_detection_works_on_a_small_copy_of_a_large_picture(fake_detector):
    face = Detection(np.array([64, 64, 128, 128], np.float32), np.full((5, 2), 96, np.float32), 0.95)
    detector = fake_detector(lambda image: [face])
    (found,) = find_faces(detector, np.zeros((3000, 4000, 3), np.uint8))
    assert detector.shapes == [(480, 640, 3)]
    np.testing.assert_allclose(found.box, [400, 400, 800, 800], atol=4)


def test_a_crop_that_is_too_tight_is_found_with_a_border(yunet, astronaut):
    crop = np.ascontiguousarray(astronaut[88:158, 190:256])  # eyes to chin, cut inside of the face
    large = cv2.resize(crop, None, fx=9, fy=9, interpolation=cv2.INTER_CUBIC)
    assert find_faces(yunet, large, persistent=False) == []
    (found,) = find_faces(yunet, large)
    assert overlap(found.box, np.array([0, 0, large.shape[1], large.shape[0]])) > 0.5


def test_another_look_must_be_surer_than_the_first(fake_detector):
    """Each look is a chance to see a face where there is none."""
    box, points = np.array([4, 4, 90, 90], np.float32), np.ones((5, 2), np.float32)

    def detector(score: float):
        return fake_detector(lambda seen: [Detection(box, points, score)] if seen[0, 0, 0] else [])

    black = np.zeros((100, 100, 3), np.uint8)  # seen only with a border, which is grey
    assert find_faces(detector(0.7), black) == []
    assert len(find_faces(detector(0.8), black)) == 1


def test_the_models_may_lie_under_a_name_in_any_script(tmp_path, yunet, astronaut):
    folder = tmp_path / "модели 模型"
    folder.mkdir()
    shutil.copy(yunet.path, folder / "yunet.onnx")
    np.testing.assert_array_equal(YuNet(folder / "yunet.onnx")(astronaut)[0].box, yunet(astronaut)[0].box)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_picture_on_its_side_is_turned(yunet, astronaut, turns):
    turned = np.ascontiguousarray(np.rot90(astronaut, turns))
    (found,) = find_faces(yunet, turned)
    upright = View(512).detect(yunet, astronaut)[0].landmarks
    x, y = upright[:, 0], upright[:, 1]
    expected = {1: (y, 511 - x), 2: (511 - x, 511 - y), 3: (511 - y, x)}[turns]
    np.testing.assert_allclose(found.landmarks, np.stack(expected, 1), atol=3)


def test_a_small_face_in_a_large_picture_is_found_at_a_larger_scale(yunet, astronaut):
    large = np.full((2400, 3200, 3), 90, np.uint8)
    large[1900:2100, 300:500] = cv2.resize(astronaut, (200, 200), interpolation=cv2.INTER_AREA)
    assert find_faces(yunet, large, persistent=False) == []
    (found,) = find_faces(yunet, large)
    assert overlap(found.box, np.array([178, 63, 268, 176]) * 200 / 512 + [300, 1900, 300, 1900]) > 0.6
